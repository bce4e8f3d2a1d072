using Platform.Core.Validation;
using Platform.Hosting.Configuration;

namespace Platform.Hosting.Bus;

/// <summary>Section <c>Bus</c>.</summary>
public sealed class BusOptions : IValidatedOptions
{
    /// <summary><c>memory</c> (one process), <c>rabbitmq</c>, or of an agent <c>scheduler</c>: its messages go through the scheduler.</summary>
    public string Transport { get; set; } = "memory";

    /// <summary>Broker, for <c>rabbitmq</c>.</summary>
    public RabbitMqOptions RabbitMq { get; set; } = new();

    /// <summary>Faults to inject, for tests of what depends on the bus.</summary>
    public BusFaultOptions Faults { get; set; } = new();

    /// <summary>How long a start waits for the broker.</summary>
    public double ConnectSeconds { get; set; } = 60;

    /// <summary>How long a send waits for the broker to accept the message.</summary>
    public double SendSeconds { get; set; } = 10;

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        if (Transport is not ("memory" or "rabbitmq" or "scheduler"))
        {
            yield return new Violation("Transport", $"Expected memory, rabbitmq or, for an agent, scheduler; found '{Transport}'.");
        }

        if (Transport == "rabbitmq" && string.IsNullOrWhiteSpace(RabbitMq.Host))
        {
            yield return new Violation("RabbitMq.Host", "The broker's host name is missing.");
        }

        if (RabbitMq.Port is < 1 or > 65535)
        {
            yield return new Violation("RabbitMq.Port", $"Expected 1 to 65535, found {RabbitMq.Port}.");
        }

        if (ConnectSeconds <= 0)
        {
            yield return new Violation("ConnectSeconds", $"Expected more than 0, found {ConnectSeconds}.");
        }

        if (SendSeconds <= 0)
        {
            yield return new Violation("SendSeconds", $"Expected more than 0, found {SendSeconds}.");
        }

        foreach ((string name, double value) in new[] { ("Lose", Faults.Lose), ("Duplicate", Faults.Duplicate) })
        {
            if (value is < 0 or > 1)
            {
                yield return new Violation($"Faults.{name}", $"Expected a probability from 0 to 1, found {value}.");
            }
        }

        if (Faults.DelayMilliseconds < 0)
        {
            yield return new Violation("Faults.DelayMilliseconds", $"Expected 0 or more, found {Faults.DelayMilliseconds}.");
        }
    }
}

/// <summary>Section <c>Bus:RabbitMq</c>.</summary>
public sealed class RabbitMqOptions
{
    /// <summary>Host name.</summary>
    public string Host { get; set; } = "localhost";

    /// <summary>AMQP port.</summary>
    public int Port { get; set; } = 5672;

    /// <summary>Virtual host.</summary>
    public string VirtualHost { get; set; } = "/";

    /// <summary>User.</summary>
    public string Username { get; set; } = "guest";

    /// <summary>Password.</summary>
    public string Password { get; set; } = "guest";
}

/// <summary>Section <c>Bus:Faults</c>.</summary>
public sealed class BusFaultOptions
{
    /// <summary>Probability that a message is lost.</summary>
    public double Lose { get; set; }

    /// <summary>Probability that a message is sent twice.</summary>
    public double Duplicate { get; set; }

    /// <summary>Longest delay of a message, in milliseconds; each gets its own, so that they overtake one another.</summary>
    public double DelayMilliseconds { get; set; }

    /// <summary>Seed of the decisions.</summary>
    public int Seed { get; set; } = 1;

    /// <summary>Whether there is anything to inject.</summary>
    public bool Any => Lose > 0 || Duplicate > 0 || DelayMilliseconds > 0;
}
