using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Gangs;

/// <summary>Which checkpoints may go.</summary>
public sealed class CheckpointRetentionTests
{
    [Theory]
    [InlineData(GangStage.Failed, 25, true)]
    [InlineData(GangStage.Cancelled, 25, true)]
    [InlineData(GangStage.Failed, 23, false)]
    [InlineData(GangStage.Succeeded, 1000, false)]
    [InlineData(GangStage.Paused, 1000, false)]
    [InlineData(GangStage.Queued, 1000, false)]
    public void Only_jobs_that_can_never_resume_lose_their_checkpoints(GangStage stage, double hoursAgo, bool isOver)
    {
        var gang = Given.Gang("jobs/j", Given.Shape(1)) with { Stage = stage, EndedAt = Given.Noon.AddHours(-hoursAgo) };
        Assert.Equal(isOver, CheckpointRetention.IsOver(gang, TimeSpan.FromHours(24), Given.Noon));
        Assert.False(CheckpointRetention.IsOver(gang, TimeSpan.Zero, Given.Noon));
        Assert.False(CheckpointRetention.IsOver(gang with { EndedAt = null }, TimeSpan.FromHours(24), Given.Noon));
    }
}
