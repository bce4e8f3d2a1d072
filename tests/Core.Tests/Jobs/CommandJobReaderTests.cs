using System.Text.Json.Nodes;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class CommandJobReaderTests
{
    [Fact]
    public void Reads_every_field_and_writes_the_same_form()
    {
        var input = JsonNode.Parse("""
            {"kind":"CommandJob","name":"sft","queue":"research","priority":7,"command":["torchrun.sh","--lr","1"],"env":{"A":"b","N":"3"},
             "resources":{"device":"cpu","device_share":0.5,"ranks":16,"devices_per_rank":2,"topology":{"data":"block"},"memory":"8GiB","expected_runtime_s":60},
             "retries":{"max_restarts":1}}
            """);

        var job = Assert.IsType<Validated<CommandJobSpec>.Valid>(CommandJobReader.Read(input)).Value;

        Assert.Equal(("sft", "research", 7, 16, 2), (job.Name, job.Queue, job.Priority, job.Ranks, job.DevicesPerRank));
        Assert.Equal(["torchrun.sh", "--lr", "1"], job.Command);
        Assert.Equal(("b", "3"), (job.Environment["A"], job.Environment["N"]));
        Assert.Equal((500, 8L << 30, "block", 60.0), (job.Resources.DeviceMilli, job.Resources.MemoryBytes, job.Resources.DataTopology, job.Resources.ExpectedRuntimeSeconds));
        var again = Assert.IsType<Validated<CommandJobSpec>.Valid>(CommandJobReader.Read(CommandJobReader.ToJson(job))).Value;
        Assert.Equal(CommandJobReader.ToJson(job).ToJsonString(), CommandJobReader.ToJson(again).ToJsonString());
    }

    [Fact]
    public void Reports_everything_that_is_wrong_at_once()
    {
        var input = JsonNode.Parse("""{"kind":"CommandJob","name":"x","image":"busybox","training":{"steps":1},"env":{"A":[1]},"resources":{"ranks":0,"topology":{"tensor":"node"}}}""");

        var invalid = Assert.IsType<Validated<CommandJobSpec>.Invalid>(CommandJobReader.Read(input));

        Assert.Equal(
            ["command", "env.A", "image", "resources.ranks", "resources.topology.tensor", "training"],
            invalid.Violations.Select(violation => violation.Field).Order(StringComparer.Ordinal));
    }
}
