namespace Platform.Serving.Tests.Execution;

/// <summary>Adds the first half of the inputs to the second, but only where there are several rows.</summary>
internal sealed unsafe class RowDependentKernel : TileKernel<Float32Element>
{
    private readonly PortableTileKernel<Float32Element> _inner = new();

    public override string Name => "row-dependent";

    public override void Multiply(
        int rows, Float32Element* input, nint inputStride, Float32Element* panel, int rounds, float* output, nint outputStride, bool add)
    {
        if (rows == 1 || rounds < 2)
        {
            _inner.Multiply(rows, input, inputStride, panel, rounds, output, outputStride, add);
            return;
        }

        var half = rounds / 2;
        _inner.Multiply(rows, input + (half * RoundInputs), inputStride, panel + (half * RoundInputs * Columns), rounds - half, output, outputStride, add);
        _inner.Multiply(rows, input, inputStride, panel, half, output, outputStride, add: true);
    }
}
