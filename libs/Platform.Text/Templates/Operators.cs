namespace Platform.Text.Templates;

/// <summary>What Python's operators do to values.</summary>
internal static class Operators
{
    internal static string KindOf(Value value) => value switch
    {
        Value.Undefined undefined => $"'{undefined.Name}', which is undefined",
        Value.NoneValue => "none",
        Value.Bool => "a boolean",
        Value.Integer => "an integer",
        Value.Float => "a float",
        Value.Text => "a string",
        Value.Sequence => "a list",
        Value.Map => "a mapping",
        Value.Namespace => "a namespace",
        Value.Function function => $"the function '{function.Name}'",
        _ => "a value",
    };

    internal static bool IsTrue(Value value) => value switch
    {
        Value.Undefined or Value.NoneValue => false,
        Value.Bool flag => flag.Content,
        Value.Integer number => number.Content != 0,
        Value.Float number => number.Content != 0,
        Value.Text text => text.Content.Length > 0,
        Value.Sequence list => list.Items.Count > 0,
        Value.Map map => map.Items.Count > 0,
        _ => true,
    };

    internal static bool AreEqual(Value left, Value right, RenderBudget budget, int line)
    {
        budget.Spend(line);
        if (ReferenceEquals(left, right))
        {
            return true;
        }
        switch (left, right)
        {
            case (Value.Sequence a, Value.Sequence b):
                if (a.Items.Count != b.Items.Count)
                {
                    return false;
                }
                budget.Enter(line);
                var same = true;
                for (var i = 0; same && i < a.Items.Count; i++)
                {
                    same = AreEqual(a.Items[i], b.Items[i], budget, line);
                }
                budget.Leave();
                return same;
            case (Value.Map a, Value.Map b):
                budget.Enter(line);
                var equal = a.Items.Count == b.Items.Count
                    && a.Items.All(item => b.Items.TryGetValue(item.Key, out var other) && AreEqual(item.Value, other, budget, line));
                budget.Leave();
                return equal;
            case (Value.Text a, Value.Text b):
                return a.Content == b.Content;
            case (Value.NoneValue, Value.NoneValue) or (Value.Undefined, Value.Undefined):
                return true;
            default:
                return ToInteger(left) is { } x && ToInteger(right) is { } y ? x == y : ToNumber(left) is { } p && ToNumber(right) is { } q && p == q;
        }
    }

    internal static bool Compare(string symbol, Value left, Value right, int line)
    {
        int order;
        if (left is Value.Text a && right is Value.Text b)
        {
            order = string.CompareOrdinal(a.Content, b.Content);
        }
        else if (ToInteger(left) is { } i && ToInteger(right) is { } j)
        {
            order = i.CompareTo(j);
        }
        else if (ToNumber(left) is { } x && ToNumber(right) is { } y)
        {
            order = x.CompareTo(y);
        }
        else
        {
            throw new ChatTemplateException(line, $"'{symbol}' does not compare {KindOf(left)} with {KindOf(right)}");
        }
        return symbol switch
        {
            "<" => order < 0,
            ">" => order > 0,
            "<=" => order <= 0,
            _ => order >= 0,
        };
    }

    internal static bool Contains(Value container, Value item, RenderBudget budget, int line) => container switch
    {
        Value.Text text when item is Value.Text part => text.Content.Contains(part.Content, StringComparison.Ordinal),
        Value.Sequence list => list.Items.Any(other => AreEqual(other, item, budget, line)),
        Value.Map map => item is Value.Text key && map.Items.ContainsKey(key.Content),
        Value.Undefined => false,
        _ => throw new ChatTemplateException(line, $"'in' does not look for {KindOf(item)} in {KindOf(container)}"),
    };

    internal static Value Binary(string symbol, Value left, Value right, RenderBudget budget, int line)
    {
        try
        {
            return (symbol, left, right) switch
            {
                ("~", _, _) => Join(PythonText.Of(left, budget, line), PythonText.Of(right, budget, line), budget, line),
                ("+", Value.Text a, Value.Text b) => Join(a.Content, b.Content, budget, line),
                ("+", Value.Sequence a, Value.Sequence b) => Concatenate(a, b, budget, line),
                ("*", Value.Text a, _) when ToInteger(right) is { } times => Repeat(a.Content, times, budget, line),
                ("%", Value.Text, _) => throw new ChatTemplateException(line, "formatting with '%' is not supported"),
                _ when ToInteger(left) is { } a && ToInteger(right) is { } b => Integers(symbol, a, b, line),
                _ when ToNumber(left) is { } a && ToNumber(right) is { } b => new Value.Float(Floats(symbol, a, b, line)),
                _ => throw new ChatTemplateException(line, $"'{symbol}' does not work on {KindOf(left)} and {KindOf(right)}"),
            };
        }
        catch (OverflowException)
        {
            throw new ChatTemplateException(line, $"the result of '{symbol}' exceeds 64 bits");
        }
    }

    internal static Value Negate(Value value, int line) => value switch
    {
        Value.Float number => new Value.Float(-number.Content),
        _ when ToInteger(value) is { } number && number != long.MinValue => new Value.Integer(-number),
        _ => throw new ChatTemplateException(line, $"'-' does not work on {KindOf(value)}"),
    };

    internal static long? ToInteger(Value value) => value switch
    {
        Value.Integer number => number.Content,
        Value.Bool flag => flag.Content ? 1 : 0,
        _ => null,
    };

    internal static double? ToNumber(Value value) => value is Value.Float number ? number.Content : ToInteger(value);

    /// <summary>The items a loop or filter goes over.</summary>
    internal static IReadOnlyList<Value> Items(Value value, int line) => value switch
    {
        Value.Sequence list => list.Items,
        Value.Map map => [.. map.Items.Keys.Select(key => new Value.Text(key))],
        Value.Text text => [.. text.Content.EnumerateRunes().Select(rune => new Value.Text(rune.ToString()))],
        Value.Undefined => [],
        _ => throw new ChatTemplateException(line, $"{KindOf(value)} cannot be looped over"),
    };

    /// <summary>Python's slice: bounds clamp, negative ones count from the end.</summary>
    internal static Value Slice(Value target, long? start, long? stop, long? step, int line)
    {
        if (target is Value.Undefined or not (Value.Text or Value.Sequence))
        {
            throw new ChatTemplateException(line, $"{KindOf(target)} cannot be sliced");
        }
        var items = Items(target, line);
        var by = step ?? 1;
        if (by is 0 or < -int.MaxValue or > int.MaxValue)
        {
            throw new ChatTemplateException(line, $"{by} is no step of a slice");
        }
        long Bound(long? bound, long whenAbsent, long low, long high) => bound is not { } value
            ? whenAbsent
            : Math.Clamp(value < 0 ? value + items.Count : value, low, high);
        var from = by > 0 ? Bound(start, 0, 0, items.Count) : Bound(start, items.Count - 1, -1, items.Count - 1);
        var to = by > 0 ? Bound(stop, items.Count, 0, items.Count) : Bound(stop, -1, -1, items.Count - 1);
        var taken = new List<Value>();
        for (var i = from; by > 0 ? i < to : i > to; i += by)
        {
            taken.Add(items[(int)i]);
        }
        return target is Value.Text
            ? new Value.Text(string.Concat(taken.Cast<Value.Text>().Select(text => text.Content)))
            : new Value.Sequence(taken);
    }

    private static Value.Text Join(string left, string right, RenderBudget budget, int line)
    {
        budget.CheckLength(line, (long)left.Length + right.Length);
        return new Value.Text(left + right);
    }

    private static Value.Sequence Concatenate(Value.Sequence left, Value.Sequence right, RenderBudget budget, int line)
    {
        budget.Spend(line, (long)left.Items.Count + right.Items.Count);
        return new Value.Sequence([.. left.Items, .. right.Items]);
    }

    private static Value.Text Repeat(string text, long times, RenderBudget budget, int line)
    {
        times = Math.Max(0, times);
        budget.CheckLength(line, text.Length == 0 ? 0 : times > RenderBudget.MaxOutputChars ? times : text.Length * times);
        return new Value.Text(string.Concat(Enumerable.Repeat(text, text.Length == 0 ? 0 : (int)times)));
    }

    private static Value Integers(string symbol, long a, long b, int line) => symbol switch
    {
        "+" => new Value.Integer(checked(a + b)),
        "-" => new Value.Integer(checked(a - b)),
        "*" => new Value.Integer(checked(a * b)),
        _ when b == 0 => throw new ChatTemplateException(line, "division by zero"),
        "/" => new Value.Float((double)a / b),
        "//" => new Value.Integer(checked(a / b) - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0)),
        _ => new Value.Integer(b == -1 ? 0 : ((a % b) + b) % b),
    };

    private static double Floats(string symbol, double a, double b, int line) => symbol switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        _ when b == 0 => throw new ChatTemplateException(line, "division by zero"),
        "/" => a / b,
        "//" => Math.Floor(a / b),
        _ => a - (b * Math.Floor(a / b)),
    };
}
