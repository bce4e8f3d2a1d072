namespace Platform.Cli.Output;

/// <summary>How results are printed.</summary>
internal enum OutputFormat
{
    /// <summary>For people.</summary>
    Table,

    /// <summary>The API message as proto3 JSON; one line per message where several are printed as they come.</summary>
    Json,

    /// <summary>The API message as YAML.</summary>
    Yaml,
}
