using Platform.Scheduling.Capacity;

namespace Platform.Scheduler.Adapters.Capacity;

/// <summary>A node that a provider has.</summary>
/// <param name="Name">Name of the node.</param>
/// <param name="Detail">How far it is, as a sentence; empty for nothing.</param>
internal sealed record ProvidedNode(string Name, string Detail);

/// <summary>A provider did not do what was asked of it; the message says why, as a sentence.</summary>
internal sealed class CapacityRefusedException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>
/// Gives and takes nodes. Every call may be repeated: a name stands for one node, however often it is asked for. A call that
/// fails for a reason that passes by itself throws anything but <see cref="CapacityRefusedException"/> and is tried again.
/// </summary>
internal interface ICapacityProvider : IAsyncDisposable
{
    /// <summary>Name of the provider, as groups give it.</summary>
    string Name { get; }

    /// <summary>Every node of this installation that is there or on its way.</summary>
    Task<IReadOnlyList<ProvidedNode>> ListAsync(CancellationToken cancellationToken);

    /// <summary>Creates a node.</summary>
    /// <exception cref="CapacityRefusedException">The provider will not create it.</exception>
    Task CreateAsync(ManagedNode node, NodeGroup group, CancellationToken cancellationToken);

    /// <summary>Begins to remove a node; it is gone when it is not listed any more.</summary>
    Task RemoveAsync(string node, CancellationToken cancellationToken);
}
