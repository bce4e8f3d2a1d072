using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Control;

/// <summary>A cycle looks at the first gangs of those that need the same.</summary>
public sealed class WaitingClassesTests
{
    private readonly ControlPlane plane = new(new ControlRecord([], [], [], []), new ControlOptions(), 3, () => "token", gang => gang.TraceParent, Given.Noon);

    [Fact]
    public void All_that_fit_start_at_once_however_many_need_the_same()
    {
        plane.Renew("n0", "a", "", Given.Inventory("n0", 64), [], Given.Noon);
        for (int n = 0; n < 100; n++)
        {
            plane.Submit(Given.Gang($"jobs/{n:000}", Given.Shape()));
        }

        plane.Settle(Given.Noon);

        Assert.Equal(64, plane.Gangs.Count(gang => gang.Stage == GangStage.Preparing));
        Assert.All(Enumerable.Range(0, 64), n => Assert.Equal(GangStage.Preparing, plane.Find($"jobs/{n:000}")?.Stage));
    }

    [Fact]
    public void Each_that_is_left_out_has_the_reason_of_its_class_and_other_classes_are_decided_on()
    {
        plane.Renew("n0", "a", "", Given.Inventory("n0", 4), [], Given.Noon);
        for (int n = 0; n < 3 * WaitingClasses.Window; n++)
        {
            plane.Submit(Given.Gang($"jobs/wide-{n:00}", Given.Shape(data: 3)));
            plane.Submit(Given.Gang($"jobs/other-{n:00}", Given.Shape(data: 3)) with { Queue = "other" });
        }

        plane.Submit(Given.Gang("jobs/urgent", Given.Shape(data: 3)) with { Priority = 900, SubmittedAt = Given.Noon.AddHours(1) });
        plane.Settle(Given.Noon);

        Assert.Equal("jobs/urgent", Assert.Single(plane.Gangs, gang => gang.Stage == GangStage.Preparing).Gang);
        Assert.Equal(6 * WaitingClasses.Window, plane.Deferrals.Count);
        Assert.All(plane.Deferrals.Values, deferral => Assert.Contains("It needs 3 cpu devices", deferral.Reason.Message, StringComparison.Ordinal));
        Assert.Equal(PendingCode.Capacity, plane.Deferrals["jobs/wide-23"].Reason.Code);
    }
}
