using Platform.Hosting.Telemetry;
using Xunit;

namespace Platform.Hosting.Tests.Telemetry;

public sealed class MetricAliasesTests
{
    private static readonly MetricAliases Aliases = new(
        new Dictionary<string, string>
        {
            ["ours_running"] = "theirs:running",
            ["ours_tokens_total"] = "theirs:tokens_total",
            ["ours_seconds"] = "theirs:seconds",
        },
        "engine=\"0\"");

    [Fact]
    public void Repeats_the_families_that_have_a_second_name_and_leaves_the_others_as_they_are()
    {
        const string exposition = """
            # HELP ours_running What runs.
            # TYPE ours_running gauge
            ours_running{model_name="a b"} 3
            ours_running 1
            # HELP ours_running_more Another one.
            # TYPE ours_running_more gauge
            ours_running_more 4
            # HELP ours_seconds How long.
            # TYPE ours_seconds histogram
            ours_seconds_sum{model_name="ours_seconds"} 0.5
            ours_seconds_count{model_name="ours_seconds"} 1
            ours_seconds_bucket{model_name="ours_seconds",le="1"} 1

            """;
        Assert.Equal(
            """
            # HELP ours_running What runs.
            # TYPE ours_running gauge
            ours_running{model_name="a b"} 3
            ours_running 1
            # HELP theirs:running What runs.
            # TYPE theirs:running gauge
            theirs:running{engine="0",model_name="a b"} 3
            theirs:running{engine="0"} 1
            # HELP ours_running_more Another one.
            # TYPE ours_running_more gauge
            ours_running_more 4
            # HELP ours_seconds How long.
            # TYPE ours_seconds histogram
            ours_seconds_sum{model_name="ours_seconds"} 0.5
            ours_seconds_count{model_name="ours_seconds"} 1
            ours_seconds_bucket{model_name="ours_seconds",le="1"} 1
            # HELP theirs:seconds How long.
            # TYPE theirs:seconds histogram
            theirs:seconds_sum{engine="0",model_name="ours_seconds"} 0.5
            theirs:seconds_count{engine="0",model_name="ours_seconds"} 1
            theirs:seconds_bucket{engine="0",model_name="ours_seconds",le="1"} 1

            """,
            Aliases.Extend(exposition));
    }

    [Fact]
    public void Keeps_to_the_form_of_OpenMetrics()
    {
        const string exposition = """
            # HELP ours_tokens Tokens.
            # TYPE ours_tokens counter
            ours_tokens_total{model_name="a"} 7 # {trace_id="1"} 1.0
            # EOF

            """;
        Assert.Equal(
            """
            # HELP ours_tokens Tokens.
            # TYPE ours_tokens counter
            ours_tokens_total{model_name="a"} 7 # {trace_id="1"} 1.0
            # HELP theirs:tokens Tokens.
            # TYPE theirs:tokens counter
            theirs:tokens_total{engine="0",model_name="a"} 7 # {trace_id="1"} 1.0
            # EOF

            """,
            Aliases.Extend(exposition));
    }
}
