namespace Platform.Text.Templates;

/// <summary>A stretch of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Line">Line it starts in.</param>
/// <param name="Content">Text as it is to be put out, or what stands between the delimiters.</param>
internal readonly record struct TemplateSegment(SegmentKind Kind, int Line, string Content);

/// <summary>Kinds of <see cref="TemplateSegment"/>.</summary>
internal enum SegmentKind
{
    Text,
    Output,
    Statement,
}

/// <summary>
/// Cuts a template at its delimiters and applies the rules of white space that chat templates are rendered under
/// (Jinja's <c>trim_blocks</c> and <c>lstrip_blocks</c>; the template's last newline is dropped).
/// </summary>
internal static class TemplateScanner
{
    internal static List<TemplateSegment> Scan(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        if (source.EndsWith('\n'))
        {
            source = source[..^1];
        }
        var segments = new List<TemplateSegment>();
        var position = 0;
        var line = 1;
        var trimStart = Trim.None;
        while (position < source.Length)
        {
            var open = NextDelimiter(source, position);
            var raw = source[position..open];
            var textLine = line;
            line += raw.Count(c => c == '\n');
            if (open == source.Length)
            {
                AddText(segments, TrimStart(raw, trimStart), textLine);
                break;
            }
            var kind = source[open + 1];
            var sign = open + 2 < source.Length ? source[open + 2] : ' ';
            var text = TrimStart(raw, trimStart);
            if (sign == '-')
            {
                text = text.TrimEnd();
            }
            else if (kind != '{' && sign != '+')
            {
                text = StripIndent(text, startsLine: position == 0 || (trimStart == Trim.Newline && raw.StartsWith('\n')));
            }
            AddText(segments, text, textLine);
            var bodyStart = open + 2 + (sign is '-' or '+' ? 1 : 0);
            var (bodyEnd, end) = Close(source, bodyStart, kind, line);
            var body = source[bodyStart..bodyEnd];
            var closedByMinus = source[bodyEnd] == '-';
            var closedByPlus = source[bodyEnd] == '+';
            trimStart = closedByMinus ? Trim.All : kind != '{' && !closedByPlus ? Trim.Newline : Trim.None;
            if (kind == '%' && body.Trim() == "raw")
            {
                end = ScanRaw(source, segments, end, line, ref trimStart);
            }
            else if (kind != '#')
            {
                segments.Add(new TemplateSegment(kind == '{' ? SegmentKind.Output : SegmentKind.Statement, line, body));
            }
            line += source[open..end].Count(c => c == '\n');
            position = end;
        }
        return segments;
    }

    private enum Trim
    {
        None,
        Newline,
        All,
    }

    private static int NextDelimiter(string source, int from)
    {
        for (var at = source.IndexOf('{', from); at >= 0 && at + 1 < source.Length; at = source.IndexOf('{', at + 1))
        {
            if (source[at + 1] is '{' or '%' or '#')
            {
                return at;
            }
        }
        return source.Length;
    }

    /// <summary>End of the body, and of the tag with its delimiter; delimiters inside strings do not count.</summary>
    private static (int BodyEnd, int End) Close(string source, int from, char kind, int line)
    {
        var close = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
        var quote = '\0';
        var depth = 0;
        for (var i = from; i + 1 < source.Length; i++)
        {
            var c = source[i];
            if (kind == '#')
            {
                quote = '\0';
            }
            else if (quote != '\0')
            {
                i += c == '\\' ? 1 : 0;
                quote = c == quote ? '\0' : quote;
                continue;
            }
            else if (c is '\'' or '"')
            {
                quote = c;
                continue;
            }
            else if (c == '{')
            {
                depth++;
            }
            else if (c == '}' && depth > 0)
            {
                depth--;
                continue;
            }
            if (string.CompareOrdinal(source, i, close, 0, 2) == 0)
            {
                return i > from && (source[i - 1] is '-' or '+') ? (i - 1, i + 2) : (i, i + 2);
            }
        }
        throw new ChatTemplateException(line, $"'{{{kind}' is not closed by '{close}'");
    }

    private static int ScanRaw(string source, List<TemplateSegment> segments, int from, int line, ref Trim trimStart)
    {
        for (var at = source.IndexOf("{%", from, StringComparison.Ordinal); at >= 0; at = source.IndexOf("{%", at + 2, StringComparison.Ordinal))
        {
            var end = source.IndexOf("%}", at, StringComparison.Ordinal);
            if (end >= 0 && source[(at + 2)..end].Trim('-', '+', ' ', '\n', '\t') == "endraw")
            {
                var text = TrimStart(source[from..at], trimStart);
                AddText(segments, source[at + 2] == '-' ? text.TrimEnd() : StripIndent(text, startsLine: false), line);
                trimStart = source[end - 1] == '-' ? Trim.All : Trim.Newline;
                return end + 2;
            }
        }
        throw new ChatTemplateException(line, "'raw' is not closed by 'endraw'");
    }

    private static string TrimStart(string text, Trim trim) => trim switch
    {
        Trim.All => text.TrimStart(),
        Trim.Newline when text.StartsWith('\n') => text[1..],
        _ => text,
    };

    /// <summary>Drops blanks between the start of a line and a tag.</summary>
    private static string StripIndent(string text, bool startsLine)
    {
        var newline = text.LastIndexOf('\n');
        var tail = text.AsSpan(newline + 1);
        return tail.IsWhiteSpace() && (newline >= 0 || startsLine) ? text[..(newline + 1)] : text;
    }

    private static void AddText(List<TemplateSegment> segments, string text, int line)
    {
        if (text.Length > 0)
        {
            segments.Add(new TemplateSegment(SegmentKind.Text, line, text));
        }
    }
}
