namespace Platform.Serving.Engine;

/// <summary>How long the parts of a choice's life took, in seconds.</summary>
/// <param name="Queued">From its request's submission to the first iteration it took part in, or to its end if there was none.</param>
/// <param name="Prefill">From then to its first token, or to its end if there was none.</param>
/// <param name="Decode">From its first token to its last update.</param>
internal readonly record struct ChoiceTimes(double Queued, double Prefill, double Decode)
{
    /// <summary>From the request's submission to the first token.</summary>
    public double ToFirstToken => Queued + Prefill;

    /// <summary>Time it was worked on.</summary>
    public double Inference => Prefill + Decode;

    /// <summary>From the request's submission to the end.</summary>
    public double Total => Queued + Prefill + Decode;
}
