namespace Platform.Serving.Engine;

/// <summary>
/// The memory that the awake models of this process share. A model that wants to wake while the others leave it no room
/// has the one used longest ago asked to sleep, an idle one before one at work; it is told when room has come. Nothing here
/// waits: models ask again when they are woken. Thread-safe.
/// </summary>
/// <param name="budgetBytes">Most bytes of awake models.</param>
internal sealed class ModelResidency(long budgetBytes)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<IResident, Stay> _stays = [];
    private readonly List<IResident> _waiting = [];
    private long _uses;

    /// <summary>A model that sleeps and wakes. Its members are called on any thread and must return at once.</summary>
    internal interface IResident
    {
        /// <summary>Asks the model to sleep as soon as what it works on is done, and to begin nothing new before.</summary>
        void AskToSleep();

        /// <summary>Tells a model that was refused that asking again may help.</summary>
        void Wake();
    }

    private sealed record Stay(long Bytes, long LastUse, bool IsIdle, bool IsAsked);

    /// <summary>Bytes of models that are awake.</summary>
    public long AwakeBytes
    {
        get
        {
            lock (_gate)
                return _stays.Values.Sum(stay => stay.Bytes);
        }
    }

    /// <summary>Whether a model of this size can ever be awake.</summary>
    public bool Holds(long bytes) => bytes <= budgetBytes;

    /// <summary>Takes room for a model that begins awake and idle, if there is any left.</summary>
    /// <returns>Whether there was.</returns>
    public bool Begin(IResident model, long bytes)
    {
        lock (_gate)
        {
            if (_stays.Values.Sum(stay => stay.Bytes) + bytes > budgetBytes)
                return false;
            _stays[model] = new Stay(bytes, ++_uses, IsIdle: true, IsAsked: false);
            return true;
        }
    }

    /// <summary>Takes room for a model, or has it made.</summary>
    /// <returns>Whether the model may wake now; otherwise it is woken when that may have changed.</returns>
    public bool TryEnter(IResident model, long bytes)
    {
        List<IResident> asked = [];
        lock (_gate)
        {
            if (_stays.Values.Sum(stay => stay.Bytes) + bytes <= budgetBytes)
            {
                _waiting.Remove(model);
                _stays[model] = new Stay(bytes, ++_uses, IsIdle: false, IsAsked: false);
                return true;
            }

            if (!_waiting.Contains(model))
                _waiting.Add(model);
            // Those asked already will go; only what is missing beyond them is asked for.
            var missing = bytes + _stays.Values.Where(stay => !stay.IsAsked).Sum(stay => stay.Bytes) - budgetBytes;
            foreach (var (other, stay) in _stays.Where(entry => !entry.Value.IsAsked).OrderBy(entry => !entry.Value.IsIdle).ThenBy(entry => entry.Value.LastUse).ToList())
            {
                if (missing <= 0)
                    break;
                _stays[other] = stay with { IsAsked = true };
                asked.Add(other);
                missing -= stay.Bytes;
            }
        }

        asked.ForEach(other => other.AskToSleep());
        return false;
    }

    /// <summary>Notes that a model has work, or none.</summary>
    public void Note(IResident model, bool isIdle)
    {
        lock (_gate)
        {
            if (_stays.TryGetValue(model, out var stay) && stay.IsIdle != isIdle)
                _stays[model] = stay with { LastUse = ++_uses, IsIdle = isIdle };
        }
    }

    /// <summary>Gives back the room of a model that sleeps, and tells those that wait.</summary>
    public void Leave(IResident model)
    {
        List<IResident> waiting;
        lock (_gate)
        {
            _stays.Remove(model);
            _waiting.Remove(model);
            waiting = [.. _waiting];
        }

        waiting.ForEach(other => other.Wake());
    }
}
