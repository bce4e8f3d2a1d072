using System.CommandLine;
using Platform.Cli.Output;
using Platform.Cli.Server;

namespace Platform.Cli;

/// <summary>Options that every command has.</summary>
internal sealed class GlobalOptions
{
    private const string DefaultServer = "http://localhost:8081";

    private readonly Option<string?> _server = new("--server")
    {
        Description = $"gRPC address of the platform; else PLATFORM_SERVER, else {DefaultServer}.",
        HelpName = "URL",
        Recursive = true,
    };

    private readonly Option<string?> _apiKey = new("--api-key")
    {
        Description = "Key to authenticate with; else PLATFORM_API_KEY.",
        HelpName = "KEY",
        Recursive = true,
    };

    private readonly Option<string> _project = new("--project")
    {
        Description = "Project of names that do not say theirs.",
        HelpName = "PROJECT",
        Recursive = true,
        DefaultValueFactory = _ => "default",
    };

    private readonly Option<OutputFormat> _format = new("--output", "-o")
    {
        Description = "How results are printed: table for people, json or yaml for programs.",
        HelpName = "table|json|yaml",
        Recursive = true,
    };

    /// <summary>Adds them.</summary>
    public void AddTo(RootCommand root)
    {
        root.Add(_server);
        root.Add(_apiKey);
        root.Add(_project);
        root.Add(_format);
    }

    /// <summary>How results are printed.</summary>
    public OutputFormat Format(ParseResult parse) => parse.GetValue(_format);

    /// <summary>Address of the server.</summary>
    /// <exception cref="CommandException">It is not an address.</exception>
    public Uri Server(ParseResult parse, Terminal terminal)
    {
        var text = parse.GetValue(_server) ?? (terminal.Variable("PLATFORM_SERVER") is { Length: > 0 } variable ? variable : DefaultServer);
        var url = text.Contains("://", StringComparison.Ordinal) ? text : $"http://{text}";
        return Uri.TryCreate(url, UriKind.Absolute, out var server) && server.Scheme is "http" or "https" && server.Host.Length > 0
            ? server
            : throw new CommandException($"--server: '{text}' is not an address; expected one such as {DefaultServer}.");
    }

    /// <summary>Key to authenticate with, if one is given.</summary>
    public string? ApiKey(ParseResult parse, Terminal terminal) => parse.GetValue(_apiKey) ?? terminal.Variable("PLATFORM_API_KEY");

    /// <summary>Prepares a connection.</summary>
    public Session Connect(ParseResult parse, Terminal terminal) => new(
        Server(parse, terminal),
        ApiKey(parse, terminal),
        parse.GetValue(_project) ?? "default");
}
