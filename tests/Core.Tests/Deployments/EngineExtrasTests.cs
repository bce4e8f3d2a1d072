using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Xunit;

namespace Platform.Core.Tests.Deployments;

public sealed class EngineExtrasTests
{
    [Theory]
    [InlineData("{}")]
    [InlineData("""{"method":"ngram"}""")]
    [InlineData("""{"method":"ngram","num_speculative_tokens":7,"prompt_lookup_max":5,"prompt_lookup_min":2}""")]
    [InlineData("""{"method":"draft","model":"small-lm"}""")]
    [InlineData("""{"model":"projects/default/models/small-lm","num_speculative_tokens":3}""")]
    public void Speculation_survives_writing_and_reading(string json)
    {
        var spec = Speculating(json);
        var read = DeploymentInputs.Accepted(DeploymentSpecWriter.ToJson(spec));
        Assert.Equal(spec.Engine.Speculative, read.Engine.Speculative);
        Assert.Equal(DeploymentSpecWriter.ToJson(spec).ToJsonString(), DeploymentSpecWriter.ToJson(read).ToJsonString());
    }

    [Fact]
    public void Speculation_is_read_with_its_defaults()
    {
        Assert.Null(DeploymentInputs.Accepted(JsonNode.Parse("""{"kind":"Deployment","model":"m"}""")).Engine.Speculative);
        Assert.Equal(new SpeculativeOptions { NumSpeculativeTokens = 4, PromptLookupMax = 3, PromptLookupMin = 1 }, Speculating("{}").Engine.Speculative);
        Assert.Equal(
            new SpeculativeOptions { NumSpeculativeTokens = 7, PromptLookupMax = 5, PromptLookupMin = 2 },
            Speculating("""{"method":"ngram","num_speculative_tokens":7,"prompt_lookup_max":5,"prompt_lookup_min":2}""").Engine.Speculative);
        Assert.Equal(new SpeculativeOptions { Model = "small-lm", NumSpeculativeTokens = 3 }, Speculating("""{"model":"small-lm","num_speculative_tokens":3}""").Engine.Speculative);
    }

    [Theory]
    [InlineData("""{"method":"medusa"}""", "method: \"medusa\" is not one of ngram, draft.")]
    [InlineData("""{"method":"drafts","model":"m"}""", "method: \"drafts\" is not one of ngram, draft; did you mean draft?")]
    [InlineData("""{"method":"draft"}""", "model: This is required with method draft; expected a registered model or a Hugging Face directory.")]
    [InlineData("""{"method":"ngram","model":"m"}""", "model: A model guesses with method draft only; change the method or remove the key.")]
    [InlineData("""{"model":"m","prompt_lookup_max":2}""", "prompt_lookup_max: This belongs to method ngram; remove the key.")]
    [InlineData("""{"num_speculative_tokens":0}""", "num_speculative_tokens: 0 is out of range; allowed is 1 to 16.")]
    [InlineData("""{"prompt_lookup_max":2,"prompt_lookup_min":3}""", "prompt_lookup_min: 3 is out of range; allowed is 1 to 2.")]
    [InlineData("""{"num_speculative_token":2}""", "num_speculative_token: This key is not known; did you mean engine_config.speculative_config.num_speculative_tokens?")]
    public void Speculation_is_refused_with_its_reason(string json, string reason) => Assert.Equal(
        [$"engine_config.speculative_config.{reason}"],
        DeploymentInputs.Refused($$$"""{"kind":"Deployment","model":"served","engine_config":{"speculative_config":{{{json}}}}}"""));

    [Fact]
    public void Adapters_survive_writing_and_reading()
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse("""
            {"kind":"Deployment","model":"served","engine_config":{"lora":{"max_lora_rank":32,"adapters":[
                {"name":"support-bot","model":"support-bot-lora"},{"name":"poet","model":"/adapters/poet"}]}}}
            """));
        Assert.Equal((8, 32), (spec.Engine.Lora?.MaxLoras, spec.Engine.Lora?.MaxLoraRank));
        Assert.Equal(
            [new LoraAdapterOptions { Name = "support-bot", Model = "support-bot-lora" }, new LoraAdapterOptions { Name = "poet", Model = "/adapters/poet" }],
            spec.Engine.Lora?.Adapters);
        var read = DeploymentInputs.Accepted(DeploymentSpecWriter.ToJson(spec));
        Assert.Equal(spec.Engine.Lora?.Adapters, read.Engine.Lora?.Adapters);
        Assert.Equal(DeploymentSpecWriter.ToJson(spec).ToJsonString(), DeploymentSpecWriter.ToJson(read).ToJsonString());
        Assert.Null(DeploymentInputs.Accepted(JsonNode.Parse("""{"kind":"Deployment","model":"m"}""")).Engine.Lora);
    }

    [Fact]
    public void Everything_that_is_wrong_with_adapters_is_reported_at_once() => Assert.Equal(
        [
            "engine_config.lora.max_lora_rank: 0 is out of range; allowed is 1 to 4096.",
            "engine_config.lora.adapters: There are 3; max_loras allows 1.",
            "engine_config.lora.adapters[1].name: There are two adapters of the name \"a\".",
            "engine_config.lora.adapters[2].name: \"Support Bot\" is not a name; use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.",
            "engine_config.lora.adapters[3].model: This is required; expected a registered model or a directory as PEFT writes it.",
            "engine_config.lora.adapters[3].nam: This key is not known; did you mean engine_config.lora.adapters[3].name?",
            "engine_config.lora.adapters[4]: Found 3; expected keys with values.",
        ],
        DeploymentInputs.Refused("""
            {"kind":"Deployment","model":"served","engine_config":{"lora":{"max_loras":1,"max_lora_rank":0,"adapters":[
                {"name":"a","model":"x"},{"name":"a","model":"y"},{"name":"Support Bot","model":"z"},{"nam":"b"},3]}}}
            """));

    [Fact]
    public void An_adapter_cannot_have_the_models_name() => Assert.Equal(
        ["engine_config.lora.adapters: An adapter has the model's own name (served)."],
        DeploymentInputs.Refused("""{"kind":"Deployment","model":"served","engine_config":{"lora":{"adapters":[{"name":"served","model":"x"}]}}}"""));

    private static DeploymentSpec Speculating(string json) => DeploymentInputs.Accepted(JsonNode.Parse(
        $$$"""{"kind":"Deployment","model":"served","engine_config":{"speculative_config":{{{json}}}}}"""));
}
