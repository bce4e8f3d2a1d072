using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Platform.Serving.Core.Blocks;

/// <summary>
/// Name of a block's content: the first 128 bits of SHA-256 over its parent's hash and its tokens. Two blocks with one hash
/// hold keys and values of the same tokens after the same prefix, for the same tenant.
/// </summary>
/// <param name="Value">The hash.</param>
public readonly record struct BlockHash(UInt128 Value)
{
    private const int Size = 16;

    /// <summary>Where a chain begins; chains of different tenants never meet.</summary>
    public static BlockHash Root(string salt)
    {
        ArgumentNullException.ThrowIfNull(salt);
        return Of(Encoding.UTF8.GetBytes(salt));
    }

    /// <summary>The hash of the block that follows this one.</summary>
    /// <param name="tokens">The block's tokens, all of them.</param>
    public BlockHash Next(ReadOnlySpan<int> tokens)
    {
        var length = Size + (tokens.Length * sizeof(int));
        Span<byte> buffer = length <= 2048 ? stackalloc byte[length] : new byte[length];
        BinaryPrimitives.WriteUInt128LittleEndian(buffer, Value);
        MemoryMarshal.AsBytes(tokens).CopyTo(buffer[Size..]);
        return Of(buffer);
    }

    private static BlockHash Of(ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(bytes, hash);
        return new BlockHash(BinaryPrimitives.ReadUInt128LittleEndian(hash));
    }
}
