using System.Globalization;
using System.Text;

namespace Platform.Text.Templates;

/// <summary>Values as text, as Python prints them and as its <c>json.dumps</c> writes them.</summary>
internal static class PythonText
{
    /// <summary><c>str(value)</c>.</summary>
    internal static string Of(Value value, RenderBudget budget, int line)
    {
        if (value is Value.Text text)
        {
            return text.Content;
        }
        if (value is Value.Undefined)
        {
            return "";
        }
        var output = new StringBuilder();
        WriteRepresentation(value, output, budget, line);
        return output.ToString();
    }

    /// <summary><c>json.dumps(value, ensure_ascii=False, indent=indent)</c>.</summary>
    internal static string Json(Value value, int? indent, RenderBudget budget, int line)
    {
        var output = new StringBuilder();
        WriteJson(value, indent, 0, output, budget, line);
        return output.ToString();
    }

    private static void WriteRepresentation(Value value, StringBuilder output, RenderBudget budget, int line)
    {
        budget.Enter(line);
        budget.Spend(line);
        switch (value)
        {
            case Value.Text text:
                WriteQuoted(text.Content, output);
                break;
            case Value.Sequence list:
                output.Append('[');
                for (var i = 0; i < list.Items.Count; i++)
                {
                    output.Append(i == 0 ? "" : ", ");
                    WriteRepresentation(list.Items[i], output, budget, line);
                }
                output.Append(']');
                break;
            case Value.Map map:
                output.Append('{');
                for (var i = 0; i < map.Items.Count; i++)
                {
                    output.Append(i == 0 ? "" : ", ");
                    WriteQuoted(map.Items.GetAt(i).Key, output);
                    output.Append(": ");
                    WriteRepresentation(map.Items.GetAt(i).Value, output, budget, line);
                }
                output.Append('}');
                break;
            default:
                output.Append(Scalar(value, "None", "True", "False") ?? throw new ChatTemplateException(line, $"{Operators.KindOf(value)} cannot be put out"));
                break;
        }
        if (output.Length > RenderBudget.MaxOutputChars)
        {
            budget.CheckLength(line, output.Length);
        }
        budget.Leave();
    }

    private static void WriteJson(Value value, int? indent, int level, StringBuilder output, RenderBudget budget, int line)
    {
        budget.Enter(line);
        budget.Spend(line);
        switch (value)
        {
            case Value.Text text:
                WriteJsonText(text.Content, output);
                break;
            case Value.Sequence list:
                WriteJsonItems('[', ']', list.Items.Count, indent, level, output, i => WriteJson(list.Items[i], indent, level + 1, output, budget, line));
                break;
            case Value.Map map:
                WriteJsonItems('{', '}', map.Items.Count, indent, level, output, i =>
                {
                    WriteJsonText(map.Items.GetAt(i).Key, output);
                    output.Append(": ");
                    WriteJson(map.Items.GetAt(i).Value, indent, level + 1, output, budget, line);
                });
                break;
            default:
                output.Append(Scalar(value, "null", "true", "false") ?? throw new ChatTemplateException(line, $"'tojson' does not write {Operators.KindOf(value)}"));
                break;
        }
        if (output.Length > RenderBudget.MaxOutputChars)
        {
            budget.CheckLength(line, output.Length);
        }
        budget.Leave();
    }

    private static void WriteJsonItems(char open, char close, int count, int? indent, int level, StringBuilder output, Action<int> write)
    {
        output.Append(open);
        for (var i = 0; i < count; i++)
        {
            output.Append(i == 0 ? "" : indent is null ? ", " : ",");
            if (indent is { } width)
            {
                output.Append('\n').Append(' ', width * (level + 1));
            }
            write(i);
        }
        if (indent is { } last && count > 0)
        {
            output.Append('\n').Append(' ', last * level);
        }
        output.Append(close);
    }

    private static string? Scalar(Value value, string none, string yes, string no) => value switch
    {
        Value.NoneValue => none,
        Value.Bool flag => flag.Content ? yes : no,
        Value.Integer number => number.Content.ToString(CultureInfo.InvariantCulture),
        Value.Float number => FloatText(number.Content),
        _ => null,
    };

    private static string FloatText(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        return text.Contains('E', StringComparison.Ordinal)
            ? text.Replace('E', 'e')
            : text.Contains('.', StringComparison.Ordinal) ? text : text + ".0";
    }

    private static void WriteQuoted(string text, StringBuilder output)
    {
        var quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        output.Append(quote);
        foreach (var c in text)
        {
            _ = c switch
            {
                '\n' => output.Append("\\n"),
                '\r' => output.Append("\\r"),
                '\t' => output.Append("\\t"),
                '\\' => output.Append("\\\\"),
                < ' ' or '\u007F' => output.Append("\\x").Append(((int)c).ToString("x2", CultureInfo.InvariantCulture)),
                _ when c == quote => output.Append('\\').Append(c),
                _ => output.Append(c),
            };
        }
        output.Append(quote);
    }

    private static void WriteJsonText(string text, StringBuilder output)
    {
        output.Append('"');
        foreach (var c in text)
        {
            _ = c switch
            {
                '"' => output.Append("\\\""),
                '\\' => output.Append("\\\\"),
                '\n' => output.Append("\\n"),
                '\r' => output.Append("\\r"),
                '\t' => output.Append("\\t"),
                '\b' => output.Append("\\b"),
                '\f' => output.Append("\\f"),
                < ' ' => output.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture)),
                _ => output.Append(c),
            };
        }
        output.Append('"');
    }
}
