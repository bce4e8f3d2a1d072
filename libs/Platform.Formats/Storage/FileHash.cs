using System.Security.Cryptography;

namespace Platform.Formats.Storage;

/// <summary>Hashes of whole files.</summary>
public static class FileHash
{
    /// <summary>SHA-256 of a file in lower-case hexadecimal.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static string Sha256(string path)
    {
        using var stream = new FileStream(path, new FileStreamOptions { BufferSize = 1 << 20, Options = FileOptions.SequentialScan, Share = FileShare.Read | FileShare.Delete });
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
