using Platform.Core.Gangs;
using Platform.Worker.Agent.Core;
using Xunit;
using static Platform.Worker.Agent.Tests.Core.MachineUnderTest;

namespace Platform.Worker.Agent.Tests.Core;

public sealed class AgentMachineTests
{
    [Fact]
    public void Prepares_only_after_preflight_and_rendezvous_are_done()
    {
        MachineUnderTest machine = WithLease();
        IReadOnlyList<AgentEffect> effects = machine.Receive(Assignment(GangPhase.Prepare, hostsRendezvous: true));
        Assert.Contains(effects, e => e is AgentEffect.OpenRendezvous);
        Assert.Contains(effects, e => e is AgentEffect.RunPreflight);
        machine.Apply(new AgentEvent.PreflightFinished(Key(), null));
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf());
        effects = machine.Apply(new AgentEvent.RendezvousOpened(Key(), "h:7"));
        var report = Assert.IsType<AgentEffect.SendReport>(Assert.Single(effects)).Report;
        Assert.Equal((MemberPhase.Prepared, "h:7"), (report.Phase, report.RendezvousAddress));
    }

    [Fact]
    public void Starts_every_rank_once_however_often_start_arrives()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Receive(Assignment(GangPhase.Start));
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Pull(3, Assignment(GangPhase.Start));
        Assert.Equal(2, machine.All.OfType<AgentEffect.StartRank>().Count());
        Assert.Equal(MemberPhase.Running, machine.PhaseOf());
        Assert.Equal(new Dictionary<int, int> { [0] = 100, [1] = 101 }, Assert.Single(AgentMachine.Reports(machine.State)).ProcessIds);
    }

    [Fact]
    public void Starts_when_prepared_if_start_overtook_the_checks()
    {
        MachineUnderTest machine = WithLease();
        machine.Receive(Assignment(GangPhase.Prepare));
        Assert.Empty(machine.Receive(Assignment(GangPhase.Start)));
        IReadOnlyList<AgentEffect> effects = machine.Apply(new AgentEvent.PreflightFinished(Key(), null));
        Assert.Equal(2, effects.OfType<AgentEffect.StartRank>().Count());
        Assert.Equal("h:1", effects.OfType<AgentEffect.StartRank>().First().Assignment.RendezvousAddress);
    }

    [Fact]
    public void Persists_a_new_epoch_before_acting_on_it()
    {
        MachineUnderTest machine = WithLease();
        IReadOnlyList<AgentEffect> effects = machine.Receive(Assignment(GangPhase.Prepare, epoch: 7));
        Assert.Equal(new AgentEffect.PersistEpoch(7), effects[0]);
        Assert.IsType<AgentEffect.RunPreflight>(effects[1]);
    }

    [Fact]
    public void Refuses_commands_leases_and_pulls_of_a_lower_epoch()
    {
        var machine = new MachineUnderTest(epoch: 5);
        machine.Renew(version: 0, epoch: 5);
        DateTimeOffset? lease = machine.State.LeaseEnd;
        Assert.Empty(machine.Receive(Assignment(GangPhase.Prepare, epoch: 4)));
        Assert.Empty(machine.Renew(version: 9, seconds: 60, epoch: 4));
        Assert.Empty(machine.Pull(9, Assignment(GangPhase.Prepare, epoch: 4)));
        Assert.Equal(lease, machine.State.LeaseEnd);
        Assert.Empty(machine.State.Attempts);
    }

    [Fact]
    public void Never_goes_back_when_a_new_leader_repeats_an_earlier_phase()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Receive(Assignment(GangPhase.Prepare, epoch: 2));
        Assert.Equal(MemberPhase.Running, machine.PhaseOf());
        Assert.Single(machine.All.OfType<AgentEffect.RunPreflight>());
        machine.Receive(Assignment(GangPhase.Stop, epoch: 2));
        Assert.Single(machine.All.OfType<AgentEffect.AskRanksToStop>());
    }

    [Fact]
    public void A_late_message_of_an_older_attempt_changes_nothing()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare, attempt: 2));
        Assert.Empty(machine.Receive(Assignment(GangPhase.Prepare, attempt: 1)));
        Assert.Empty(machine.Receive(Assignment(GangPhase.Start, attempt: 1)));
        Assert.Empty(machine.Receive(Assignment(GangPhase.Stop, attempt: 1)));
        Assert.Equal(MemberPhase.Running, machine.PhaseOf(2));
    }

    [Fact]
    public void A_newer_attempt_replaces_the_older_and_waits_for_its_devices()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        IReadOnlyList<AgentEffect> effects = machine.Receive(Assignment(GangPhase.Prepare, attempt: 2));
        Assert.Equal(Key(1), Assert.IsType<AgentEffect.AskRanksToStop>(Assert.Single(effects)).Attempt);
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf(2));
        machine.Exit(0, 75);
        effects = machine.Exit(1, 75);
        Assert.Equal(MemberPhase.Released, machine.PhaseOf(1));
        Assert.Equal(2, Assert.Single(effects.OfType<AgentEffect.RunPreflight>()).Assignment.Attempt);
    }

    [Fact]
    public void Refuses_devices_that_another_gang_holds()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare, devices: [1], milli: 600));
        machine.Receive(Assignment(GangPhase.Prepare, gang: "jobs/fits", devices: [1], milli: 400));
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf(gang: "jobs/fits"));
        machine.Receive(Assignment(GangPhase.Prepare, gang: "jobs/over", devices: [1], milli: 1));
        Assert.Equal(MemberPhase.Released, machine.PhaseOf(gang: "jobs/over"));
        Assert.Equal(FailureCode.DevicesUnavailable, machine.FailureOf(gang: "jobs/over")?.Code);
        Assert.Equal(1000, AgentMachine.HeldMilli(machine.State)[1]);
    }

    [Fact]
    public void Refuses_a_device_that_does_not_exist()
    {
        MachineUnderTest machine = WithLease(devices: 2);
        machine.Receive(Assignment(GangPhase.Prepare, devices: [2]));
        Assert.Contains("does not exist", machine.FailureOf()?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failed_check_fails_the_member_and_frees_its_devices()
    {
        MachineUnderTest machine = WithLease();
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Apply(new AgentEvent.PreflightFinished(
            Key(), new GangFailure { Code = FailureCode.InputUnreadable, Message = "no data", IsPermanent = true }));
        MemberPhase[] reported = [.. machine.All.OfType<AgentEffect.SendReport>().Select(r => r.Report.Phase)];
        Assert.Equal([MemberPhase.Failed, MemberPhase.Released], reported);
        Assert.True(machine.FailureOf()?.IsPermanent);
        Assert.Equal(Node, machine.FailureOf()?.Node);
        Assert.Empty(AgentMachine.HeldMilli(machine.State));
    }

    [Fact]
    public void Succeeds_when_every_rank_ended_well_and_holds_its_devices_until_stopped()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Exit(0, 0);
        Assert.Equal(MemberPhase.Running, machine.PhaseOf());
        machine.Exit(1, 0);
        Assert.Equal(MemberPhase.Succeeded, machine.PhaseOf());
        Assert.NotEmpty(AgentMachine.HeldMilli(machine.State));
        machine.Receive(Assignment(GangPhase.Stop));
        Assert.Equal(MemberPhase.Released, machine.PhaseOf());
        Assert.Null(machine.FailureOf());
        Assert.Empty(AgentMachine.HeldMilli(machine.State));
    }

    [Fact]
    public void One_failed_rank_fails_the_member_and_stops_the_others()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        IReadOnlyList<AgentEffect> effects = machine.Exit(1, 137);
        Assert.Contains(effects, e => e is AgentEffect.AskRanksToStop { Checkpoint: false });
        Assert.Equal((FailureCode.RankExited, (int?)1), (machine.FailureOf()!.Code, machine.FailureOf()!.Rank));
        Assert.Contains("signal 9", machine.FailureOf()!.Message, StringComparison.Ordinal);
        Assert.Equal(["last words of 1"], machine.FailureOf()!.LogTail);
        Assert.Equal(MemberPhase.Failed, machine.PhaseOf());
        Assert.Contains(machine.Wait(1), e => e is AgentEffect.KillRanks);
        machine.Exit(0, 137);
        Assert.Equal(MemberPhase.Released, machine.PhaseOf());
        Assert.Equal(1, machine.FailureOf()!.Rank);
    }

    [Fact]
    public void What_a_rank_said_before_it_ended_counts_more_than_its_exit_code()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Apply(new AgentEvent.FailureReported(
            Key(), new GangFailure { Code = FailureCode.Diverged, Message = "The loss is NaN.", Rank = 0 }));
        machine.Exit(0, 1);
        machine.Exit(1, 1);
        Assert.Equal(FailureCode.Diverged, machine.FailureOf()?.Code);
        Assert.Equal(["last words of 0"], machine.FailureOf()?.LogTail);
    }

    [Fact]
    public void Stops_with_grace_and_then_kills_until_nothing_is_left()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        IReadOnlyList<AgentEffect> effects = machine.Receive(Assignment(GangPhase.Stop, grace: 3) with { StopReason = "preempted" });
        Assert.Equal(
            new AgentEffect.AskRanksToStop(Key(), "preempted", TimeSpan.FromSeconds(3), Checkpoint: true), Assert.Single(effects));
        Assert.Equal(machine.Now.AddSeconds(3), AgentMachine.NextDeadline(machine.State));
        Assert.Empty(machine.Wait(2.9));
        Assert.IsType<AgentEffect.KillRanks>(Assert.Single(machine.Wait(0.1)));
        Assert.Empty(machine.Wait(1));
        Assert.IsType<AgentEffect.KillRanks>(Assert.Single(machine.Wait(1)));
        machine.Exit(0, 137);
        Assert.NotEmpty(AgentMachine.HeldMilli(machine.State));
        effects = machine.Exit(1, 137);
        Assert.IsType<AgentEffect.CleanUp>(effects[0]);
        Assert.Null(machine.FailureOf());
        Assert.Empty(AgentMachine.HeldMilli(machine.State));
    }

    [Fact]
    public void Kills_a_rank_that_comes_up_while_its_attempt_is_being_stopped()
    {
        MachineUnderTest machine = WithLease();
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Apply(new AgentEvent.PreflightFinished(Key(), null));
        machine.Receive(Assignment(GangPhase.Start));
        machine.Receive(Assignment(GangPhase.Stop));
        Assert.NotEqual(MemberPhase.Released, machine.PhaseOf());
        Assert.IsType<AgentEffect.KillRanks>(Assert.Single(machine.Apply(new AgentEvent.RankStarted(Key(), 0, 100))));
        machine.Apply(new AgentEvent.RankStartFailed(Key(), 1, "no"));
        machine.Exit(0, 137);
        Assert.Equal(MemberPhase.Released, machine.PhaseOf());
    }

    [Fact]
    public void A_rank_that_cannot_be_started_fails_the_member()
    {
        MachineUnderTest machine = WithLease();
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Apply(new AgentEvent.PreflightFinished(Key(), null));
        machine.Receive(Assignment(GangPhase.Start));
        machine.Apply(new AgentEvent.RankStartFailed(Key(), 0, "no such program"));
        machine.Apply(new AgentEvent.RankStartFailed(Key(), 1, "no such program"));
        Assert.Equal((MemberPhase.Released, FailureCode.LaunchFailed), (machine.PhaseOf(), machine.FailureOf()!.Code));
    }

    [Fact]
    public void Stopping_what_it_does_not_know_is_answered_with_released()
    {
        MachineUnderTest machine = WithLease();
        machine.Receive(Assignment(GangPhase.Stop));
        Assert.Equal(MemberPhase.Released, Assert.Single(AgentMachine.Reports(machine.State)).Phase);
        Assert.Empty(machine.All.OfType<AgentEffect.StartRank>());
    }

    [Fact]
    public void An_agent_restarted_in_between_does_not_start_what_its_former_run_had_prepared()
    {
        MachineUnderTest machine = WithLease();
        machine.Pull(4, Assignment(GangPhase.Start));
        Assert.Equal((MemberPhase.Released, FailureCode.NodeLost), (machine.PhaseOf(), machine.FailureOf()!.Code));
        Assert.Empty(machine.All.OfType<AgentEffect.StartRank>());
    }

    [Fact]
    public void Without_a_lease_nothing_begins()
    {
        var machine = new MachineUnderTest();
        machine.Receive(Assignment(GangPhase.Prepare));
        Assert.Empty(machine.State.Attempts);
        Assert.Contains(machine.Renew(version: 1), e => e is AgentEffect.PullAssignments);
        machine.Pull(1, Assignment(GangPhase.Prepare));
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf());
        Assert.Empty(machine.Renew(version: 1));
    }

    [Fact]
    public void Kills_everything_at_once_when_the_lease_runs_out()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        Assert.Empty(machine.Wait(14.9));
        IReadOnlyList<AgentEffect> effects = machine.Wait(0.1);
        Assert.Contains(effects, e => e is AgentEffect.KillRanks);
        Assert.Equal(FailureCode.NodeLost, machine.FailureOf()?.Code);
        machine.Receive(Assignment(GangPhase.Prepare, gang: "jobs/other", devices: [3]));
        Assert.Null(machine.PhaseOf(gang: "jobs/other"));
        machine.Exit(0, 137);
        machine.Exit(1, 137);
        Assert.Equal(MemberPhase.Released, machine.PhaseOf());
    }

    [Fact]
    public void The_lease_counts_from_when_its_renewal_was_sent()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        DateTimeOffset sent = machine.Now;
        machine.Wait(14);
        machine.Apply(new AgentEvent.LeaseRenewed(sent, 1, TimeSpan.FromSeconds(15), 0));
        Assert.Contains(machine.Wait(1), e => e is AgentEffect.KillRanks);
    }

    [Fact]
    public void Stops_what_a_pull_does_not_list_and_forgets_it_once_released()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Wait(1);
        Assert.Contains(machine.Pull(8), e => e is AgentEffect.AskRanksToStop);
        machine.Exit(0, 75);
        machine.Exit(1, 75);
        Assert.Single(AgentMachine.Reports(machine.State));
        machine.Wait(1);
        machine.Pull(9);
        Assert.Empty(AgentMachine.Reports(machine.State));
        Assert.Equal(9, machine.State.AppliedVersion);
    }

    [Fact]
    public void Keeps_what_it_heard_of_after_asking_and_asks_again()
    {
        MachineUnderTest machine = WithLease();
        DateTimeOffset asked = machine.Now;
        machine.Wait(0.2);
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Apply(new AgentEvent.AssignmentsPulled(asked, 1, 5, []));
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf());
        Assert.Contains(machine.Renew(version: 5), e => e is AgentEffect.PullAssignments);
    }

    [Fact]
    public void A_late_message_does_not_revive_a_forgotten_attempt()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        machine.Receive(Assignment(GangPhase.Stop));
        machine.Exit(0, 75);
        machine.Exit(1, 75);
        machine.Wait(1);
        machine.Pull(2);
        machine.Receive(Assignment(GangPhase.Prepare));
        machine.Receive(Assignment(GangPhase.Start));
        Assert.Empty(machine.State.Attempts);
        machine.Receive(Assignment(GangPhase.Prepare, attempt: 2));
        Assert.Equal(MemberPhase.Preparing, machine.PhaseOf(2));
    }

    [Fact]
    public void A_replica_that_ends_by_itself_has_failed()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare, devices: [0], kind: WorkloadKind.Serving));
        machine.Apply(new AgentEvent.ReplicaReady(Key(), "http://h:9"));
        Assert.Equal("http://h:9", Assert.Single(AgentMachine.Reports(machine.State)).ReplicaEndpoint);
        machine.Exit(0, 0);
        Assert.Equal(FailureCode.RankExited, machine.FailureOf()?.Code);
    }

    [Fact]
    public void An_agent_that_shuts_down_stops_everything_and_begins_nothing()
    {
        MachineUnderTest machine = WithLease();
        machine.Run(Assignment(GangPhase.Prepare));
        Assert.Contains(machine.Apply(new AgentEvent.ShuttingDown()), e => e is AgentEffect.AskRanksToStop);
        machine.Receive(Assignment(GangPhase.Prepare, gang: "jobs/other", devices: [3]));
        Assert.Null(machine.PhaseOf(gang: "jobs/other"));
        Assert.Contains(machine.Wait(1), e => e is AgentEffect.KillRanks);
    }
}
