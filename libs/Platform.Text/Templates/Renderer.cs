using System.Text;

namespace Platform.Text.Templates;

/// <summary>Carries out statements and collects what they put out.</summary>
internal sealed class Renderer
{
    private readonly RenderBudget _budget = new();
    private readonly Evaluator _evaluator;
    private StringBuilder _output = new();

    internal Renderer() => _evaluator = new Evaluator(_budget);

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    internal string Render(IReadOnlyList<Statement> statements, Scope globals)
    {
        Run(statements, new Scope(globals));
        return _output.ToString();
    }

    private Flow Run(IReadOnlyList<Statement> statements, Scope scope)
    {
        foreach (var statement in statements)
        {
            var flow = Run(statement, scope);
            if (flow != Flow.Next)
            {
                return flow;
            }
        }
        return Flow.Next;
    }

    private Flow Run(Statement statement, Scope scope)
    {
        _budget.Spend(statement.Line);
        RenderBudget.RequireStack(statement.Line);
        switch (statement)
        {
            case Statement.Text text:
                Put(text.Content, text.Line);
                return Flow.Next;
            case Statement.Output output:
                Put(_evaluator.Print(_evaluator.Evaluate(output.Content, scope), output.Line), output.Line);
                return Flow.Next;
            case Statement.If choice:
                foreach (var (condition, body) in choice.Branches)
                {
                    if (_evaluator.IsTrue(condition, scope))
                    {
                        return Run(body, scope);
                    }
                }
                return Run(choice.Else, scope);
            case Statement.For loop:
                return RunFor(loop, scope);
            case Statement.Set set:
                Assign(set.Targets, _evaluator.Evaluate(set.Content, scope), scope, set.Line);
                return Flow.Next;
            case Statement.SetAttribute set:
                SetAttribute(set, scope);
                return Flow.Next;
            case Statement.SetBlock set:
                scope.Set(set.Target, new Value.Text(Capture(set.Body, scope)));
                return Flow.Next;
            case Statement.Macro macro:
                scope.Set(macro.Name, new Value.Function(macro.Name, arguments => CallMacro(macro, arguments, scope)));
                return Flow.Next;
            case Statement.Block block:
                return Run(block.Body, scope);
            case Statement.Break:
                return Flow.Break;
            case Statement.Continue:
                return Flow.Continue;
            default:
                throw new InvalidOperationException($"A statement of an unknown kind: {statement.GetType().Name}.");
        }
    }

    private Flow RunFor(Statement.For loop, Scope scope)
    {
        var items = Operators.Items(_evaluator.Evaluate(loop.Items, scope), loop.Line);
        if (loop.Condition is { } condition)
        {
            items = [.. items.Where(item =>
            {
                var inner = new Scope(scope);
                Assign(loop.Targets, item, inner, loop.Line);
                return _evaluator.IsTrue(condition, inner);
            })];
        }
        if (items.Count == 0)
        {
            return Run(loop.Else, scope);
        }
        for (var i = 0; i < items.Count; i++)
        {
            _budget.Spend(loop.Line);
            var inner = new Scope(scope);
            inner.Set("loop", LoopVariables(items, i));
            Assign(loop.Targets, items[i], inner, loop.Line);
            if (Run(loop.Body, inner) == Flow.Break)
            {
                break;
            }
        }
        return Flow.Next;
    }

    private static Value.Namespace LoopVariables(IReadOnlyList<Value> items, int i) => new(new Dictionary<string, Value>(StringComparer.Ordinal)
    {
        ["index"] = new Value.Integer(i + 1),
        ["index0"] = new Value.Integer(i),
        ["revindex"] = new Value.Integer(items.Count - i),
        ["revindex0"] = new Value.Integer(items.Count - i - 1),
        ["first"] = Value.Of(i == 0),
        ["last"] = Value.Of(i == items.Count - 1),
        ["length"] = new Value.Integer(items.Count),
        ["previtem"] = i == 0 ? new Value.Undefined("previtem") : items[i - 1],
        ["nextitem"] = i == items.Count - 1 ? new Value.Undefined("nextitem") : items[i + 1],
        ["cycle"] = new Value.Function("cycle", arguments => arguments.Positional.Count == 0
            ? throw arguments.Error("'cycle' needs something to go round")
            : arguments.Positional[i % arguments.Positional.Count]),
    });

    private static void Assign(IReadOnlyList<string> targets, Value value, Scope scope, int line)
    {
        if (targets.Count == 1)
        {
            scope.Set(targets[0], value);
            return;
        }
        var parts = Operators.Items(value, line);
        if (parts.Count != targets.Count)
        {
            throw new ChatTemplateException(line, $"{parts.Count} values cannot be given to {targets.Count} names");
        }
        for (var i = 0; i < targets.Count; i++)
        {
            scope.Set(targets[i], parts[i]);
        }
    }

    private void SetAttribute(Statement.SetAttribute set, Scope scope)
    {
        if (set.Target == "loop" || scope.Find(set.Target) is not Value.Namespace space)
        {
            throw new ChatTemplateException(set.Line, $"'{set.Target}' is no namespace; only attributes of namespaces can be set");
        }
        space.Items[set.Key] = _evaluator.Evaluate(set.Content, scope);
    }

    private string Capture(IReadOnlyList<Statement> body, Scope scope)
    {
        var outer = _output;
        _output = new StringBuilder();
        try
        {
            Run(body, new Scope(scope));
            return _output.ToString();
        }
        finally
        {
            _output = outer;
        }
    }

    private Value.Text CallMacro(Statement.Macro macro, Arguments arguments, Scope definedIn)
    {
        var scope = new Scope(definedIn);
        foreach (var (name, fallback) in macro.Parameters)
        {
            scope.Set(name, arguments.Take(name) ?? (fallback is null ? new Value.Undefined(name) : _evaluator.Evaluate(fallback, scope)));
        }
        arguments.End();
        return new Value.Text(Capture(macro.Body, scope));
    }

    private void Put(string text, int line)
    {
        _budget.CheckLength(line, text.Length);
        if (_output.Length + text.Length > RenderBudget.MaxOutputChars)
        {
            throw new ChatTemplateException(line, $"the output exceeds {RenderBudget.MaxOutputChars} characters");
        }
        _output.Append(text);
    }
}
