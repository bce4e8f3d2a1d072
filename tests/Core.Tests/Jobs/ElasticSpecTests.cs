using Platform.Core.Jobs;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class ElasticSpecTests
{
    [Theory]
    [InlineData(4, 12, 1, 1, null, new[] { 4, 3, 2, 1 })]
    [InlineData(4, 12, 1, 2, null, new[] { 4, 3, 2 })]
    [InlineData(4, 8, 2, 1, 16, new[] { 4, 2, 1 })]
    [InlineData(2, 8, 1, 1, 6, new[] { 4, 2, 1 })]
    [InlineData(6, 6, 1, 6, null, new[] { 6 })]
    public void Offers_the_widths_over_which_the_global_batch_divides(int data, int batch, int micro, int min, int? max, int[] expected)
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("parallelism.data", $"{data}"), ("parallelism.micro_batch_size", $"{micro}"), ("training.global_batch_size", $"{batch}"),
            ("resources.elastic", max is null ? $$"""{"min_data":{{min}}}""" : $$"""{"min_data":{{min}},"max_data":{{max}}}""")));

        Assert.Equal(expected, ElasticSpec.WidthsOf(job));
    }

    [Fact]
    public void An_interleaved_job_keeps_to_widths_that_give_each_stage_its_micro_batches()
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("parallelism", """{"pipeline":2,"data":4,"schedule":"interleaved","virtual_stages":2}"""),
            ("training.global_batch_size", "24"), ("resources.elastic", """{"min_data":1,"max_data":8}""")));

        Assert.Equal([6, 4, 3, 2, 1], ElasticSpec.WidthsOf(job));
    }

    [Fact]
    public void A_job_that_is_not_elastic_has_one_width()
    {
        var job = JobInputs.Accepted(JobInputs.With());

        Assert.Equal([job.Parallelism.Data], ElasticSpec.WidthsOf(job));
    }

    [Theory]
    [InlineData("{\"min_data\":3}", "resources.elastic.min_data")]
    [InlineData("{\"max_data\":1}", "resources.elastic.max_data")]
    [InlineData("{\"min_data\":0}", "resources.elastic.min_data")]
    [InlineData("{\"most\":1}", "resources.elastic.most")]
    public void Refuses_widths_that_leave_out_the_layouts_own(string elastic, string field)
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(
            ("parallelism.data", "2"), ("training.global_batch_size", "8"), ("parallelism.micro_batch_size", "1"), ("resources.elastic", elastic)));

        Assert.Equal(field, violation.Field);
    }
}
