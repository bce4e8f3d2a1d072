using System.Runtime.CompilerServices;

namespace Platform.Text.Templates;

/// <summary>What one rendering may still use. Templates come from strangers' models.</summary>
internal sealed class RenderBudget
{
    internal const int MaxSteps = 1_000_000;
    internal const int MaxOutputChars = 1 << 20;
    internal const int MaxDepth = 100;

    private int _steps;
    private int _depth;

    /// <summary>Counts work done.</summary>
    /// <exception cref="ChatTemplateException">It is more than allowed.</exception>
    internal void Spend(int line, long steps = 1)
    {
        if (steps > MaxSteps - _steps)
        {
            throw new ChatTemplateException(line, $"rendering takes more than {MaxSteps} steps");
        }
        _steps += (int)steps;
    }

    /// <summary>Counts the characters of a text that is made, put out or not.</summary>
    /// <exception cref="ChatTemplateException">It is longer than any text may be.</exception>
    internal void CheckLength(int line, long chars)
    {
        if (chars > MaxOutputChars)
        {
            throw new ChatTemplateException(line, $"a text would have {chars} characters; at most {MaxOutputChars} are allowed");
        }
        Spend(line, chars / 256);
    }

    internal void Enter(int line)
    {
        if (++_depth > MaxDepth)
        {
            throw new ChatTemplateException(line, $"calls or values are nested more than {MaxDepth} deep");
        }
    }

    internal void Leave() => _depth--;

    /// <summary>Guards a recursion whose depth the template decides, such as along a chain of operators.</summary>
    /// <exception cref="ChatTemplateException">The stack is nearly used up.</exception>
    internal static void RequireStack(int line)
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new ChatTemplateException(line, "expressions or statements are nested too deep");
        }
    }
}
