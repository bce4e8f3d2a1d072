using Microsoft.Extensions.Logging;

namespace Platform.Worker.Engine.Training;

/// <summary>Passes on how far a data set is.</summary>
internal static class TokenizingProgress
{
    /// <summary>Tells the host each time, and the log at every tenth.</summary>
    public static Action<double> Of(ITrainingHost host, ILogger logger)
    {
        var tenths = 0;
        return share =>
        {
            host.Progress("tokenizing", share);
            if ((int)(share * 10) <= tenths)
                return;
            tenths = (int)(share * 10);
            RankLog.Tokenizing(logger, tenths * 10);
        };
    }
}
