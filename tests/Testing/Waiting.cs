using System.Diagnostics;

namespace Platform.Testing;

/// <summary>Waiting for a condition instead of for a time.</summary>
public static class Waiting
{
    /// <summary>Waits until a condition holds.</summary>
    /// <param name="condition">Looked at every few milliseconds.</param>
    /// <param name="what">What is waited for, for the message.</param>
    /// <param name="seconds">When to give up; far beyond what it takes.</param>
    public static async Task UntilAsync(Func<bool> condition, string what, double seconds = 30)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(start).TotalSeconds > seconds)
            {
                throw new TimeoutException($"Waited {seconds} s in vain: {what}");
            }

            await Task.Delay(5);
        }
    }

    /// <summary>Waits until a value is there.</summary>
    public static async Task<T> ForAsync<T>(Func<T?> value, string what, double seconds = 30)
        where T : class
    {
        T? found = null;
        await UntilAsync(() => (found = value()) is not null, what, seconds);
        return found ?? throw new TimeoutException(what);
    }
}
