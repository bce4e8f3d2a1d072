using System.Text.Json.Nodes;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

/// <summary>What a node looks for before it starts anything of a training job.</summary>
public sealed class PreflightTests
{
    [Fact]
    public async Task A_job_goes_on_from_a_model_that_the_node_can_read_and_is_refused_by_name_when_it_cannot()
    {
        await using TestNode node = await TestNode.StartAsync("exec sleep 1000");
        string model = Path.Combine(node.Root, "base");
        GangMemberReport refused = await PrepareAsync(node, 1, job => job with { Model = new ModelSpec { From = model } });
        Assert.Equal(
            (MemberPhase.Failed, FailureCode.InputUnreadable, true),
            (refused.Phase, refused.Failure?.Code, refused.Failure?.IsPermanent));
        Assert.Equal($"{model}/config.json cannot be read on node {TestNode.Node}.", refused.Failure?.Message);

        Directory.CreateDirectory(model);
        File.WriteAllText(Path.Combine(model, "config.json"), "{}");
        GangMemberReport prepared = await PrepareAsync(node, 2, job => job with { Model = new ModelSpec { From = model } });
        Assert.Equal((MemberPhase.Prepared, null), (prepared.Phase, prepared.Failure));
    }

    [Fact]
    public async Task Every_source_of_a_mixture_and_the_tokenizer_are_looked_for()
    {
        await using TestNode node = await TestNode.StartAsync("exec sleep 1000");
        string there = Path.Combine(node.Root, "data.txt"), gone = Path.Combine(node.Root, "gone.txt"), tokenizer = Path.Combine(node.Root, "tokenizer");
        GangMemberReport refused = await PrepareAsync(node, 1, job => job with
        {
            Data = job.Data with
            {
                Source = [there, gone],
                Mixture = [new MixtureWeight(there, 1), new MixtureWeight(gone, 2)],
                Tokenizer = new TokenizerSpec.Directory(tokenizer),
            },
        });
        Assert.Equal($"{gone}, {tokenizer}/tokenizer.json cannot be read on node {TestNode.Node}.", refused.Failure?.Message);
    }

    private static async Task<GangMemberReport> PrepareAsync(TestNode node, int attempt, Func<TrainingJobSpec, TrainingJobSpec> change)
    {
        GangAssignment assignment = node.Assignment(GangPhase.Prepare, attempt: attempt);
        var job = Assert.IsType<Validated<TrainingJobSpec>.Valid>(JobSpecReader.Read(JsonNode.Parse(assignment.Workload))).Value;
        await node.WantAsync(assignment with { Workload = JobSpecWriter.ToJson(change(job)).ToJsonString() });
        return await node.Scheduler.WaitForAsync(
            report => report.Attempt == attempt && report.Phase is MemberPhase.Prepared or MemberPhase.Failed, $"attempt {attempt}");
    }
}
