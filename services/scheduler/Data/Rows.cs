namespace Platform.Scheduler.Data;

/// <summary>Version of the schema; one row.</summary>
internal sealed class SchemaRow
{
    public int Id { get; set; }

    public int Version { get; set; }
}

/// <summary>Who leads; one row.</summary>
internal sealed class LeaderRow
{
    public int Id { get; set; }

    public required string Holder { get; set; }

    public long Epoch { get; set; }

    public long ExpiresUnixMs { get; set; }
}

/// <summary>Nodes asked of providers, as JSON; one row.</summary>
internal sealed class CapacityRow
{
    public int Id { get; set; }

    public required string State { get; set; }
}

/// <summary>A gang: its state as JSON, and what is asked for in queries.</summary>
internal sealed class GangRow
{
    public required string Gang { get; set; }

    public required string Project { get; set; }

    public required string Kind { get; set; }

    public required string Stage { get; set; }

    public bool Terminal { get; set; }

    public int Attempt { get; set; }

    public required string State { get; set; }

    public long Version { get; set; }
}

/// <summary>An attempt of a gang.</summary>
internal sealed class AttemptRow
{
    public required string Gang { get; set; }

    public int Attempt { get; set; }

    public long PlacedUnixMs { get; set; }

    public long? EndedUnixMs { get; set; }

    public string? Outcome { get; set; }

    public required string State { get; set; }

    /// <summary>What it ran for: the name of the job or deployment. Null before the account was kept, as all that follow.</summary>
    public string? Resource { get; set; }

    public string? Queue { get; set; }

    public string? User { get; set; }

    public string? DeviceKind { get; set; }

    /// <summary>Thousandths of devices that it holds or held.</summary>
    public long Milli { get; set; }

    /// <summary>Price of a whole device when they were given.</summary>
    public double? PricePerHour { get; set; }
}

/// <summary>A share of a device that a live attempt holds.</summary>
internal sealed class AllocationRow
{
    public required string Gang { get; set; }

    public int Attempt { get; set; }

    public required string Node { get; set; }

    public int Device { get; set; }

    public int Rank { get; set; }

    public int Milli { get; set; }
}

/// <summary>A job.</summary>
internal sealed class JobRow
{
    public required string Id { get; set; }

    public required string Project { get; set; }

    public required string Uid { get; set; }

    public long Sequence { get; set; }

    public required string Spec { get; set; }

    public string? Model { get; set; }

    /// <summary>Who submitted it.</summary>
    public string? User { get; set; }

    /// <summary>What the planner predicted: <c>platform.v1.RunFigures</c> as JSON.</summary>
    public string? Predicted { get; set; }

    public long CreatedUnixMs { get; set; }
}

/// <summary>How far a job's ranks are.</summary>
internal sealed class ProgressRow
{
    public required string Job { get; set; }

    public required string Phase { get; set; }

    public double? PhaseFraction { get; set; }

    public int Step { get; set; }

    public double? Loss { get; set; }

    public double? FirstLoss { get; set; }

    public double? TokensPerSecond { get; set; }

    public double? StepSeconds { get; set; }

    /// <summary>What the ranks measured: <c>RunMeasurement</c> as JSON.</summary>
    public string? Measured { get; set; }
}

/// <summary>One optimizer step of a job.</summary>
internal sealed class MetricPointRow
{
    public required string Job { get; set; }

    public int Step { get; set; }

    public double Loss { get; set; }

    public double GradNorm { get; set; }

    public double TokensPerSecond { get; set; }

    public double LearningRate { get; set; }

    public double StepSeconds { get; set; }

    public double? EvalLoss { get; set; }

    /// <summary>Where the time went: <c>StepParts</c> as JSON.</summary>
    public string? Parts { get; set; }

    public double? Utilization { get; set; }
}

/// <summary>A checkpoint that was committed.</summary>
internal sealed class CheckpointRow
{
    public required string Gang { get; set; }

    public int Attempt { get; set; }

    public int Step { get; set; }

    public required string Directory { get; set; }

    public required string ManifestSha256 { get; set; }

    public long CommittedUnixMs { get; set; }
}

/// <summary>A node.</summary>
internal sealed class NodeRow
{
    public required string Node { get; set; }

    public required string State { get; set; }

    public long LeaseUnixMs { get; set; }
}

/// <summary>A version of a model.</summary>
internal sealed class ModelRow
{
    public required string Project { get; set; }

    public required string Model { get; set; }

    public int Version { get; set; }

    public required string Uid { get; set; }

    public long Sequence { get; set; }

    public required string Directory { get; set; }

    public required string Architecture { get; set; }

    public long Parameters { get; set; }

    public long SizeBytes { get; set; }

    public int ContextLength { get; set; }

    public string? SourceGang { get; set; }

    public int SourceAttempt { get; set; }

    public double? FinalLoss { get; set; }

    public long CreatedUnixMs { get; set; }
}

/// <summary>A deployment.</summary>
internal sealed class DeploymentRow
{
    public required string Project { get; set; }

    public required string Id { get; set; }

    public required string State { get; set; }
}

/// <summary>A queue that was set up.</summary>
internal sealed class QueueRow
{
    public required string Name { get; set; }

    public required string State { get; set; }
}

/// <summary>What a queue used lately of a kind of device.</summary>
internal sealed class QueueHistoryRow
{
    public required string Queue { get; set; }

    public required string Kind { get; set; }

    /// <summary>Thousandths of devices, averaged with weights that fade.</summary>
    public double Average { get; set; }

    public long AtUnixMs { get; set; }
}

/// <summary>A replica: which deployment a serving gang belongs to.</summary>
internal sealed class ReplicaRow
{
    public required string Id { get; set; }

    public required string Deployment { get; set; }

    public int Revision { get; set; }
}

/// <summary>What a creation with a request id made.</summary>
internal sealed class RequestRow
{
    public required string Scope { get; set; }

    public required string RequestId { get; set; }

    public required string Digest { get; set; }

    public required string Resource { get; set; }

    public long CreatedUnixMs { get; set; }
}

/// <summary>A long-running operation.</summary>
internal sealed class OperationRow
{
    public required string Name { get; set; }

    public required string Project { get; set; }

    public long Sequence { get; set; }

    public bool Done { get; set; }

    /// <summary>The <c>google.longrunning.Operation</c>.</summary>
    public required byte[] Payload { get; set; }
}
