using Platform.Core.Models;
using Platform.Torch.Native;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// Initial weights as a pure function of (seed, name, element index): norms are 1, biases 0, matrices normal with a
/// deviation of 0.02, which is divided by √(2L) for the two projections that add to the residual stream of L layers
/// (GPT-2, Radford et al. 2019, section 2.3). Adapters begin as PEFT's do: the first factor is uniform in ±1/√inputs (what
/// <c>kaiming_uniform_(a=√5)</c> gives), the second zero, so that training starts at the base model. Every slice of a weight has the values the whole weight has there, so all
/// layouts start from one model. 16-bit weights are the single-precision ones rounded.
/// </summary>
public static class LlamaInitializer
{
    /// <summary>Standard deviation of the matrices.</summary>
    public const double StandardDeviation = 0.02;

    /// <summary>A slice of a weight, as a new contiguous CPU tensor; padding is zero.</summary>
    /// <param name="config">Model the weight belongs to.</param>
    /// <param name="parameter">The weight.</param>
    /// <param name="slice">Part of it, e.g. <see cref="LlamaParameter.SliceFor"/> or <see cref="LlamaParameter.Whole"/>.</param>
    /// <param name="seed">Seed of the model.</param>
    /// <param name="type">Float64, Float32 or BFloat16.</param>
    public static Tensor Create(ModelConfig config, LlamaParameter parameter, TensorSlice slice, long seed, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameter);
        if (type == ScalarType.BFloat16)
        {
            using var exact = Create(config, parameter, slice, seed, ScalarType.Float32);
            return exact.to(type);
        }

        NativeRuntime.EnsureLoaded();
        var tensor = TorchSharp.torch.zeros(parameter.ShapeOf(slice).AsSpan().ToArray(), dtype: type, device: TorchSharp.torch.CPU);
        switch (type)
        {
            case ScalarType.Float64:
                Fill<double>(config, parameter, slice, seed, tensor);
                break;
            case ScalarType.Float32:
                Fill<float>(config, parameter, slice, seed, tensor);
                break;
            default:
                tensor.Dispose();
                throw new ArgumentException($"Weights are Float64, Float32 or BFloat16, not {type}.", nameof(type));
        }

        return tensor;
    }

    private static unsafe void Fill<T>(ModelConfig config, LlamaParameter parameter, TensorSlice slice, long seed, Tensor tensor)
        where T : unmanaged
    {
        var memory = (T*)TensorMemory.DataPointer(tensor);
        var stream = new NormalStream(seed, parameter.Name);
        var uniform = new UniformStream(seed, parameter.Name);
        foreach (var run in parameter.RunsOf(slice))
            Stretch(memory + run.LocalFirst, run.Count, run.GlobalFirst);
        GC.KeepAlive(tensor);

        void Stretch(T* destination, long count, long first)
        {
            const int block = 1 << 20; // a span is limited to 2³¹ elements
            for (long done = 0; done < count; done += block)
            {
                var span = new Span<T>(destination + done, (int)Math.Min(block, count - done));
                FillSpan(span, first + done);
            }
        }

        void FillSpan(Span<T> span, long first)
        {
            switch (parameter.Role)
            {
                case LlamaRole.InputNorm or LlamaRole.PostAttentionNorm or LlamaRole.FinalNorm or LlamaRole.QueryNorm or LlamaRole.KeyNorm:
                    if (typeof(T) == typeof(float))
                        As<float>(span).Fill(1);
                    else
                        As<double>(span).Fill(1);
                    break;
                case LlamaRole.QueryBias or LlamaRole.KeyBias or LlamaRole.ValueBias or LlamaRole.AdapterB:
                    span.Clear();
                    break;
                case LlamaRole.AdapterA:
                    var bound = 1 / Math.Sqrt(parameter.Shape[1]);
                    if (typeof(T) == typeof(float))
                        uniform.Fill(As<float>(span), first, bound);
                    else
                        uniform.Fill(As<double>(span), first, bound);
                    break;
                default:
                    var scale = parameter.Role is LlamaRole.AttentionOutput or LlamaRole.Down
                        ? StandardDeviation / Math.Sqrt(2.0 * config.NumHiddenLayers)
                        : StandardDeviation;
                    if (typeof(T) == typeof(float))
                        stream.Fill(As<float>(span), first, scale);
                    else
                        stream.Fill(As<double>(span), first, scale);
                    break;
            }
        }

        static Span<TOut> As<TOut>(Span<T> span)
            where TOut : unmanaged => System.Runtime.InteropServices.MemoryMarshal.Cast<T, TOut>(span);
    }
}
