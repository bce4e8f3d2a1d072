using System.Diagnostics;
using System.Text;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary>A program under test: its output by line, its end, and the promise that it is gone after the test.</summary>
internal sealed class RunningProgram : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly List<(Func<string, bool> Match, TaskCompletionSource<string> Found)> _waiting = [];
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _open = 2;

    private RunningProgram(Process process) => _process = process;

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public string Output
    {
        get
        {
            lock (_gate)
                return _output.ToString();
        }
    }

    public static RunningProgram Start(string program, IEnumerable<string> args, IReadOnlyDictionary<string, string>? environment = null)
    {
        // A test run in the background of a script has SIGINT ignored, and children would inherit that.
        var start = new ProcessStartInfo("env")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            UseShellExecute = false,
        };
        foreach (string arg in (IEnumerable<string>)["--default-signal=INT", program, .. args])
            start.ArgumentList.Add(arg);
        start.Environment["PLATFORM_HOME"] = Checkout.Root;
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
            start.Environment[name] = value;
        var running = new RunningProgram(new Process { StartInfo = start });
        running._process.OutputDataReceived += (_, line) => running.Add(line.Data);
        running._process.ErrorDataReceived += (_, line) => running.Add(line.Data);
        running._process.Start();
        running._process.StandardInput.Close();
        running._process.BeginOutputReadLine();
        running._process.BeginErrorReadLine();
        return running;
    }

    /// <summary>Runs a program to its end.</summary>
    public static async Task<(int ExitCode, string Output)> RunAsync(
        string program, IEnumerable<string> args, CancellationToken cancellation, IReadOnlyDictionary<string, string>? environment = null)
    {
        await using var running = Start(program, args, environment);
        int code = await running.WaitForExitAsync(cancellation);
        return (code, running.Output);
    }

    /// <summary>The first line, past or future, that matches; fails when the program ends without it.</summary>
    public async Task<string> WaitForLineAsync(Func<string, bool> match, CancellationToken cancellation)
    {
        var found = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            string? past = _output.ToString().Split('\n').FirstOrDefault(match);
            if (past is not null)
                return past;
            _waiting.Add((match, found));
        }
        var ended = _drained.Task;
        if (await Task.WhenAny(found.Task, ended).WaitAsync(cancellation) == ended && !found.Task.IsCompleted)
            throw new InvalidOperationException($"{_process.StartInfo.ArgumentList[1]} ended without the line that was waited for:\n{Output}");
        return await found.Task;
    }

    public async Task<int> WaitForExitAsync(CancellationToken cancellation)
    {
        await _process.WaitForExitAsync(cancellation);
        await _drained.Task.WaitAsync(cancellation);
        return _process.ExitCode;
    }

    public void Signal(string signal)
    {
        using var kill = Process.Start("kill", ["-s", signal, Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            Signal("TERM");
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            try
            {
                await _process.WaitForExitAsync(patience.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
                await _process.WaitForExitAsync(CancellationToken.None);
            }
        }
        _process.Dispose();
    }

    private void Add(string? line)
    {
        if (line is null)
        {
            if (Interlocked.Decrement(ref _open) == 0)
                _drained.TrySetResult();
            return;
        }
        lock (_gate)
        {
            _output.Append(line).Append('\n');
            for (int i = _waiting.Count - 1; i >= 0; i--)
            {
                if (!_waiting[i].Match(line))
                    continue;
                _waiting[i].Found.TrySetResult(line);
                _waiting.RemoveAt(i);
            }
        }
    }
}
