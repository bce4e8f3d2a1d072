using System.Globalization;
using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Formats.HuggingFace;
using Platform.Formats.Peft;
using Platform.Formats.Safetensors;

namespace Platform.Benchmarks.Serving;

/// <summary>What a draft model gives and what adapters cost, measured with the same kernels with and without.</summary>
internal static class BesideTheModel
{
    private const int Tokens = 160;

    /// <summary>
    /// One stream with and without a draft model. The model's later layers add little to what its first two give, and those
    /// two are the draft model, so guesses are right about as often as those of a trained one; and once with a draft model
    /// that has learned nothing of it.
    /// </summary>
    public static void Draft(BenchArguments arguments, EngineOptions options, BenchReport report, int repetitions)
    {
        const int draftLayers = 2, guesses = 4;
        var shape = BenchModel.Shape(arguments.Has("quick"));
        var directory = Directory.CreateTempSubdirectory("platform-bench-").FullName;
        try
        {
            var agreeing = BenchModel.Write(shape, Path.Combine(directory, "agreeing"), tail: (draftLayers, 0.05f), withGguf: false);
            var draft = BenchModel.Write(shape with { NumHiddenLayers = draftLayers }, Path.Combine(directory, "draft"), withGguf: false);
            var stranger = BenchModel.Write(shape with { NumHiddenLayers = draftLayers }, Path.Combine(directory, "stranger"), seed: 8, withGguf: false);
            foreach (var (name, what, path) in new[] { ("draft", $"draft model of {draftLayers} layers", draft.Directory), ("draft_miss", "draft model that is wrong", stranger.Directory) })
            {
                var engine = options with { EnablePrefixCaching = false, Speculative = new SpeculativeOptions { Model = path, NumSpeculativeTokens = guesses } };
                using var plain = new EngineUnderTest(agreeing, engine with { Speculative = null });
                using var guessing = new EngineUnderTest(agreeing, engine, draft: path);
                var random = new Random(17);
                var ratios = new List<double>();
                var rates = new List<(double Plain, double Guessing)>();
                for (var i = 0; i <= repetitions; i++)
                {
                    var prompt = BesideLlamaCpp.Prompt(random, 64, agreeing);
                    var (without, with) = (Rate(plain, prompt), Rate(guessing, prompt));
                    // The first is a rehearsal.
                    if (i > 0)
                        rates.Add((without, with));
                }

                ratios.AddRange(rates.Select(rate => rate.Guessing / rate.Plain));
                var (drafted, accepted) = (guessing.Observer.Drafted, guessing.Observer.Accepted);
                var percent = 100.0 * accepted / Math.Max(1, drafted);
                report.Row(
                    $"{what}, tokens/s", Text(BenchReport.Median(rates.Select(rate => rate.Guessing))),
                    $"without {Text(BenchReport.Median(rates.Select(rate => rate.Plain)))}, {Text(percent)} % right", Text(BenchReport.Median(ratios)));
                report.Figure($"{name}_decode_ratio", BenchReport.Median(ratios));
                report.Figure($"{name}_acceptance_percent", percent);
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>Sixteen streams with four adapters of rank 16 on every projection, and the same streams without.</summary>
    public static void Adapters(BenchModel model, EngineOptions options, BenchReport report, int repetitions)
    {
        const int adapters = 4, streams = 16, rank = 16;
        var directory = Directory.CreateTempSubdirectory("platform-bench-").FullName;
        try
        {
            AdapterSource[] sources = [.. Enumerable.Range(0, adapters).Select(i => new AdapterSource($"a{i}", WriteAdapter(model, rank, i, Path.Combine(directory, $"{i}"))))];
            var engine = options with { EnablePrefixCaching = false, Lora = new LoraOptions { MaxLoras = adapters, MaxLoraRank = rank } };
            using var adapted = new EngineUnderTest(model, engine, adapters: sources);
            var random = new Random(19);
            var (plainRates, ratios) = (new List<double>(), new List<double>());
            for (var i = 0; i <= repetitions; i++)
            {
                int[][] prompts = [.. Enumerable.Range(0, streams).Select(_ => BesideLlamaCpp.Prompt(random, 16, model))];
                var plain = Rate(adapted.Stream(prompts, Tokens));
                var mixed = Rate(Task.WhenAll(prompts.Select((prompt, stream) => adapted.TimesAsync(prompt, Tokens, 1 + (stream % adapters)))).GetAwaiter().GetResult());
                if (i == 0)
                    continue;
                plainRates.Add(plain);
                ratios.Add(mixed / plain);
            }

            report.Row(
                $"{streams} streams, {adapters} adapters, rank {rank}, tokens/s", Text(BenchReport.Median(plainRates) * BenchReport.Median(ratios)),
                $"without adapters {Text(BenchReport.Median(plainRates))}", Text(BenchReport.Median(ratios)));
            report.Figure("lora_16_streams_ratio", BenchReport.Median(ratios));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static double Rate(EngineUnderTest engine, int[] prompt) => Rate(engine.Stream([prompt], Tokens));

    /// <summary>Tokens per second while all streams are producing.</summary>
    private static double Rate(double[][] times)
    {
        var (from, to) = (times.Max(stream => stream[0]), times.Min(stream => stream[^1]));
        return times.Sum(stream => stream.Count(time => time > from && time <= to)) / (to - from);
    }

    private static string WriteAdapter(BenchModel model, int rank, int seed, string directory)
    {
        Directory.CreateDirectory(directory);
        string[] targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        File.WriteAllText(Path.Combine(directory, LoraConfig.FileName), $$"""
            {"peft_type":"LORA","r":{{rank}},"lora_alpha":{{2 * rank}},"target_modules":["{{string.Join("\",\"", targets)}}"]}
            """);
        var factors = ModelTensors.Of(model.Config).Where(tensor => targets.Contains(tensor.Name.Split('.')[^2])).SelectMany(tensor =>
        {
            var stem = "base_model.model." + tensor.Name[..^".weight".Length];
            return new[] { new TensorDeclaration(stem + ".lora_A.weight", TensorDataType.F32, [rank, tensor.Shape[1]]), new TensorDeclaration(stem + ".lora_B.weight", TensorDataType.F32, [tensor.Shape[0], rank]) };
        }).ToList();
        using var writer = SafetensorsWriter.Create(Path.Combine(directory, LoraAdapterDirectory.WeightsFileName), factors, null);
        var random = new Random(seed);
        foreach (var factor in factors)
        {
            var values = new float[factor.Shape.ElementCount()];
            for (var i = 0; i < values.Length; i++)
                values[i] = (float)((random.NextDouble() - 0.5) * 0.02);
            writer.Write(factor.Name, System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(values));
        }

        writer.Commit();
        return directory;
    }

    private static string Text(double value) => value.ToString(value < 10 ? "0.00" : "0", CultureInfo.InvariantCulture);
}
