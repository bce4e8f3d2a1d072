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

    /// <summary>Where a chain begins; chains of different tenants or adapters never meet.</summary>
    /// <param name="salt">The tenant.</param>
    /// <param name="adapter">The adapter that the keys and values were computed with; 0 for none.</param>
    public static BlockHash Root(string salt, int adapter = 0)
    {
        ArgumentNullException.ThrowIfNull(salt);
        var tenant = Encoding.UTF8.GetBytes(salt);
        // No text in UTF-8 has a byte of all ones, so no tenant's name looks like another one's with an adapter.
        return Of(adapter == 0 ? tenant : [.. tenant, byte.MaxValue, .. BitConverter.GetBytes(adapter)]);
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
