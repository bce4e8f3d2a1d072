using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Platform.V1;

namespace Platform.Cli.Tests.Scripted;

/// <summary>Messages that several tests send.</summary>
internal static class Samples
{
    public const string JobFile = """
        kind: TrainingJob
        name: docs-lm
        model:
          hidden_size: 64
          intermediate_size: 96
          num_hidden_layers: 4
          num_attention_heads: 8
          num_key_value_heads: 4
        data:
          source: corpus/*.txt
          tokenizer: { train: bpe, vocab_size: 512 }
        parallelism: { tensor: 2, pipeline: 2, data: 2, micro_batch_size: 1, schedule: 1f1b }
        training:
          steps: 20
          global_batch_size: 8
        optimizer: { lr: 1e-3 }
        """;

    public static Job Job(JobState state, int step = 0, string id = "docs-lm-1") => new()
    {
        Name = $"projects/default/jobs/{id}",
        State = state,
        Attempt = 1,
        CreateTime = Timestamp.FromDateTimeOffset(DateTimeOffset.UtcNow.AddMinutes(-5)),
        Progress = new TrainingProgress { Phase = "training", Step = step, TotalSteps = 20, Loss = 3.25, FirstLoss = 8.5, TokensPerSecond = 12_345 },
    };

    public static WatchJobResponse[] Watch(params Job[] jobs) => [.. jobs.Select(job => new WatchJobResponse { Job = job })];

    public static RpcException Error(StatusCode code, string message, string reason, params Google.Protobuf.IMessage[] details)
    {
        var status = new Google.Rpc.Status { Code = (int)code, Message = message };
        status.Details.Add(Any.Pack(new ErrorInfo { Domain = "platform", Reason = reason }));
        foreach (var detail in details)
            status.Details.Add(Any.Pack(detail));
        return status.ToRpcException();
    }
}
