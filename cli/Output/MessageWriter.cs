using System.Text.Json.Nodes;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Rpc;
using Platform.V1;

namespace Platform.Cli.Output;

/// <summary>Prints API messages as proto3 JSON or as YAML of the same names.</summary>
internal static class MessageWriter
{
    // What an Any may hold in an answer.
    private static readonly TypeRegistry Types = TypeRegistry.FromMessages(
        Model.Descriptor, ImportModelMetadata.Descriptor, ExportModelResponse.Descriptor, ErrorInfo.Descriptor, BadRequest.Descriptor, RetryInfo.Descriptor);

    // Fields at their default are printed too, so that a script always finds them.
    private static readonly JsonFormatter Line = new(JsonFormatter.Settings.Default.WithFormatDefaultValues(true).WithTypeRegistry(Types));

    private static readonly JsonFormatter Indented = new(
        JsonFormatter.Settings.Default.WithFormatDefaultValues(true).WithTypeRegistry(Types).WithIndentation());

    /// <summary>Writes one message that is the whole result.</summary>
    public static void Write(TextWriter output, IMessage message, OutputFormat format)
    {
        if (format == OutputFormat.Json)
            output.WriteLine(Indented.Format(message));
        else
            output.Write(YamlText.Of(JsonNode.Parse(Line.Format(message))));
        output.Flush();
    }

    /// <summary>Writes one of several messages: a line of JSON, or a YAML document.</summary>
    public static void WriteNext(TextWriter output, IMessage message, OutputFormat format)
    {
        if (format == OutputFormat.Json)
            output.WriteLine(Line.Format(message));
        else
            output.Write("---\n" + YamlText.Of(JsonNode.Parse(Line.Format(message))));
        output.Flush();
    }
}
