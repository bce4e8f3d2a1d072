using System.Runtime.InteropServices;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>
/// The functions of NCCL (<c>libnccl.so.2</c>, declared in <c>nccl.h</c>) that groups use. The library is not in any package
/// of ours: the machine or the container image supplies it, and with it the network plugin (aws-ofi-nccl for EFA).
/// </summary>
/// <remarks>Each function returns 0 on success. The table can be filled from any library that exports these names.</remarks>
internal sealed unsafe class NcclLibrary
{
    /// <summary>Environment variable with the path of the library, where the system's loader does not find it.</summary>
    public const string PathVariable = "PLATFORM_NCCL_LIBRARY";

    /// <summary>Status of a communicator that has work to do in the background.</summary>
    public const int InProgress = 7;

    private const string FileName = "libnccl.so.2";

    private static readonly Lazy<NcclLibrary> Installed = new(Load);

    private readonly delegate* unmanaged[Cdecl]<int, byte*> _errorString;
    private readonly delegate* unmanaged[Cdecl]<nint, byte*> _lastError;

    /// <summary>A table filled from a function that gives the address of each name.</summary>
    /// <param name="symbol">Address of an exported function.</param>
    public NcclLibrary(Func<string, nint> symbol)
    {
        GetVersion = (delegate* unmanaged[Cdecl]<int*, int>)symbol("ncclGetVersion");
        GetUniqueId = (delegate* unmanaged[Cdecl]<NcclUniqueId*, int>)symbol("ncclGetUniqueId");
        InitializeRank = (delegate* unmanaged[Cdecl]<nint*, int, NcclUniqueId, int, int>)symbol("ncclCommInitRank");
        Destroy = (delegate* unmanaged[Cdecl]<nint, int>)symbol("ncclCommDestroy");
        Abort = (delegate* unmanaged[Cdecl]<nint, int>)symbol("ncclCommAbort");
        GetAsyncError = (delegate* unmanaged[Cdecl]<nint, int*, int>)symbol("ncclCommGetAsyncError");
        AllReduce = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)symbol("ncclAllReduce");
        ReduceScatter = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)symbol("ncclReduceScatter");
        AllGather = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int>)symbol("ncclAllGather");
        Broadcast = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)symbol("ncclBroadcast");
        Send = (delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)symbol("ncclSend");
        Receive = (delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)symbol("ncclRecv");
        _errorString = (delegate* unmanaged[Cdecl]<int, byte*>)symbol("ncclGetErrorString");
        _lastError = (delegate* unmanaged[Cdecl]<nint, byte*>)symbol("ncclGetLastError");
    }

    /// <summary>The library of this machine.</summary>
    /// <exception cref="NcclException">It is not there, or older than the functions used here.</exception>
    public static NcclLibrary OfMachine => Installed.Value;

    // (version)
    public delegate* unmanaged[Cdecl]<int*, int> GetVersion { get; }

    // (id)
    public delegate* unmanaged[Cdecl]<NcclUniqueId*, int> GetUniqueId { get; }

    // (communicator, ranks, id, rank): returns when all ranks have called it
    public delegate* unmanaged[Cdecl]<nint*, int, NcclUniqueId, int, int> InitializeRank { get; }

    // (communicator)
    public delegate* unmanaged[Cdecl]<nint, int> Destroy { get; }

    // (communicator): ends its kernels, wherever they wait
    public delegate* unmanaged[Cdecl]<nint, int> Abort { get; }

    // (communicator, status)
    public delegate* unmanaged[Cdecl]<nint, int*, int> GetAsyncError { get; }

    // (input, output, count, type, operation, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> AllReduce { get; }

    // (input, output, count of the output, type, operation, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> ReduceScatter { get; }

    // (input, output, count of the input, type, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int> AllGather { get; }

    // (input, output, count, type, root, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> Broadcast { get; }

    // (buffer, count, type, peer, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int> Send { get; }

    // (buffer, count, type, peer, communicator, stream)
    public delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int> Receive { get; }

    /// <summary><c>ncclDataType_t</c> of an element.</summary>
    public static int TypeOf(CollectiveElement element) => element switch
    {
        CollectiveElement.Byte => 1,
        CollectiveElement.Int64 => 4,
        CollectiveElement.Float32 => 7,
        CollectiveElement.Float64 => 8,
        CollectiveElement.BFloat16 => 9,
        _ => throw new ArgumentOutOfRangeException(nameof(element), element, "not an element type of collectives"),
    };

    /// <summary><c>ncclRedOp_t</c> of a reduction.</summary>
    public static int OperationOf(ReduceOperation operation) => operation switch
    {
        ReduceOperation.Sum => 0,
        ReduceOperation.Max => 2,
        ReduceOperation.Min => 3,
        ReduceOperation.Average => 4,
        _ => throw new ArgumentOutOfRangeException(nameof(operation), operation, "not a reduction"),
    };

    /// <summary>Version of the library: 2.27.3 is 22703.</summary>
    public int Version()
    {
        int version;
        Check(GetVersion(&version), "ncclGetVersion", 0);
        return version;
    }

    /// <summary>Throws unless a call succeeded.</summary>
    /// <param name="result">What the function returned.</param>
    /// <param name="what">The function, and for what it was called.</param>
    /// <param name="communicator">Communicator it was called on, or 0.</param>
    /// <exception cref="NcclException">It did not.</exception>
    public void Check(int result, string what, nint communicator)
    {
        if (result is not (0 or InProgress))
            throw new NcclException($"{what} failed: {Describe(result, communicator)}");
    }

    /// <summary>NCCL's words for an error, with the last detail it gave for the communicator.</summary>
    public string Describe(int result, nint communicator)
    {
        var name = Text(_errorString(result));
        var detail = Text(_lastError(communicator));
        return detail.Length == 0 ? $"{name} ({result})" : $"{name} ({result}): {detail}";
    }

    private static string Text(byte* text) => text is null ? "" : Marshal.PtrToStringUTF8((nint)text)?.Trim() ?? "";

    private static NcclLibrary Load()
    {
        var path = Environment.GetEnvironmentVariable(PathVariable) is { Length: > 0 } given ? given : FileName;
        try
        {
            var library = NativeLibrary.Load(path);
            return new NcclLibrary(name => NativeLibrary.GetExport(library, name));
        }
        catch (Exception missing) when (missing is DllNotFoundException or BadImageFormatException)
        {
            throw new NcclException(
                $"Ranks on CUDA devices need NCCL: {path} cannot be loaded ({missing.Message.Trim().Split('\n')[^1]}); install it or name its file in {PathVariable}.", missing);
        }
        catch (EntryPointNotFoundException old)
        {
            throw new NcclException($"Ranks on CUDA devices need a newer NCCL than {path}: {old.Message}", old);
        }
    }
}
