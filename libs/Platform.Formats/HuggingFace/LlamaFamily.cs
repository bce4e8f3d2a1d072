namespace Platform.Formats.HuggingFace;

/// <summary>A member of the Llama family, with the names Hugging Face gives it.</summary>
/// <param name="ModelType"><c>model_type</c>, which is also the platform's name of the architecture.</param>
/// <param name="ClassName">The entry of <c>architectures</c>.</param>
/// <param name="HasBias">Query, key and value projections have biases.</param>
/// <param name="HasQkNorm">Queries and keys are normalised.</param>
internal sealed record LlamaFamily(string ModelType, string ClassName, bool HasBias, bool HasQkNorm)
{
    internal static IReadOnlyList<LlamaFamily> All { get; } =
    [
        new("llama", "LlamaForCausalLM", false, false),
        new("mistral", "MistralForCausalLM", false, false),
        new("qwen2", "Qwen2ForCausalLM", true, false),
        new("qwen3", "Qwen3ForCausalLM", false, true),
    ];

    internal static string Allowed { get; } = string.Join(", ", All.Select(family => $"{family.ModelType} ({family.ClassName})"));

    internal static LlamaFamily? Of(string? modelType) => All.FirstOrDefault(family => family.ModelType == modelType);
}
