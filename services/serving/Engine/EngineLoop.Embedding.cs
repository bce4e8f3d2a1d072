using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Engine;

/// <content>Embeddings: hidden states of every token of a prompt, pooled as they are computed.</content>
internal sealed partial class EngineLoop
{
    private void Pool(IterationPlan plan)
    {
        var row = 0;
        foreach (var span in plan.Spans)
        {
            if (_choices[span.Sequence.Id].Embedding is { } pool)
            {
                if (span.Start == 0)
                    pool.Restart();
                for (var i = 0; i < span.Count; i++)
                {
                    _executor.ReadHidden(row + i, _hidden);
                    pool.Add(_hidden);
                }
            }

            row += span.Count;
        }
    }
}
