using System.Runtime.Intrinsics.X86;
using System.Text;
using TorchSharp;

namespace Platform.Worker.Engine.Tests.Golden;

/// <summary>What the last bits of a loss depend on besides the code of this repository.</summary>
internal static class GoldenMachine
{
    /// <summary>libtorch's version, the processor's maker and the instruction sets from which libtorch chooses its kernels.</summary>
    public static string Name { get; } = $"libtorch {torch.__version__}, {Processor()}";

    private static string Processor()
    {
        if (!X86Base.IsSupported)
            return System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString();
        var (_, b, c, d) = X86Base.CpuId(0, 0);
        var (_, _, vnni, extra) = X86Base.CpuId(7, 0);
        var (bf16, _, _, _) = X86Base.CpuId(7, 1);
        var sets = new List<string>();
        Add("avx2", Avx2.IsSupported);
        Add("avx512", Avx512F.IsSupported && Avx512BW.IsSupported);
        Add("avx512_vnni", Avx512F.IsSupported && ((vnni >> 11) & 1) == 1);
        Add("avx512_bf16", Avx512F.IsSupported && ((bf16 >> 5) & 1) == 1);
        Add("amx", ((extra >> 24) & 1) == 1);
        return $"{Vendor(b, d, c)} {string.Join(' ', sets)}";

        void Add(string name, bool has)
        {
            if (has)
                sets.Add(name);
        }
    }

    private static string Vendor(params ReadOnlySpan<int> words)
    {
        var name = new StringBuilder();
        foreach (var word in words)
            name.Append(Encoding.ASCII.GetString(BitConverter.GetBytes(word)));
        return name.ToString();
    }
}
