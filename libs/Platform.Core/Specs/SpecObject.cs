using System.Text.Json.Nodes;

namespace Platform.Core.Specs;

/// <summary>
/// Reads one object of a spec, key by key. Whatever is wrong is noted and a stand-in returned, so that reading goes on
/// and all violations come out together. <see cref="Close()"/>, called once on the outermost object after everything is
/// read, reports missing and unknown keys of it and of its sections.
/// </summary>
internal sealed class SpecObject
{
    private readonly JsonObject? _json;
    private readonly ViolationList _violations;
    private readonly List<string> _known = [];
    private readonly List<(string Key, string Expected)> _missing = [];
    private readonly List<SpecObject> _sections = [];

    private SpecObject(JsonNode? input, string path, ViolationList violations)
    {
        _json = input as JsonObject;
        IsReadable = input is null or JsonObject;
        Path = path;
        _violations = violations;
    }

    /// <summary>Path of this object, empty for the outermost.</summary>
    public string Path { get; }

    /// <summary>Begins reading at the outermost object.</summary>
    /// <param name="input">What was written.</param>
    /// <param name="path">Its path in a larger input; empty when it is the whole.</param>
    /// <param name="violations">Takes what is wrong.</param>
    public static SpecObject Open(JsonNode? input, string path, ViolationList violations)
    {
        if (input is not (null or JsonObject))
            violations.Add(path, $"Found {SpecScalar.Show(input)}; expected keys with values.");
        return new SpecObject(input, path, violations);
    }

    /// <summary>Whether this is an object or absent, so that its keys can be judged.</summary>
    public bool IsReadable { get; }

    /// <summary>Whether a key is there and not null.</summary>
    public bool Has(string key) => _json?[key] is not null;

    /// <summary>The value of a key as it stands; null when absent.</summary>
    public JsonNode? Take(string key)
    {
        if (!_known.Contains(key))
            _known.Add(key);
        return _json?[key];
    }

    /// <summary>Declares keys that are read elsewhere.</summary>
    public void Know(params ReadOnlySpan<string> keys)
    {
        foreach (var key in keys)
            Take(key);
    }

    /// <summary>Notes a violation of a key.</summary>
    public void Refuse(string key, string message) => _violations.Add(At(key), message);

    /// <summary>Notes that a key that must be there is not.</summary>
    public void Miss(string key, string expected)
    {
        _missing.Add((key, expected));
        _violations.Doubt(At(key));
    }

    /// <summary>Opens a section; an absent one reads as empty.</summary>
    public SpecObject Section(string key)
    {
        var section = Open(Take(key), At(key), _violations);
        _sections.Add(section);
        return section;
    }

    /// <summary>Opens one item of a list of sections.</summary>
    public SpecObject Item(string key, int index, JsonNode? item)
    {
        var path = $"{At(key)}[{index}]";
        var section = Open(item, path, _violations);
        if (item is null)
            _violations.Add(path, "The item is empty; expected keys with values.");
        _sections.Add(section);
        return section;
    }

    /// <summary>A whole number.</summary>
    public int Int(string key, int min, int max, int? absent = null) => (int)Long(key, min, max, absent);

    /// <summary>A whole number that may be absent.</summary>
    public int? OptionalInt(string key, int min, int max) => Has(key) ? Int(key, min, max) : KnowAbsent<int>(key);

    /// <summary>A whole number of 64 bits.</summary>
    public long Long(string key, long min, long max, long? absent = null)
    {
        var node = Take(key);
        if (node is null)
        {
            if (absent is null)
                Miss(key, $"a whole number from {min} to {max}");
            return absent ?? min;
        }

        switch (SpecScalar.Integer(node))
        {
            case { } number when number >= min && number <= max:
                return number;
            case { } number:
                Refuse(key, $"{number} is out of range; allowed is {min} to {max}.");
                break;
            default:
                Refuse(key, $"{SpecScalar.Show(node)} is not a whole number; allowed is {min} to {max}.");
                break;
        }

        return absent ?? min;
    }

    /// <summary>A number.</summary>
    public double Number(string key, NumberRange range, double absent)
    {
        var node = Take(key);
        if (node is null)
            return absent;
        switch (SpecScalar.Number(node))
        {
            case { } number when range.Contains(number):
                return number;
            case { }:
                Refuse(key, $"{SpecScalar.Show(node)} is out of range; allowed is {range}.");
                break;
            default:
                Refuse(key, $"{SpecScalar.Show(node)} is not a number; allowed is {range}.");
                break;
        }

        return absent;
    }

    /// <summary>A number that may be absent.</summary>
    public double? OptionalNumber(string key, NumberRange range) =>
        Has(key) ? Number(key, range, range.Max) : KnowAbsent<double>(key);

    /// <summary>True or false.</summary>
    public bool Flag(string key, bool absent)
    {
        var node = Take(key);
        if (node is null)
            return absent;
        if (SpecScalar.Flag(node) is { } flag)
            return flag;
        Refuse(key, $"{SpecScalar.Show(node)} is neither true nor false.");
        return absent;
    }

    /// <summary>Bytes, written with a unit or plainly.</summary>
    public long? Size(string key, long min)
    {
        var node = Take(key);
        if (node is null)
            return null;
        var size = SpecScalar.Size(node);
        if (size is null)
            Refuse(key, $"{SpecScalar.Show(node)} is not a size; write a number with a unit, such as 512MiB or 40GiB.");
        else if (size < min)
            Refuse(key, $"{SpecScalar.Show(node)} is too small; allowed is {ByteSize.Format(min)} and more.");
        return size;
    }

    /// <summary>Text that is not empty; null when absent.</summary>
    public string? OptionalText(string key)
    {
        var node = Take(key);
        if (node is null)
            return null;
        if (SpecScalar.Text(node) is not { } text)
            Refuse(key, $"Found {SpecScalar.Show(node)}; expected text. Put it in quotes if it is meant as text.");
        else if (text.Length == 0)
            Refuse(key, "The text is empty; remove the key or give it a value.");
        else
            return text;
        return null;
    }

    /// <summary>A name of lower-case letters, digits and hyphens.</summary>
    public string? OptionalName(string key)
    {
        if (OptionalText(key) is not { } name)
            return null;
        if (!ResourceId.IsValid(name))
            Refuse(key, $"\"{name}\" is not a name; {ResourceId.Rule}.");
        return name;
    }

    /// <summary>One of some choices.</summary>
    public T Choice<T>(string key, Choices<T> choices, T absent)
        where T : notnull
    {
        var node = Take(key);
        if (node is null)
            return absent;
        if (SpecScalar.Text(node) is { } text && choices.Find(text) is { } found)
            return found.Value;
        var allowed = string.Join(", ", choices.Names);
        var nearest = SpecScalar.Text(node) is { } wrong ? NearestName.Of(wrong, choices.Names) : null;
        Refuse(key, nearest is not null && NearestName.IsClose(SpecScalar.Text(node) ?? "", nearest)
            ? $"{SpecScalar.Show(node)} is not one of {allowed}; did you mean {nearest}?"
            : $"{SpecScalar.Show(node)} is not one of {allowed}.");
        return absent;
    }

    /// <summary>A list of text, each not empty; a single text counts as a list of one.</summary>
    public IReadOnlyList<string> Texts(string key)
    {
        var node = Take(key);
        if (node is null)
            return [];
        if (node is not JsonArray list)
            return OptionalText(key) is { } single ? [single] : [];
        var texts = new List<string>(list.Count);
        for (var i = 0; i < list.Count; i++)
        {
            if (SpecScalar.Text(list[i]) is { Length: > 0 } text)
                texts.Add(text);
            else
                Refuse($"{key}[{i}]", $"Found {SpecScalar.Show(list[i])}; expected text that is not empty.");
        }

        return texts;
    }

    /// <summary>Reports missing and unknown keys, here and in every section.</summary>
    public void Close()
    {
        var everything = new List<(string Section, string Key)>();
        Gather(everything);
        Close(everything);
    }

    private void Close(List<(string Section, string Key)> everything)
    {
        var meant = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (key, _) in _json ?? new JsonObject())
        {
            if (_known.Contains(key))
                continue;
            var suggestion = Suggest(key, everything);
            meant.Add(suggestion);
            Refuse(key, $"This key is not known; did you mean {suggestion}?");
            _violations.Doubt(suggestion);
        }

        foreach (var (key, expected) in _missing.Where(missing => IsReadable && !meant.Contains(At(missing.Key))))
            Refuse(key, $"This is required; expected {expected}.");
        foreach (var section in _sections)
            section.Close(everything);
    }

    private string Suggest(string key, List<(string Section, string Key)> everything)
    {
        var here = NearestName.Of(key, _known) ?? key;
        if (NearestName.IsClose(key, here))
            return At(here);
        var elsewhere = everything.Where(known => known.Key == key)
            .Concat(everything.Where(known => known.Section == Path && known.Key.Contains(key, StringComparison.OrdinalIgnoreCase)))
            .Concat(everything.Where(known => known.Key.Contains(key, StringComparison.OrdinalIgnoreCase)));
        foreach (var (section, known) in elsewhere)
            return FieldPath.Join(section, known);
        return At(here);
    }

    private void Gather(List<(string Section, string Key)> everything)
    {
        everything.AddRange(_known.Select(key => (Path, key)));
        foreach (var section in _sections)
            section.Gather(everything);
    }

    private T? KnowAbsent<T>(string key)
        where T : struct
    {
        Take(key);
        return null;
    }

    private string At(string key) => FieldPath.Join(Path, key);
}
