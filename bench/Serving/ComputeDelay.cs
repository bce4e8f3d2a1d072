using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// How long the threads that compute were ready to run while the system ran something else on their processors: what a
/// disturbance from outside costs. Linux counts it per thread (Documentation/scheduler/sched-stats.rst, second number).
/// Elsewhere it is always zero.
/// </summary>
internal sealed class ComputeDelay : IDisposable
{
    private const string Tasks = "/proc/self/task";

    private readonly List<SafeFileHandle> _threads = [];
    private readonly byte[] _buffer = new byte[128];
    private double[] _last = [];

    /// <summary>Longest of the threads' waits since the last call, in seconds.</summary>
    public double Take()
    {
        if (_threads.Count == 0)
            Find();
        var longest = 0.0;
        for (var i = 0; i < _threads.Count; i++)
        {
            var now = Read(_threads[i]);
            longest = Math.Max(longest, now - _last[i]);
            _last[i] = now;
        }

        return longest;
    }

    public void Dispose() => _threads.ForEach(thread => thread.Dispose());

    private void Find()
    {
        if (!Directory.Exists(Tasks))
            return;
        foreach (var task in Directory.GetDirectories(Tasks))
        {
            var name = File.ReadAllText(Path.Combine(task, "comm")).Trim();
            if (name == "engine" || name.StartsWith("compute ", StringComparison.Ordinal))
                _threads.Add(File.OpenHandle(Path.Combine(task, "schedstat")));
        }

        _last = [.. _threads.Select(Read)];
    }

    private double Read(SafeFileHandle thread)
    {
        var text = Encoding.ASCII.GetString(_buffer, 0, RandomAccess.Read(thread, _buffer, 0));
        return double.Parse(text.Split(' ')[1], CultureInfo.InvariantCulture) / 1e9;
    }
}
