using System.Text;
using Platform.Cli.Launching;

namespace Platform.Cli.Tests.Scripted;

/// <summary>How a run of the program ended and what it wrote.</summary>
internal sealed record RunResult(int Code, string Output, string Error)
{
    public IReadOnlyList<string> OutputLines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public IReadOnlyList<string> ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>Runs the program in this process, in a directory of its own, without touching the process's console.</summary>
internal sealed class CommandLine : IDisposable
{
    private readonly Dictionary<string, string> _variables = new(StringComparer.Ordinal);

    public CommandLine(string? server = null)
    {
        Directory = System.IO.Directory.CreateTempSubdirectory("platform-cli-").FullName;
        if (server is not null)
            _variables["PLATFORM_SERVER"] = server;
    }

    /// <summary>Current directory of the runs, deleted at the end.</summary>
    public string Directory { get; }

    public WaitableWriter Output { get; private set; } = new();

    public WaitableWriter Error { get; private set; } = new();

    public string Input { get; set; } = "";

    public bool IsInteractive { get; set; }

    /// <summary>The program that a run became.</summary>
    public ProgramStart? Became { get; private set; }

    public CommandLine With(string variable, string value)
    {
        _variables[variable] = value;
        return this;
    }

    public string Write(string file, string text)
    {
        var path = Path.Combine(Directory, file);
        System.IO.Directory.CreateDirectory(Path.GetDirectoryName(path) ?? Directory);
        File.WriteAllText(path, text);
        return path;
    }

    public Task<RunResult> RunAsync(params string[] args) => RunAsync(CancellationToken.None, args);

    public async Task<RunResult> RunAsync(CancellationToken cancellation, params string[] args)
    {
        (Output, Error) = (new WaitableWriter(), new WaitableWriter());
        var code = await CommandTree.RunAsync(
            args,
            new Terminal
            {
                Input = new StringReader(Input),
                Output = Output,
                Error = Error,
                IsInteractive = IsInteractive,
                IsInputInteractive = false,
                Directory = Directory,
                Variable = _variables.GetValueOrDefault,
                BecomeProgram = start =>
                {
                    Became = start;
                    return 0;
                },
            },
            cancellation);
        return new RunResult(code, Output.ToString(), Error.ToString());
    }

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}

/// <summary>Collects text and lets a test wait until some was written.</summary>
internal sealed class WaitableWriter : TextWriter
{
    private readonly Lock _lock = new();
    private readonly StringBuilder _text = new();
    private readonly List<(string Text, TaskCompletionSource Written)> _waiting = [];

    public override Encoding Encoding => Encoding.UTF8;

    public override void Write(char value) => Write(value.ToString());

    public override void Write(char[] buffer, int index, int count) => Write(new string(buffer, index, count));

    public override void Write(string? value)
    {
        lock (_lock)
        {
            _text.Append(value);
            var text = _text.ToString();
            foreach (var (_, written) in _waiting.Where(waiting => text.Contains(waiting.Text, StringComparison.Ordinal)))
                written.TrySetResult();
        }
    }

    public Task WaitForAsync(string text)
    {
        lock (_lock)
        {
            var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Add((text, written));
            if (_text.ToString().Contains(text, StringComparison.Ordinal))
                written.TrySetResult();
            return written.Task.WaitAsync(TimeSpan.FromSeconds(30));
        }
    }

    public override string ToString()
    {
        lock (_lock)
            return _text.ToString();
    }
}
