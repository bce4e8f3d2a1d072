using Platform.Core.Models;
using Platform.Core.Specs;
using Platform.Core.Validation;

namespace Platform.Core.Jobs;

/// <summary>What a job must be to the model it continues from.</summary>
public static class StartingPointRules
{
    /// <summary>The shape of a model as a job would write it.</summary>
    public static ModelSpec ShapeOf(ModelConfig model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return new ModelSpec
        {
            Architecture = model.Architecture,
            VocabSize = model.VocabSize,
            HiddenSize = model.HiddenSize,
            IntermediateSize = model.IntermediateSize,
            NumHiddenLayers = model.NumHiddenLayers,
            NumAttentionHeads = model.NumAttentionHeads,
            NumKeyValueHeads = model.NumKeyValueHeads,
            HeadDim = model.HeadDim,
            MaxPositionEmbeddings = model.MaxPositionEmbeddings,
            RmsNormEps = model.RmsNormEps,
            RopeTheta = model.RopeTheta,
            TieWordEmbeddings = model.TieWordEmbeddings,
        };
    }

    /// <summary>Longest sequence that a model can be trained on: dynamic and yarn rescaling stretch a context by their factor.</summary>
    public static int LongestSequence(ModelConfig model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var stretched = model.RopeScaling switch
        {
            { Type: "dynamic" } scaling => model.MaxPositionEmbeddings * scaling.Factor,
            { Type: "yarn" } scaling => scaling.OriginalMaxPositionEmbeddings * scaling.Factor,
            _ => 0,
        };
        return (int)Math.Min(int.MaxValue, Math.Max(model.MaxPositionEmbeddings, stretched));
    }

    /// <summary>Everything in which a job does not fit the model that its <c>model.from</c> turned out to be.</summary>
    public static IReadOnlyList<Violation> Check(TrainingJobSpec job, ModelConfig model)
    {
        ArgumentNullException.ThrowIfNull(job);
        ArgumentNullException.ThrowIfNull(model);
        var violations = new ViolationList();
        if (!job.Parallelism.Auto)
            JobSpecRules.CheckSplit(ShapeOf(model), job.Parallelism, violations);
        var longest = LongestSequence(model);
        violations.Require(
            job.Data.SequenceLength <= longest, ["data.sequence_length"],
            $"{job.Data.SequenceLength} is more than the model to continue from was made for, which is {longest}.");
        return violations.Conclude(null, job) is Validated<TrainingJobSpec>.Invalid invalid ? invalid.Violations : [];
    }

    internal static void Check(TrainingJobSpec job, ViolationList violations)
    {
        var (model, data) = (job.Model, job.Data);
        violations.Require(
            job.Lora is null || model.From is not null, ["lora", "model.from"],
            "Adapters need a model to adapt; give model.from, or remove this section to train every weight.");
        violations.Require(
            model.From is null || data.Tokenizer is not TokenizerSpec.TrainBpe, ["data.tokenizer", "model.from"],
            "A model to continue from knows its own tokens only; remove this key to use its tokenizer.");
        violations.Require(
            data.Format != "tokens" || data.Tokenizer is not TokenizerSpec.TrainBpe, ["data.tokenizer", "data.format"],
            "Files of tokens hold no text to train a tokenizer on; name the tokenizer they were made with.");
        if (model.VocabSize is { } rows && data.Tokenizer is TokenizerSpec.TrainBpe bpe)
        {
            violations.Require(
                rows >= bpe.VocabSize, ["model.vocab_size", "data.tokenizer.vocab_size"],
                $"{rows} is less than data.tokenizer.vocab_size ({bpe.VocabSize}); allowed is {bpe.VocabSize} and more.");
        }
    }
}
