using CsCheck;
using Platform.Core.Deployments;
using Platform.Scheduling.Deployments;
using Xunit;

namespace Platform.Scheduling.Tests.Deployments;

public sealed class AutoscalerTests
{
    private static readonly DeploymentOptions Options = new()
    {
        MinReplicas = 0,
        MaxReplicas = 4,
        TargetOngoingRequests = 10,
        UpscaleDelaySeconds = 5,
        DownscaleDelaySeconds = 60,
    };

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(1, 0, 1)]
    [InlineData(10, 0, 1)]
    [InlineData(11, 0, 2)]
    [InlineData(1000, 0, 4)]
    [InlineData(1, 2500, 3)]
    [InlineData(35, 10, 4)]
    public void Wants_the_replicas_that_requests_and_their_tokens_call_for(int requests, long tokens, int replicas) =>
        Assert.Equal(replicas, Autoscaler.Wanted(Options with { TargetOutstandingTokens = 1000 }, new DeploymentLoad(requests, tokens)));

    [Fact]
    public void Tokens_count_only_where_a_target_is_set() => Assert.Equal(1, Autoscaler.Wanted(Options, new DeploymentLoad(1, 1_000_000)));

    [Fact]
    public void Rises_to_what_was_needed_throughout_the_delay_and_not_to_the_peak()
    {
        var run = new Run(1);
        run.After(0, 35);
        run.After(3, 21);
        Assert.Equal(1, run.Desired);
        run.After(2, 40);
        Assert.Equal(3, run.Desired);
    }

    [Fact]
    public void A_spike_shorter_than_the_delay_adds_nothing()
    {
        var run = new Run(1);
        run.After(0, 35);
        run.After(4, 10);
        run.After(1, 35);
        run.After(4, 35);
        Assert.Equal(1, run.Desired);
        run.After(1, 35);
        Assert.Equal(4, run.Desired);
    }

    [Fact]
    public void Falls_asleep_once_nothing_was_asked_throughout_the_delay_and_wakes_at_once()
    {
        var run = new Run(2);
        run.After(0, 0);
        run.After(59, 0);
        Assert.Equal(2, run.Desired);
        run.After(1, 0);
        Assert.Equal(0, run.Desired);
        run.After(1000, 0);
        Assert.Equal(0, run.Desired);
        run.After(1, 1);
        Assert.Equal(1, run.Desired);
    }

    [Fact]
    public void Holds_still_while_no_gateway_is_heard()
    {
        var run = new Run(2);
        run.After(0, 0);
        run.After(59, null);
        run.After(1, 0);
        Assert.Equal(2, run.Desired);
        run.After(60, 0);
        Assert.Equal(0, run.Desired);
    }

    [Fact]
    public void Leaves_a_deployment_of_fixed_size_to_whoever_scales_it() => Assert.Equal(
        (7, null), Autoscaler.Decide(Options with { MinReplicas = 2, MaxReplicas = 2 }, 7, new DeploymentLoad(0, 0), null, Given.Noon));

    [Fact]
    public void Never_leaves_the_bounds_and_settles_under_a_steady_load() => Gen.Select(
        Gen.Int[0, 3], Gen.Int[0, 5], Gen.Int[0, 80], Gen.Int[0, 80].Array[0, 20]).Sample((min, more, steady, before) =>
        {
            var options = Options with { MinReplicas = min, MaxReplicas = min + more + 1 };
            var (desired, window, now) = (min, (ScalingWindow?)null, Given.Noon);
            foreach (int requests in before)
            {
                now += TimeSpan.FromSeconds(7);
                (desired, window) = Autoscaler.Decide(options, desired, new DeploymentLoad(requests, 0), window, now);
                Assert.InRange(desired, options.MinReplicas, options.MaxReplicas);
            }

            for (int i = 0; i < 40; i++)
            {
                now += TimeSpan.FromSeconds(7);
                (desired, window) = Autoscaler.Decide(options, desired, new DeploymentLoad(steady, 0), window, now);
            }

            Assert.Equal(Math.Clamp((steady + 9) / 10, options.MinReplicas, options.MaxReplicas), desired);
        });

    private sealed class Run(int desired)
    {
        private DateTimeOffset _now = Given.Noon;
        private ScalingWindow? _window;

        public int Desired { get; private set; } = desired;

        public void After(double seconds, int? requests)
        {
            _now += TimeSpan.FromSeconds(seconds);
            (Desired, _window) = Autoscaler.Decide(
                Options, Desired, requests is { } known ? new DeploymentLoad(known, 0) : null, _window, _now);
        }
    }
}
