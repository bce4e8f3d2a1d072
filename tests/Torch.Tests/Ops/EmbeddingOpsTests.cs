using Platform.Torch.Native;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Operators;

public sealed class EmbeddingOpsTests
{
    [Theory]
    [InlineData(ScalarType.Int64)]
    [InlineData(ScalarType.Int32)]
    public void Takes_rows_and_sums_their_gradients(ScalarType indexType)
    {
        using var scope = NewDisposeScope();
        var table = new SeededInputs().Tensor(ScalarType.Float64, 5, 3).requires_grad_();
        var indices = tensor(new long[] { 4, 0, 4, 2 }).view(2, 2).to(indexType);

        var rows = Ops.Embedding(table, indices);

        Assert.Equal([2, 2, 3], rows.shape);
        var values = Compare.Values(table);
        Assert.Equal(new[] { 4, 0, 4, 2 }.SelectMany(row => values.Skip(row * 3).Take(3)), Compare.Values(rows));
        var gradient = autograd.grad([rows.sum()], [table])[0];
        Assert.Equal([1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2], Compare.Values(gradient));
    }

    [Fact]
    public void Refuses_indices_outside_the_table_and_tables_of_other_shapes()
    {
        using var scope = NewDisposeScope();
        Assert.Throws<TorchOperatorException>(() => Ops.Embedding(ones(5, 3), tensor(new long[] { 5 })));
        Assert.Throws<ArgumentException>(() => Ops.Embedding(ones(5), tensor(new long[] { 1 })));
        Assert.Throws<ArgumentException>(() => Ops.Embedding(ones(5, 3), ones(2)));
    }
}
