using System.Threading.Channels;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Events on their way to the machine, in order.</summary>
internal sealed class AgentEvents
{
    private readonly Channel<AgentEvent> _events = Channel.CreateBounded<AgentEvent>(
        new BoundedChannelOptions(4096) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

    public ChannelReader<AgentEvent> Reader => _events.Reader;

    public ValueTask PostAsync(AgentEvent happened, CancellationToken cancellationToken) =>
        _events.Writer.WriteAsync(happened, cancellationToken);
}
