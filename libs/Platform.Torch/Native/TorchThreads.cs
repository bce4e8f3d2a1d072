using TorchSharp;

namespace Platform.Torch.Native;

/// <summary>How many threads libtorch uses inside one operator.</summary>
public static class TorchThreads
{
    /// <summary>The present number of threads.</summary>
    public static int Count
    {
        get
        {
            NativeRuntime.EnsureLoaded();
            return torch.get_num_threads();
        }
    }

    /// <summary>
    /// Sets the number of threads. Give the processes of one machine no more threads together than it has cores: a
    /// rank of a gang with as many ranks as cores takes 1, and then runs every operator on its own thread with no
    /// barrier to spin in.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is below 1.</exception>
    public static void Set(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        NativeRuntime.EnsureLoaded();
        torch.set_num_threads(count);
    }
}
