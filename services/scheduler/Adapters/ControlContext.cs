using Microsoft.EntityFrameworkCore;
using Platform.Scheduler.Data;
using Platform.Scheduling.Control;

namespace Platform.Scheduler.Adapters;

/// <summary>What a piece of work may use while it has the control loop to itself.</summary>
/// <param name="Plane">The control plane.</param>
/// <param name="Db">For reads; what the batch before committed is visible.</param>
/// <param name="Now">The time of the batch.</param>
/// <param name="Epoch">Epoch of the leadership.</param>
/// <param name="NextSequence">Numbers that grow, over leaderships too.</param>
internal sealed record ControlContext(ControlPlane Plane, SchedulerDbContext Db, DateTimeOffset Now, long Epoch, Func<long> NextSequence)
{
    private readonly List<Func<SchedulerDbContext, CancellationToken, Task>> writes = [];
    private readonly HashSet<string> touched = [];

    /// <summary>What this batch created by request id, and has not committed yet.</summary>
    public Dictionary<string, string> Created { get; } = [];

    /// <summary>Statements of the batch, executed before the other writes.</summary>
    public RowWriter Rows { get; } = new();

    /// <summary>Whether something beside the control plane's own changes is to be written.</summary>
    public bool HasWrites => writes.Count > 0 || Rows.Count > 0;

    /// <summary>Names whose watchers are to look again.</summary>
    public IReadOnlySet<string> Touched => touched;

    /// <summary>Rows to be added in the transaction of the batch.</summary>
    public void Add<T>(T row)
        where T : class =>
        writes.Add((db, _) =>
        {
            db.Add(row);
            return Task.CompletedTask;
        });

    /// <summary>Rows to be changed in the transaction of the batch.</summary>
    public void Update<T>(T row)
        where T : class =>
        writes.Add((db, _) =>
        {
            db.Entry(row).State = EntityState.Modified;
            return Task.CompletedTask;
        });

    /// <summary>Something to be executed in the transaction of the batch.</summary>
    public void Write(Func<SchedulerDbContext, CancellationToken, Task> write) => writes.Add(write);

    /// <summary>Wakes the watchers of something once the batch is committed.</summary>
    public void Touch(string name) => touched.Add(name);

    public async Task WriteAllAsync(SchedulerDbContext db, CancellationToken cancellationToken)
    {
        foreach (var write in writes)
        {
            await write(db, cancellationToken);
        }
    }
}

/// <summary>A piece of work for the control loop. Its answer is given only once what it did is committed.</summary>
internal abstract class ControlWork
{
    public abstract Task ApplyAsync(ControlContext context);

    public abstract void Complete();

    public abstract void Fail(Exception exception);
}

/// <summary>Work that nobody waits for.</summary>
internal sealed class PostedWork(Action<ControlContext> apply, Action<string> dropped) : ControlWork
{
    public override Task ApplyAsync(ControlContext context)
    {
        apply(context);
        return Task.CompletedTask;
    }

    public override void Complete()
    {
    }

    public override void Fail(Exception exception) => dropped(exception.Message);
}

/// <inheritdoc/>
internal sealed class ControlWork<T>(Func<ControlContext, Task<Func<T>>> apply) : ControlWork
{
    private readonly TaskCompletionSource<T> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Func<T>? answer;

    public Task<T> Done => done.Task;

    public override async Task ApplyAsync(ControlContext context) => answer = await apply(context);

    public override void Complete() => done.TrySetResult((answer ?? throw new InvalidOperationException("Completed before it was applied."))());

    public override void Fail(Exception exception)
    {
        // Nobody may be waiting, as with messages from the bus.
        done.TrySetException(exception);
        _ = done.Task.Exception;
    }
}
