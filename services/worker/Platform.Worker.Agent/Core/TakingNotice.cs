using System.Globalization;
using System.Text.Json;

namespace Platform.Worker.Agent.Core;

/// <summary>Reads a notice that a machine is about to be taken away.</summary>
internal static class TakingNotice
{
    /// <summary>
    /// When the machine goes: <paramref name="text"/> is the number of seconds left, a time, JSON such as
    /// <c>{"action":"terminate","time":"2030-01-01T00:00:00Z"}</c>, or anything else, which gives the time that is usual.
    /// </summary>
    /// <param name="text">The notice.</param>
    /// <param name="seen">When it was first seen.</param>
    /// <param name="usual">Time left when it does not say.</param>
    public static DateTimeOffset Read(string text, DateTimeOffset seen, TimeSpan usual)
    {
        string stated = text.Trim();
        if (stated.StartsWith('{'))
        {
            stated = TimeOf(stated);
        }

        if (double.TryParse(stated, NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) && seconds is >= 0 and < 1e7)
        {
            return seen + TimeSpan.FromSeconds(seconds);
        }

        return DateTimeOffset.TryParse(stated, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : seen + usual;
    }

    private static string TimeOf(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.TryGetProperty("time", out var time) ? time.ToString() : "";
        }
        catch (JsonException)
        {
            return "";
        }
    }
}
