using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// The tensor groups of a gang, numbered in rank order (data fastest, then pipeline), and which of them have to be near
/// each other: units of groups stay within <see cref="UnitLevel"/>, the whole gang within <see cref="GangLevel"/>.
/// </summary>
internal sealed class GroupLayout
{
    private readonly GangShape shape;

    public GroupLayout(GangShape shape)
    {
        (this.shape, Rank) = (shape, shape.Rank);
        Groups = shape.Mesh.Pipeline * shape.Mesh.Data;
        (GroupsPerUnit, UnitLevel, GangLevel) = (shape.DataTopology, shape.PipelineTopology) switch
        {
            (null, null) => (Groups, null, null),
            ({ } data, null) => (shape.Mesh.Data, data, null),
            (null, { } pipeline) => (shape.Mesh.Pipeline, pipeline, null),
            ({ } data, { } pipeline) when TopologyLevels.Width(data) < TopologyLevels.Width(pipeline) => (shape.Mesh.Data, data, pipeline),
            ({ } data, { } pipeline) when TopologyLevels.Width(pipeline) < TopologyLevels.Width(data) => (shape.Mesh.Pipeline, pipeline, data),
            ({ } both, _) => (Groups, (string?)null, (string?)both),
        };
        UnitsAreStages = UnitLevel is not null && UnitLevel == shape.DataTopology && GroupsPerUnit == shape.Mesh.Data;
    }

    /// <summary>What each rank needs.</summary>
    public RankRequest Rank { get; }

    /// <summary>Ranks of a group.</summary>
    public int Tensor => shape.Mesh.Tensor;

    /// <summary>What each group must stay within.</summary>
    public string TensorLevel => shape.TensorTopology;

    /// <summary>Groups in all.</summary>
    public int Groups { get; }

    /// <summary>Groups that must stay near each other.</summary>
    public int GroupsPerUnit { get; }

    /// <summary>What each unit must stay within; null when units do not matter.</summary>
    public string? UnitLevel { get; }

    /// <summary>What the whole gang must stay within; null for as near as can be.</summary>
    public string? GangLevel { get; }

    private bool UnitsAreStages { get; }

    /// <summary>Whether units have to be told apart at the level of tensor groups.</summary>
    public bool HasUnits => UnitLevel is not null && TopologyLevels.Width(UnitLevel) >= TopologyLevels.Width(TensorLevel);

    /// <summary>Levels above that of tensor groups in which the whole gang may be, narrow to wide.</summary>
    public IEnumerable<string> Levels => TopologyLevels.Wider.Where(level => TopologyLevels.Width(level) > TopologyLevels.Width(TensorLevel)
        && (GangLevel is null || TopologyLevels.Width(level) <= TopologyLevels.Width(GangLevel)));

    /// <summary>Groups of so many units from one on, in the order in which they are given places.</summary>
    public IEnumerable<int> GroupsOf(int unit, int units) => HasUnits ? Enumerable.Range(unit, units).SelectMany(each => GroupsOf(each)) : Enumerable.Range(0, Groups);

    private IEnumerable<int> GroupsOf(int unit) => UnitsAreStages
        ? Enumerable.Range(unit * shape.Mesh.Data, shape.Mesh.Data)
        : Enumerable.Range(0, shape.Mesh.Pipeline).Select(stage => unit + (shape.Mesh.Data * stage));
}
