using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>
/// What a rank of a command gang is told in its environment: the names of torchrun (PyTorch documentation, "torchrun
/// (Elastic Launch)", section Environment Variables), so that scripts written for it run unchanged.
/// </summary>
internal static class CommandEnvironment
{
    /// <summary>The variables of one rank.</summary>
    /// <param name="assignment">What is wanted of this node.</param>
    /// <param name="placement">The rank.</param>
    /// <param name="master">Address on which rank 0 may listen, <c>host:port</c>.</param>
    /// <param name="checkpoints">Directory that outlives attempts, the same for all ranks.</param>
    /// <param name="isCuda">Whether its devices are GPUs.</param>
    public static Dictionary<string, string> Of(GangAssignment assignment, RankPlacement placement, string master, string checkpoints, bool isCuda)
    {
        int colon = master.LastIndexOf(':');
        int local = assignment.Ranks.Count(rank => rank.Rank < placement.Rank);
        var variables = new Dictionary<string, string>
        {
            ["MASTER_ADDR"] = master[..colon],
            ["MASTER_PORT"] = master[(colon + 1)..],
            ["RANK"] = $"{placement.Rank}",
            ["WORLD_SIZE"] = $"{assignment.WorldSize}",
            ["LOCAL_RANK"] = $"{local}",
            ["LOCAL_WORLD_SIZE"] = $"{assignment.Ranks.Count}",
            ["ROLE_RANK"] = $"{placement.Rank}",
            ["ROLE_WORLD_SIZE"] = $"{assignment.WorldSize}",
            ["TORCHELASTIC_RUN_ID"] = assignment.Gang,
            ["TORCHELASTIC_RESTART_COUNT"] = $"{assignment.Attempt - 1}",
            ["PLATFORM_GANG"] = assignment.Gang,
            ["PLATFORM_ATTEMPT"] = $"{assignment.Attempt}",
            ["PLATFORM_NODE"] = assignment.Node,
            ["PLATFORM_DEVICES"] = string.Join(',', placement.Devices),
            ["PLATFORM_CHECKPOINT_DIR"] = checkpoints,
        };

        // As torchrun does, every rank of a node sees all devices that the node's ranks hold and picks by LOCAL_RANK.
        if (isCuda)
        {
            variables["CUDA_VISIBLE_DEVICES"] = string.Join(',', assignment.Ranks.SelectMany(rank => rank.Devices).Distinct());
        }

        return variables;
    }
}
