using System.Text;

namespace Platform.Scheduler.Core;

/// <summary>Names of enum members as the API spells reasons: <c>NodeLost</c> is <c>NODE_LOST</c>.</summary>
internal static class UpperSnake
{
    public static string Of<T>(T value)
        where T : struct, Enum
    {
        string name = value.ToString();
        var text = new StringBuilder(name.Length + 4);
        foreach (char letter in name)
        {
            if (char.IsUpper(letter) && text.Length > 0)
            {
                text.Append('_');
            }

            text.Append(char.ToUpperInvariant(letter));
        }

        return text.ToString();
    }
}
