using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Platform.Scheduler.Core;

/// <summary>Opaque page tokens (AIP-158): where the page before ended.</summary>
internal static class PageToken
{
    public const int DefaultSize = 50;

    public const int MaxSize = 1000;

    public static string Write(long after) => Base64Url.EncodeToString(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"1:{after}")));

    /// <summary>Where the page before ended; null for the first page, or when the token is none of ours.</summary>
    public static bool TryRead(string token, out long? after)
    {
        after = null;
        if (token.Length == 0)
        {
            return true;
        }

        byte[] bytes = new byte[Base64Url.GetMaxDecodedLength(token.Length)];
        if (!Base64Url.IsValid(token) || !Base64Url.TryDecodeFromChars(token, bytes, out int written))
        {
            return false;
        }

        string text = Encoding.ASCII.GetString(bytes, 0, written);
        if (text.StartsWith("1:", StringComparison.Ordinal) && long.TryParse(text.AsSpan(2), NumberStyles.None, CultureInfo.InvariantCulture, out long value))
        {
            after = value;
            return true;
        }

        return false;
    }

    public static int Size(int requested) => requested == 0 ? DefaultSize : Math.Min(requested, MaxSize);
}
