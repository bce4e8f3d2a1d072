using System.Runtime.InteropServices;
using CsCheck;
using Platform.Formats.Safetensors;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Kernels;

namespace Platform.Serving.Tests.Execution;

public sealed unsafe class MatrixTests
{
    [Fact]
    public void Products_agree_with_double_precision_in_fp32() => Check<Float32Element>(WeightStorage.Plain, 1e-4);

    [Fact]
    public void Products_agree_with_double_precision_in_bf16() => Check<BFloat16Element>(WeightStorage.Plain, 2e-2);

    [Fact]
    public void Products_agree_with_double_precision_in_int8() => Check<BFloat16Element>(WeightStorage.Quantised, 5e-2);

    [Fact]
    public void The_machine_kernels_agree_with_the_portable_ones_for_every_number_of_rows()
    {
        Compare<Float32Element>();
        Compare<BFloat16Element>();

        static void Compare<T>()
            where T : unmanaged, IElement<T>
        {
            Assert.SkipUnless(MachineTileKernel<T>.IsSupported, "This processor has not the instructions.");
            Assert.NotNull(MachineTileKernel<T>.Instance);
            Assert.Null(KernelChoice.Check(MachineTileKernel<T>.Instance, new PortableTileKernel<T>()));
        }
    }

    [Fact]
    public void A_kernel_with_a_wrong_result_is_not_chosen() => Assert.Contains(
        "is right", KernelChoice.Check(new OffByOne(), new PortableTileKernel<Float32Element>()), StringComparison.Ordinal);

    [Fact]
    public void Quantisation_reports_the_error_of_its_weights()
    {
        float[] weights = [1, 0.5f, -0.25f, 0.1f];
        fixed (float* start = weights)
        {
            using var lanes = new ComputeLanes(1);
            using var matrix = new PackedMatrix<Float32Element>(
                WeightRows.Stacked(new WeightPart(new WeightView((nint)start, TensorDataType.F32), 4, 0, 1)), 4, WeightStorage.Quantised, lanes);
            var restored = weights.Select(weight => Math.Round(weight * 127) / 127).ToArray();
            var expected = Math.Sqrt(weights.Zip(restored, (a, b) => (a - b) * (a - b)).Sum() / weights.Sum(a => a * a));
            Assert.Equal(expected, matrix.Error.Relative, 1e-6);
        }
    }

    private static void Check<T>(WeightStorage storage, double tolerance)
        where T : unmanaged, IElement<T>
    {
        Gen.Select(Gen.Int[1, 90], Gen.Int[1, 90], Gen.Int[1, 40], Gen.Int[0, 10_000]).Sample((outputs, inputs, rows, seed) =>
        {
            var random = new Random(seed);
            var weights = Numbers(random, 2 * outputs * inputs);
            var bias = Numbers(random, outputs + 32);
            var pin = GCHandle.Alloc(weights, GCHandleType.Pinned);
            using var lanes = new ComputeLanes(2);
            var view = new WeightView(pin.AddrOfPinnedObject(), TensorDataType.F32);
            var second = new WeightView(pin.AddrOfPinnedObject() + (outputs * inputs * sizeof(float)), TensorDataType.F32);
            using var matrix = new PackedMatrix<T>(WeightRows.Stacked(new WeightPart(view, inputs, 0, outputs)), inputs, storage, lanes);
            using var gates = new PackedMatrix<T>(WeightRows.Interleaved(new WeightPart(view, inputs, 0, outputs), new WeightPart(second, inputs, 0, outputs)), inputs, storage, lanes);
            pin.Free();
            using var product = new MatrixProduct<T>(KernelChoice.For<T>().Kernel, lanes, Math.Max(matrix.PanelElements, gates.PanelElements));
            using var input = new RowBuffer<T>(rows, inputs);
            using var sums = new RowBuffer<float>(rows, outputs);
            using var gated = new RowBuffer<T>(rows, outputs);
            for (var row = 0; row < rows; row++)
            {
                for (var i = 0; i < inputs; i++)
                    input.Row(row)[i] = T.FromSingle((float)(random.NextDouble() - 0.5));
            }

            fixed (float* b = bias)
                product.Run(matrix, input, rows, sums.Row(0), sums.Stride, ProductUse.Store, b);
            product.Run(matrix, input, rows, sums.Row(0), sums.Stride, ProductUse.Add, null);
            product.Run(gates, input, rows, gated.Row(0), gated.Stride, ProductUse.Gate, null);
            for (var row = 0; row < rows; row++)
            {
                for (var output = 0; output < outputs; output++)
                {
                    var (gate, factor) = (Dot(row, output), Dot(row, outputs + output));
                    Assert.Equal((2 * gate) + bias[output], sums.Row(row)[output], tolerance * (1 + Math.Sqrt(inputs)));
                    Assert.Equal(
                        gate / (1 + Math.Exp(-gate)) * factor, T.ToSingle(gated.Row(row)[output]), tolerance * (1 + inputs));
                }

                for (var pad = outputs; pad < (outputs + 15) / 16 * 16; pad++)
                    Assert.Equal(0, T.ToSingle(gated.Row(row)[pad]));
            }

            double Dot(int row, int output) => Enumerable.Range(0, inputs).Sum(i => T.ToSingle(input.Row(row)[i]) * (double)weights[(output * inputs) + i]);
        }, iter: 60, threads: 1);
    }

    private static float[] Numbers(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() * 2) - 1))];

    private sealed class OffByOne : TileKernel<Float32Element>
    {
        public override string Name => "wrong";

        public override void Multiply(
            int rows, Float32Element* input, nint inputStride, Float32Element* panel, int rounds, float* output, nint outputStride, bool add) =>
            new PortableTileKernel<Float32Element>().Multiply(rows, input, inputStride, panel, rounds - 1, output, outputStride, add);
    }
}
