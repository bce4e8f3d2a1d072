namespace Platform.Text.Templates;

/// <summary>What may stand behind <c>is</c>.</summary>
internal static class Tests
{
    private static readonly Dictionary<string, Func<Value, Arguments, RenderBudget, bool>> ByName = new(StringComparer.Ordinal)
    {
        ["defined"] = (value, _, _) => value is not Value.Undefined,
        ["undefined"] = (value, _, _) => value is Value.Undefined,
        ["none"] = (value, _, _) => value is Value.NoneValue,
        ["string"] = (value, _, _) => value is Value.Text,
        ["mapping"] = (value, _, _) => value is Value.Map,
        ["iterable"] = (value, _, _) => value is Value.Text or Value.Sequence or Value.Map or Value.Undefined,
        ["sequence"] = (value, _, _) => value is Value.Text or Value.Sequence or Value.Map or Value.Undefined,
        ["number"] = (value, _, _) => value is Value.Integer or Value.Float or Value.Bool,
        ["integer"] = (value, _, _) => value is Value.Integer,
        ["float"] = (value, _, _) => value is Value.Float,
        ["boolean"] = (value, _, _) => value is Value.Bool,
        ["true"] = (value, _, _) => value is Value.Bool { Content: true },
        ["false"] = (value, _, _) => value is Value.Bool { Content: false },
        ["callable"] = (value, _, _) => value is Value.Function,
        ["odd"] = (value, arguments, _) => Whole(value, arguments) % 2 != 0,
        ["even"] = (value, arguments, _) => Whole(value, arguments) % 2 == 0,
        ["divisibleby"] = (value, arguments, _) => arguments.TakeInteger("num") is { } by and not 0 and not -1 ? Whole(value, arguments) % by == 0 : throw arguments.Error("'divisibleby' needs a number other than 0 and -1"),
        ["lower"] = (value, _, _) => value is Value.Text text && !text.Content.Any(char.IsUpper),
        ["upper"] = (value, _, _) => value is Value.Text text && !text.Content.Any(char.IsLower),
        ["in"] = (value, arguments, budget) => Operators.Contains(arguments.Require("seq"), value, budget, arguments.Line),
        ["eq"] = (value, arguments, budget) => Operators.AreEqual(value, arguments.Require("other"), budget, arguments.Line),
        ["ne"] = (value, arguments, budget) => !Operators.AreEqual(value, arguments.Require("other"), budget, arguments.Line),
        ["lt"] = (value, arguments, _) => Operators.Compare("<", value, arguments.Require("other"), arguments.Line),
        ["gt"] = (value, arguments, _) => Operators.Compare(">", value, arguments.Require("other"), arguments.Line),
        ["le"] = (value, arguments, _) => Operators.Compare("<=", value, arguments.Require("other"), arguments.Line),
        ["ge"] = (value, arguments, _) => Operators.Compare(">=", value, arguments.Require("other"), arguments.Line),
    };

    private static readonly Dictionary<string, string> Synonyms = new(StringComparer.Ordinal)
    {
        ["equalto"] = "eq",
        ["=="] = "eq",
        ["!="] = "ne",
        ["<"] = "lt",
        ["lessthan"] = "lt",
        [">"] = "gt",
        ["greaterthan"] = "gt",
        ["<="] = "le",
        [">="] = "ge",
        ["None"] = "none",
    };

    internal static string Known(string name, int line)
    {
        name = Synonyms.GetValueOrDefault(name, name);
        return ByName.ContainsKey(name) ? name : throw new ChatTemplateException(line, $"the test '{name}' is not supported");
    }

    internal static bool TakesArgument(string name) => name is "divisibleby" or "in" or "eq" or "ne" or "lt" or "gt" or "le" or "ge";

    internal static bool Apply(string name, Value value, Arguments arguments, RenderBudget budget)
    {
        var result = ByName[name](value, arguments, budget);
        arguments.End();
        return result;
    }

    private static long Whole(Value value, Arguments arguments) => Operators.ToInteger(value) ?? throw arguments.Error($"an integer is expected, found {Operators.KindOf(value)}");
}
