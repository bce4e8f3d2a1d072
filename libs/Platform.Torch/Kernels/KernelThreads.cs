using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Platform.Torch.Native;

namespace Platform.Torch.Kernels;

/// <summary>
/// Runs the parts of a kernel on the threads that libtorch's own operators run on, its OpenMP team. A pool of other threads
/// would share the cores with a team that still spins in wait for the next operator.
/// </summary>
internal static unsafe class KernelThreads
{
    // GOMP_parallel(function, argument, threads, flags) of GCC's libgomp: runs the function once on each thread and returns
    // when all have. Null where libtorch came with another OpenMP library.
    private static readonly delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<IntPtr, void>, IntPtr, uint, uint, void> Team = FindTeam();

    /// <summary>
    /// Calls <paramref name="body"/> with 0 to <paramref name="parts"/> − 1, each once, on as many threads as libtorch uses on
    /// this one. Which thread takes which part is chance, so the parts must not depend on each other.
    /// </summary>
    public static void ForEach(int parts, Action<int> body)
    {
        var threads = Math.Min(TorchThreads.Count, parts);
        if (threads <= 1)
        {
            for (var part = 0; part < parts; part++)
                body(part);
            return;
        }

        var work = new Work(parts, body);
        if (Team == null)
        {
            System.Threading.Tasks.Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, _ => work.Run());
        }
        else
        {
            var handle = GCHandle.Alloc(work);
            Team(&Enter, GCHandle.ToIntPtr(handle), (uint)threads, 0);
            handle.Free();
        }

        work.Failure?.Throw();
    }

    /// <summary>Calls <paramref name="body"/> with neighbouring ranges of 0 to <paramref name="count"/> − 1, whose bounds do not depend on the threads.</summary>
    public static void ForEachRange(long count, long length, Action<long, long> body) => ForEach(
        checked((int)((count + length - 1) / length)), part => body(part * length, Math.Min(count, (part + 1) * length)));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Enter(IntPtr argument) => ((Work?)GCHandle.FromIntPtr(argument).Target)?.Run();

    private static delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<IntPtr, void>, IntPtr, uint, uint, void> FindTeam()
    {
        var directory = NativeRuntime.EnsureLoaded().Directories.Libtorch;
        foreach (var file in Directory.EnumerateFiles(directory, "libgomp*.so*"))
        {
            if (NativeLibrary.TryLoad(file, out var library) && NativeLibrary.TryGetExport(library, "GOMP_parallel", out var function))
                return (delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<IntPtr, void>, IntPtr, uint, uint, void>)function;
        }

        return null;
    }

    private sealed class Work(int parts, Action<int> body)
    {
        private int _next = -1;

        public ExceptionDispatchInfo? Failure { get; private set; }

        public void Run()
        {
            try
            {
                for (var part = Interlocked.Increment(ref _next); part < parts; part = Interlocked.Increment(ref _next))
                    body(part);
            }
            catch (Exception failure)
            {
                // It must not unwind into native code.
                Failure = ExceptionDispatchInfo.Capture(failure);
            }
        }
    }
}
