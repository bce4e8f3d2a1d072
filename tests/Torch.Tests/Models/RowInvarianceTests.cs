using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

/// <summary>
/// What batch-invariant serving builds on: a row's result does not depend on how many other rows are computed with it, once
/// rows are padded to a multiple (8 in fp32, 2 in bf16).
/// </summary>
public sealed class RowInvarianceTests
{
    [Theory]
    [InlineData(ScalarType.Float32, 8)]
    [InlineData(ScalarType.BFloat16, 2)]
    public void A_row_has_the_same_bits_among_any_padded_number_of_rows(ScalarType type, int multiple)
    {
        using var scope = NewDisposeScope();
        using var withoutGradients = no_grad();
        var inputs = new SeededInputs();
        const int width = 256, inner = 688, most = 64;
        var x = inputs.Tensor(type, most, width);
        var (norm, gate, up, down) = (
            inputs.Tensor(type, width), inputs.Tensor(type, inner, width), inputs.Tensor(type, inner, width), inputs.Tensor(type, width, inner));
        Tensor Block(Tensor rows) => LlamaBlocks.Mlp(LlamaBlocks.Norm(rows, norm, 1e-5), gate, up, down);
        var together = Block(x);

        for (var rows = multiple; rows <= most; rows += multiple)
        {
            var first = inputs.Between(0, most - rows);
            Compare.SameBits(together.narrow(0, first, rows).contiguous(), Block(x.narrow(0, first, rows)));
        }
    }
}
