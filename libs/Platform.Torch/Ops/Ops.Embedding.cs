using Platform.Torch.Native;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

public static partial class Ops
{
    /// <summary>Rows of a table. On the CPU an index outside the table is refused.</summary>
    /// <param name="weight">Floating-point table [V, E].</param>
    /// <param name="indices">Int64 or Int32 indices, each from 0 to V − 1, of any shape.</param>
    /// <returns>[..., E].</returns>
    /// <exception cref="TorchOperatorException">An index is outside the table.</exception>
    public static Tensor Embedding(Tensor weight, Tensor indices)
    {
        TensorArgument.Floating(weight, nameof(weight));
        TensorArgument.Dimensions(weight, 2, nameof(weight));
        TensorArgument.Integer(indices, nameof(indices));
        TensorArgument.SameDevice(indices, weight, nameof(indices));
        using var call = new Dispatcher();
        call.Add(weight);
        call.Add(indices);
        call.Add(-1L); // no padding index
        call.Add(false); // gradients are not scaled by frequency
        call.Add(false); // nor sparse
        return call.ReturnTensor("aten::embedding\0"u8, "\0"u8);
    }
}
