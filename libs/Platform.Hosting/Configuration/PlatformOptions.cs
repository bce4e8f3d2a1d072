using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Platform.Core.Validation;

namespace Platform.Hosting.Configuration;

/// <summary>Options that can tell what is wrong with them.</summary>
public interface IValidatedOptions
{
    /// <summary>Everything that is wrong; fields are property names (<c>Devices</c>, <c>Bus.Host</c>), messages whole sentences.</summary>
    IEnumerable<Violation> Validate();
}

/// <summary>The configuration cannot be used. The message names every key that is wrong.</summary>
public sealed class InvalidConfigurationException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="violations">All that is wrong; fields are configuration keys.</param>
    public InvalidConfigurationException(IReadOnlyList<Violation> violations)
        : base("The configuration cannot be used:" + string.Concat(violations.Select(v => $"\n  {v}"))) => Violations = violations;

    /// <summary>All that is wrong.</summary>
    public IReadOnlyList<Violation> Violations { get; }
}

/// <summary>Binding and checking of options when a host is built.</summary>
public static class PlatformOptions
{
    /// <summary>
    /// Binds a section now, registers the options as <typeparamref name="T"/> and <see cref="IOptions{T}"/>, and keeps
    /// what is wrong with them for <see cref="BuildPlatform"/>, which reports all of it at once.
    /// </summary>
    /// <typeparam name="T">Options class.</typeparam>
    /// <param name="builder">Host.</param>
    /// <param name="section">Configuration section.</param>
    /// <returns>The options; after a violation they may be unusable, but the host will not be built.</returns>
    public static T AddPlatformOptions<T>(this WebApplicationBuilder builder, string section)
        where T : class, IValidatedOptions, new()
    {
        Found found = FoundIn(builder.Services);
        T options = Bind<T>(builder.Configuration, section, found.Violations);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(Options.Create(options));
        return options;
    }

    /// <summary>Builds the host.</summary>
    /// <exception cref="InvalidConfigurationException">Some options are wrong.</exception>
    public static WebApplication BuildPlatform(this WebApplicationBuilder builder)
    {
        Found found = FoundIn(builder.Services);
        return found.Violations.Count == 0 ? builder.Build() : throw new InvalidConfigurationException(found.Violations);
    }

    /// <summary>Binds and checks a section outside a web host.</summary>
    /// <exception cref="InvalidConfigurationException">The options are wrong.</exception>
    public static T Read<T>(IConfiguration configuration, string section)
        where T : class, IValidatedOptions, new()
    {
        var violations = new List<Violation>();
        T options = Bind<T>(configuration, section, violations);
        return violations.Count == 0 ? options : throw new InvalidConfigurationException(violations);
    }

    internal static void Report(IServiceCollection services, string key, string message) =>
        FoundIn(services).Violations.Add(new Violation(key, message));

    private static T Bind<T>(IConfiguration configuration, string section, List<Violation> violations)
        where T : class, IValidatedOptions, new()
    {
        var options = new T();
        try
        {
            configuration.GetSection(section).Bind(options);
        }
        catch (InvalidOperationException exception)
        {
            // The binder's message names the key and the type.
            violations.Add(new Violation(section, exception.InnerException is FormatException inner
                ? $"{exception.Message} {inner.Message}" : exception.Message));
            return options;
        }

        violations.AddRange(options.Validate().Select(v => v with { Field = $"{section}:{v.Field.Replace('.', ':')}" }));
        return options;
    }

    private static Found FoundIn(IServiceCollection services)
    {
        if (services.FirstOrDefault(d => d.ServiceType == typeof(Found))?.ImplementationInstance is Found known)
        {
            return known;
        }

        var found = new Found();
        services.AddSingleton(found);
        return found;
    }

    private sealed class Found
    {
        public List<Violation> Violations { get; } = [];
    }
}
