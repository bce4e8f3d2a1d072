namespace Platform.Text.Templates;

/// <summary>Evaluates expressions.</summary>
internal sealed class Evaluator(RenderBudget budget)
{
    internal RenderBudget Budget => budget;

    internal string Print(Value value, int line) => PythonText.Of(value, budget, line);

    internal Value Evaluate(Expression expression, Scope scope)
    {
        budget.Spend(expression.Line);
        RenderBudget.RequireStack(expression.Line);
        return expression switch
        {
            Expression.Literal literal => literal.Content,
            Expression.Name name => scope.Find(name.Identifier) ?? new Value.Undefined(name.Identifier),
            Expression.Attribute attribute => Attribute(Evaluate(attribute.Target, scope), attribute.Key, attribute.Line),
            Expression.Index index => Index(Evaluate(index.Target, scope), Evaluate(index.Key, scope), index.Line),
            Expression.Slice slice => Operators.Slice(Evaluate(slice.Target, scope), Bound(slice.Start, scope), Bound(slice.Stop, scope), Bound(slice.Step, scope), slice.Line),
            Expression.Call call => Call(call, scope),
            Expression.Filter filter => Filters.Apply(filter.FilterName, Evaluate(filter.Input, scope), Arguments(filter.FilterName, filter.Line, filter.Arguments, scope), this),
            Expression.Test test => Value.Of(Tests.Apply(test.TestName, Evaluate(test.Input, scope), Arguments(test.TestName, test.Line, test.Arguments, scope), budget)),
            Expression.Not not => Value.Of(!IsTrue(not.Operand, scope)),
            Expression.Negate negate => Operators.Negate(Evaluate(negate.Operand, scope), negate.Line),
            Expression.And and => Evaluate(and.Left, scope) is var left && Operators.IsTrue(left) ? Evaluate(and.Right, scope) : left,
            Expression.Or or => Evaluate(or.Left, scope) is var left && Operators.IsTrue(left) ? left : Evaluate(or.Right, scope),
            Expression.Binary binary => Operators.Binary(binary.Operator, Evaluate(binary.Left, scope), Evaluate(binary.Right, scope), budget, binary.Line),
            Expression.Compare compare => Compare(compare, scope),
            Expression.Conditional conditional => IsTrue(conditional.Condition, scope)
                ? Evaluate(conditional.Then, scope)
                : conditional.Else is { } otherwise ? Evaluate(otherwise, scope) : new Value.Undefined("the missing else"),
            Expression.List list => new Value.Sequence([.. list.Items.Select(item => Evaluate(item, scope))]),
            Expression.Dictionary dictionary => Dictionary(dictionary, scope),
            _ => throw new InvalidOperationException($"An expression of an unknown kind: {expression.GetType().Name}."),
        };
    }

    internal bool IsTrue(Expression expression, Scope scope) => Operators.IsTrue(Evaluate(expression, scope));

    /// <summary><c>value.key</c>: a method before a key, as Python looks.</summary>
    internal Value Attribute(Value target, string key, int line) => Methods.Of(target, key, this) ?? Lookup(target, key, line);

    internal Arguments Arguments(string function, int line, CallArguments arguments, Scope scope)
    {
        var named = new Dictionary<string, Value>(StringComparer.Ordinal);
        foreach (var (name, content) in arguments.Named)
        {
            named[name] = Evaluate(content, scope);
        }
        return new Arguments(function, line, [.. arguments.Positional.Select(argument => Evaluate(argument, scope))], named);
    }

    private static Value Lookup(Value target, string key, int line) => target switch
    {
        Value.Map map => map.Items.TryGetValue(key, out var found) ? found : new Value.Undefined(key),
        Value.Namespace space => space.Items.TryGetValue(key, out var found) ? found : new Value.Undefined(key),
        Value.Undefined undefined => throw new ChatTemplateException(line, $"'{undefined.Name}' is undefined; it has no '{key}'"),
        _ => new Value.Undefined(key),
    };

    /// <summary><c>value[key]</c>: a key before a method.</summary>
    private Value Index(Value target, Value key, int line)
    {
        if (key is Value.Text text)
        {
            var found = Lookup(target, text.Content, line);
            return found is Value.Undefined && Methods.Of(target, text.Content, this) is { } method ? method : found;
        }
        if (target is Value.Sequence or Value.Text && Operators.ToInteger(key) is { } position)
        {
            var items = Operators.Items(target, line);
            var at = position < 0 ? position + items.Count : position;
            return at >= 0 && at < items.Count ? items[(int)at] : new Value.Undefined($"item {position}");
        }
        return target is Value.Undefined undefined
            ? throw new ChatTemplateException(line, $"'{undefined.Name}' is undefined; it has no items")
            : new Value.Undefined("the item");
    }

    private long? Bound(Expression? bound, Scope scope)
    {
        if (bound is null || Evaluate(bound, scope) is not { } value || value is Value.NoneValue)
        {
            return null;
        }
        return Operators.ToInteger(value) ?? throw new ChatTemplateException(bound.Line, $"a bound of a slice is an integer, found {Operators.KindOf(value)}");
    }

    private Value Call(Expression.Call call, Scope scope)
    {
        var target = Evaluate(call.Target, scope);
        if (target is not Value.Function function)
        {
            throw new ChatTemplateException(call.Line, $"{Operators.KindOf(target)} cannot be called; the function or method is not supported");
        }
        var arguments = Arguments(function.Name, call.Line, call.Arguments, scope);
        budget.Enter(call.Line);
        var result = function.Body(arguments);
        budget.Leave();
        return result;
    }

    private Value Compare(Expression.Compare compare, Scope scope)
    {
        var left = Evaluate(compare.First, scope);
        foreach (var (symbol, operand) in compare.Rest)
        {
            var right = Evaluate(operand, scope);
            var holds = symbol switch
            {
                "==" => Operators.AreEqual(left, right, budget, compare.Line),
                "!=" => !Operators.AreEqual(left, right, budget, compare.Line),
                "in" => Operators.Contains(right, left, budget, compare.Line),
                "not in" => !Operators.Contains(right, left, budget, compare.Line),
                _ => Operators.Compare(symbol, left, right, compare.Line),
            };
            if (!holds)
            {
                return Value.False;
            }
            left = right;
        }
        return Value.True;
    }

    private Value.Map Dictionary(Expression.Dictionary dictionary, Scope scope)
    {
        var items = new OrderedDictionary<string, Value>(StringComparer.Ordinal);
        foreach (var (key, content) in dictionary.Items)
        {
            items[Evaluate(key, scope) is Value.Text text ? text.Content : throw new ChatTemplateException(dictionary.Line, "keys of a mapping that are not strings are not supported")] = Evaluate(content, scope);
        }
        return new Value.Map(items);
    }
}
