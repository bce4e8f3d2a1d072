using System.Runtime.InteropServices;

namespace Platform.Worker.Engine.Data;

/// <summary>A document as tokens, made by one thread and written by another.</summary>
public sealed class EncodedDocument
{
    private readonly List<int> _ids = [];
    private readonly List<(int Count, bool IsLearnt)> _runs = [];

    /// <summary>Number of tokens.</summary>
    public int Length => _ids.Count;

    /// <summary>Special tokens that end turns of the assistant in it.</summary>
    public ISet<int> EndOfTurnIds { get; } = new HashSet<int>();

    /// <summary>Appends tokens.</summary>
    public void Append(ReadOnlySpan<int> ids, bool isLearnt)
    {
        _ids.AddRange(ids);
        if (ids.Length > 0)
            _runs.Add((ids.Length, isLearnt));
    }

    /// <summary>Writes all of it, as one document.</summary>
    internal void WriteTo(TokenWriter writer)
    {
        var ids = CollectionsMarshal.AsSpan(_ids);
        foreach (var (count, isLearnt) in _runs)
        {
            writer.Append(ids[..count], isLearnt);
            ids = ids[count..];
        }

        writer.EndDocument();
    }
}
