using Google.Protobuf.Reflection;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Protos.Tests;

/// <summary>The API as descriptors, and each field and value of it as one line of text.</summary>
internal static class ApiSurface
{
    public static IReadOnlyList<FileDescriptor> Public { get; } =
    [
        ArtifactServiceReflection.Descriptor, ClusterServiceReflection.Descriptor, DeploymentServiceReflection.Descriptor,
        InferenceServiceReflection.Descriptor, JobServiceReflection.Descriptor, JobSpecReflection.Descriptor, ModelServiceReflection.Descriptor,
    ];

    public static IReadOnlyList<FileDescriptor> All { get; } =
    [
        .. Public, EndpointServiceReflection.Descriptor, EngineServiceReflection.Descriptor, NodeServiceReflection.Descriptor, RankServiceReflection.Descriptor,
    ];

    public static IEnumerable<MessageDescriptor> Messages(IEnumerable<FileDescriptor> files) =>
        files.SelectMany(file => file.MessageTypes.SelectMany(WithNested)).Where(message => !message.IsMapEntry);

    public static IEnumerable<EnumDescriptor> Enums(IEnumerable<FileDescriptor> files) =>
        files.SelectMany(file => file.EnumTypes).Concat(Messages(files).SelectMany(message => message.EnumTypes));

    /// <summary>Every field, value and method, sorted.</summary>
    public static IReadOnlyList<string> Lines() =>
    [
        .. Messages(All).SelectMany(message => message.Fields.InFieldNumberOrder().Select(Line))
            .Concat(Enums(All).SelectMany(type => type.Values.Select(value => $"{type.FullName} = {value.Number} {value.Name}")))
            .Concat(All.SelectMany(file => file.Services).SelectMany(service => service.Methods).Select(Line))
            .Order(StringComparer.Ordinal),
    ];

    public static string Line(FieldDescriptor field) =>
        $"{field.ContainingType.FullName} #{field.FieldNumber} {field.Name} {Type(field)}";

    private static string Line(MethodDescriptor method) =>
        $"{method.Service.FullName}/{method.Name} {Stream(method.IsClientStreaming)}{method.InputType.FullName} -> {Stream(method.IsServerStreaming)}{method.OutputType.FullName}";

    private static string Stream(bool streams) => streams ? "stream " : "";

    private static string Type(FieldDescriptor field)
    {
        if (field.IsMap)
            return $"map<{Type(field.MessageType.Fields[1])}, {Type(field.MessageType.Fields[2])}>";
        var label = field.IsRepeated ? "repeated " : field.RealContainingOneof is { } choice ? $"oneof {choice.Name} " : field.HasPresence && field.FieldType != FieldType.Message ? "optional " : "";
        return label + field.FieldType switch
        {
            FieldType.Message => field.MessageType.FullName,
            FieldType.Enum => field.EnumType.FullName,
            var type => type.ToString().ToLowerInvariant(),
        };
    }

    private static IEnumerable<MessageDescriptor> WithNested(MessageDescriptor message) => message.NestedTypes.SelectMany(WithNested).Prepend(message);
}
