using Platform.Core.Gangs;
using Platform.Internal.V1;

namespace Platform.Hosting.Ranks;

/// <summary>
/// What is to be reported. Points stay until the agent has acknowledged the report that carried them, so a report
/// that failed is sent again with the same points and a new sequence number.
/// </summary>
internal sealed class ReportBuffer(RankLaunch launch)
{
    private const int MaxPointsPerReport = 512;

    private readonly Lock _gate = new();
    private readonly Queue<StepMetrics> _points = new();
    private int _inFlight;
    private long _sequence;
    private long _version;
    private long _sentVersion;
    private long _acknowledgedVersion = -1;
    private string _phase = "preparing";
    private double? _fraction;
    private string? _replicaEndpoint;
    private string? _metricsEndpoint;
    private (string Reason, string Message, bool Permanent, string Checkpoint)? _failure;

    public bool HasNews
    {
        get
        {
            lock (_gate)
            {
                return _points.Count > 0 || _acknowledgedVersion < _version;
            }
        }
    }

    public void SetPhase(string phase, double? fraction) => Change(() => (_phase, _fraction) = (phase, fraction));

    public void AddPoint(StepMetrics point) => Change(() => _points.Enqueue(point));

    public void SetReplicaEndpoint(string endpoint) => Change(() => _replicaEndpoint = endpoint);

    public void SetMetricsEndpoint(string endpoint) => Change(() => _metricsEndpoint = endpoint);

    // The first failure is the cause; what follows it are consequences.
    public void SetFailure(string reason, string message, bool permanent, string checkpoint) =>
        Change(() => _failure ??= (reason, message, permanent, checkpoint));

    public ReportRequest Take(IReadOnlyList<CollectiveStatus> collectives)
    {
        lock (_gate)
        {
            var report = new ReportRequest
            {
                Gang = launch.Gang,
                Attempt = launch.Attempt,
                Rank = launch.Rank,
                Token = launch.Token,
                Sequence = ++_sequence,
                Phase = _phase,
                ReplicaEndpoint = _replicaEndpoint ?? "",
                MetricsEndpoint = _metricsEndpoint ?? "",
            };
            if (_fraction is { } fraction)
            {
                report.PhaseFraction = fraction;
            }

            if (_failure is { } failure)
            {
                (report.FailureReason, report.FailureMessage, report.FailurePermanent, report.FailureCheckpoint) = failure;
            }

            _inFlight = Math.Min(_points.Count, MaxPointsPerReport);
            report.Points.AddRange(_points.Take(_inFlight).Select(ToProto));
            report.Collectives.AddRange(collectives.Select(c => new CollectiveState
            {
                Group = c.Group,
                Sequence = c.Sequence,
                Operation = c.Operation,
                SecondsInside = c.SecondsInside,
                Members = { c.Members },
                WaitingFor = { c.WaitingFor },
            }));
            _sentVersion = _version;
            return report;
        }
    }

    public void Acknowledge()
    {
        lock (_gate)
        {
            for (; _inFlight > 0; _inFlight--)
            {
                _points.Dequeue();
            }

            _acknowledgedVersion = _sentVersion;
        }
    }

    private static StepPoint ToProto(StepMetrics point)
    {
        var proto = new StepPoint
        {
            Step = point.Step,
            Loss = point.Loss,
            GradNorm = point.GradNorm,
            TokensPerSecond = point.TokensPerSecond,
            LearningRate = point.LearningRate,
            StepSeconds = point.StepSeconds,
            SkippedSteps = point.SkippedSteps,
        };
        if (point.EvalLoss is { } evalLoss)
        {
            proto.EvalLoss = evalLoss;
        }

        if (point.Parts is { } parts)
        {
            proto.Parts = GangJson.Write(parts);
        }

        if (point.ModelFlopsUtilization is { } utilization)
        {
            proto.ModelFlopsUtilization = utilization;
        }

        if (point.Measurement is { } measurement)
        {
            proto.Measurement = GangJson.Write(measurement);
        }

        return proto;
    }

    private void Change(Action change)
    {
        lock (_gate)
        {
            change();
            _version++;
        }
    }
}
