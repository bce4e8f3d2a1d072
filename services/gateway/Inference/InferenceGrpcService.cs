using Grpc.Core;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Text.Templates;
using Platform.Text.Tokenization;
using Platform.V1;
using TemplateMessage = Platform.Text.Templates.ChatMessage;

namespace Platform.Gateway.Inference;

/// <summary>The public <c>InferenceService</c>.</summary>
public sealed class InferenceGrpcService(InferencePipeline pipeline, ModelComparison comparison) : InferenceService.InferenceServiceBase
{
    /// <inheritdoc/>
    public override async Task Generate(
        GenerateRequest request, IServerStreamWriter<GenerateResponse> responseStream, ServerCallContext context)
    {
        var model = pipeline.Find(request.Model);
        var prompt = request.InputCase switch
        {
            GenerateRequest.InputOneofCase.PromptTokens => request.PromptTokens.Ids,
            GenerateRequest.InputOneofCase.Prompt => model.EncodePrompt(request.Prompt),
            _ => throw new InvalidRequestException([new Violation("prompt", "Expected a prompt or prompt_tokens, found neither.")]),
        };
        await foreach (var response in RunAsync(model, prompt, request.Sampling, context))
        {
            var message = new GenerateResponse
            {
                Choice = response.Choice,
                Text = response.Text,
                FinishReason = response.FinishReason,
                Usage = response.Usage,
            };
            message.TokenIds.AddRange(response.TokenIds);
            await responseStream.WriteAsync(message, context.CancellationToken);
        }
    }

    /// <inheritdoc/>
    public override async Task Chat(
        ChatRequest request, IServerStreamWriter<ChatResponse> responseStream, ServerCallContext context)
    {
        var model = pipeline.Find(request.Model);
        if (request.Messages.Count == 0)
            throw new InvalidRequestException([new Violation("messages", "Expected at least one message, found none.")]);
        var prompt = EncodeChat(model, request.Messages);
        await foreach (var response in RunAsync(model, prompt, request.Sampling, context))
        {
            await responseStream.WriteAsync(
                new ChatResponse
                {
                    Choice = response.Choice,
                    Text = response.Text,
                    FinishReason = response.FinishReason,
                    Usage = response.Usage,
                },
                context.CancellationToken);
        }
    }

    /// <inheritdoc/>
    public override Task<TokenizeResponse> Tokenize(TokenizeRequest request, ServerCallContext context)
    {
        var model = pipeline.Find(request.Model);
        var ids = model.Tokenizer.Encode(request.Text, EncodeOptions.AddSpecialTokens);
        var response = new TokenizeResponse();
        response.Ids.AddRange(ids);
        response.Tokens.AddRange(ids.Select(id => model.Tokenizer.Decode([id], skipSpecialTokens: false)));
        return Task.FromResult(response);
    }

    /// <inheritdoc/>
    public override async Task<EmbedResponse> Embed(EmbedRequest request, ServerCallContext context)
    {
        var model = pipeline.Find(request.Model);
        var answer = await pipeline.EmbedAsync(
            model, [.. request.Input.Select(model.EncodePrompt)], request.Pooling, CallerIdentity.TenantOf(context.GetHttpContext()), context.CancellationToken);
        return new EmbedResponse { Embeddings = { answer.Embeddings }, Usage = answer.Usage };
    }

    /// <inheritdoc/>
    public override Task<CompareResponse> Compare(CompareRequest request, ServerCallContext context) =>
        comparison.RunAsync(request, CallerIdentity.TenantOf(context.GetHttpContext()), context.CancellationToken);

    internal static IReadOnlyList<int> EncodeChat(ServedModel model, IEnumerable<V1.ChatMessage> messages)
    {
        try
        {
            return model.EncodeChat([.. messages.Select(message => new TemplateMessage(message.Role, message.Content))]);
        }
        catch (Exception e) when (e is ChatTemplateException or ChatTemplateRefusedException)
        {
            throw new InvalidRequestException([new Violation("messages", e.Message)]);
        }
    }

    private IAsyncEnumerable<EngineGenerateResponse> RunAsync(
        ServedModel model, IReadOnlyList<int> prompt, SamplingParams? sampling, ServerCallContext context) =>
        pipeline.GenerateAsync(
            model,
            prompt,
            InferencePipeline.WithDefaults(sampling, model, prompt.Count),
            CallerIdentity.TenantOf(context.GetHttpContext()),
            context.CancellationToken);
}
