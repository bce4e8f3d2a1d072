using System.Text;
using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Plain text of the XML reference documentation that compilers write beside a .NET assembly: for each type a document of its
/// members' names and paragraphs.
/// </summary>
public static partial class ReferenceDocumentation
{
    /// <summary>Documents of a file; one that is not reference documentation gives all its text as one document.</summary>
    /// <exception cref="XmlException">It is not well-formed XML.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static IReadOnlyList<string> Read(string path)
    {
        var settings = new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null };
        using var reader = XmlReader.Create(path, settings);
        var root = XDocument.Load(reader).Root;
        if (root?.Element("members") is not { } members)
            return root is null ? [] : [Words(root)];

        var documents = new List<string>();
        var text = new StringBuilder();
        foreach (var member in members.Elements("member"))
        {
            var name = (string?)member.Attribute("name") ?? "";
            if (name.StartsWith("T:", StringComparison.Ordinal))
                Finish();
            Append(text, name, member);
        }

        Finish();
        return documents;

        void Finish()
        {
            if (text.Length > 0)
                documents.Add(text.ToString().TrimEnd() + "\n");
            text.Clear();
        }
    }

    private static void Append(StringBuilder text, string name, XElement member)
    {
        var paragraphs = new List<string>();
        foreach (var element in member.Elements())
        {
            var words = Words(element);
            if (words.Length == 0)
                continue;
            paragraphs.Add(element.Name.LocalName switch
            {
                "param" or "typeparam" => $"{(string?)element.Attribute("name")}: {words}",
                "returns" => $"Returns: {words}",
                "value" => $"Value: {words}",
                "exception" => $"{Short((string?)element.Attribute("cref"))}: {words}",
                _ => words,
            });
        }

        if (paragraphs.Count > 0)
            text.Append(Heading(name)).Append('\n').AppendJoin('\n', paragraphs).Append("\n\n");
    }

    /// <summary>
    /// <c>M:System.String.Join(System.String,System.Collections.Generic.IEnumerable{System.String})</c> becomes
    /// <c>String.Join(String, IEnumerable&lt;String&gt;)</c>.
    /// </summary>
    private static string Heading(string name)
    {
        var body = name.Length > 2 && name[1] == ':' ? name[2..] : name;
        var open = body.IndexOf('(', StringComparison.Ordinal);
        var path = Arity().Replace((open < 0 ? body : body[..open]).Replace("#ctor", "new", StringComparison.Ordinal), "");
        var parts = path.Split('.');

        // A member of an explicitly implemented interface has the interface's name before its own, with # for the dots.
        parts[^1] = parts[^1][(parts[^1].LastIndexOf('#') + 1)..];
        var shown = name.StartsWith("T:", StringComparison.Ordinal) ? path : string.Join('.', parts.TakeLast(2));
        return open < 0 ? shown : $"{shown}({Arguments(body[(open + 1)..body.LastIndexOf(')')])})";
    }

    private static string Arguments(string list) => Arity().Replace(Qualifier().Replace(list, ""), "T")
        .Replace('{', '<').Replace('}', '>').Replace("@", "", StringComparison.Ordinal).Replace(",", ", ", StringComparison.Ordinal);

    /// <summary>Text with references spelled out and runs of white space joined.</summary>
    private static string Words(XElement element)
    {
        var text = new StringBuilder();
        Collect(element, text);
        return string.Join(' ', text.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
    }

    private static void Collect(XElement element, StringBuilder text)
    {
        foreach (var node in element.Nodes())
        {
            switch (node)
            {
                case XText words:
                    text.Append(words.Value);
                    break;
                case XElement { IsEmpty: true } reference:
                    text.Append(
                        (string?)reference.Attribute("langword") ?? (string?)reference.Attribute("name") ?? Short((string?)reference.Attribute("cref")));
                    break;
                case XElement inner:
                    Collect(inner, text);
                    if (inner.Name.LocalName is "para" or "item" or "description" or "term")
                        text.Append(' ');
                    break;
            }
        }
    }

    /// <summary>Last part of a qualified name.</summary>
    private static string Short(string? reference)
    {
        if (string.IsNullOrEmpty(reference))
            return "";
        var body = reference.Length > 2 && reference[1] == ':' ? reference[2..] : reference;
        var open = body.IndexOf('(', StringComparison.Ordinal);
        return Arity().Replace((open < 0 ? body : body[..open]).Split('.')[^1].Replace("#ctor", "new", StringComparison.Ordinal), "");
    }

    [GeneratedRegex(@"`+[0-9]+")]
    private static partial Regex Arity();

    [GeneratedRegex(@"\w+\.")]
    private static partial Regex Qualifier();
}
