using YamlDotNet.RepresentationModel;

namespace Platform.Deploy.Tests;

/// <summary>A YAML value with aliases and merge keys (&lt;&lt;) resolved.</summary>
internal sealed class Yaml
{
    private readonly YamlNode? _node;

    private Yaml(YamlNode? node) => _node = node;

    /// <summary>Text of a scalar; null for anything else.</summary>
    public string? Text => (_node as YamlScalarNode)?.Value;

    public bool Exists => _node is not null;

    /// <summary>Elements of a sequence; nothing for anything else.</summary>
    public IEnumerable<Yaml> Items => _node is YamlSequenceNode sequence ? sequence.Select(item => new Yaml(item)) : [];

    /// <summary>Entries of a mapping, those merged into it included; nothing for anything else.</summary>
    public IReadOnlyDictionary<string, Yaml> Entries =>
        _node is YamlMappingNode mapping ? Merge(mapping).ToDictionary(entry => entry.Key, entry => new Yaml(entry.Value)) : new Dictionary<string, Yaml>();

    public Yaml this[string key] => new(_node is YamlMappingNode mapping ? Merge(mapping).GetValueOrDefault(key) : null);

    public static Yaml Load(string relative)
    {
        using var reader = new StringReader(Repository.Read(relative));
        var stream = new YamlStream();
        stream.Load(reader);
        return new Yaml(stream.Documents.Single().RootNode);
    }

    public override string ToString() => Text ?? _node?.ToString() ?? "";

    private static Dictionary<string, YamlNode> Merge(YamlMappingNode mapping)
    {
        var entries = new Dictionary<string, YamlNode>();
        foreach (var (key, value) in mapping)
        {
            if (((YamlScalarNode)key).Value is { } name && name != "<<")
                entries.Add(name, value);
        }
        if (mapping.Children.TryGetValue(new YamlScalarNode("<<"), out var merged))
        {
            IEnumerable<YamlNode> sources = merged is YamlSequenceNode several ? several : [merged];
            foreach (var source in sources.OfType<YamlMappingNode>())
            {
                foreach (var (key, value) in Merge(source))
                    entries.TryAdd(key, value);
            }
        }
        return entries;
    }
}
