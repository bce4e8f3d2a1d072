using System.Text;

namespace Platform.Text.Tokenization;

/// <summary>
/// The printable stand-ins of bytes in byte-level vocabularies (GPT-2, <c>bytes_to_unicode</c>): bytes that are
/// printable in Latin-1 stand for themselves, the others for U+0100 onwards in their order.
/// </summary>
public static class ByteAlphabet
{
    private const int HighestStandIn = 0x143;

    private static readonly char[] Chars = BuildChars();
    private static readonly short[] Bytes = BuildBytes();

    /// <summary>The character that stands for a byte.</summary>
    public static char CharOf(byte value) => Chars[value];

    /// <summary>The byte a character stands for.</summary>
    /// <returns>False when it stands for none.</returns>
    public static bool TryByteOf(char stand, out byte value)
    {
        value = 0;
        if (stand > HighestStandIn || Bytes[stand] < 0)
        {
            return false;
        }
        value = (byte)Bytes[stand];
        return true;
    }

    /// <summary>Bytes as a string of stand-ins.</summary>
    public static string ToStandIns(ReadOnlySpan<byte> bytes)
    {
        var result = new StringBuilder(bytes.Length);
        foreach (var value in bytes)
        {
            result.Append(Chars[value]);
        }
        return result.ToString();
    }

    /// <summary>The bytes a token of stand-ins means, or null when a character of it is none.</summary>
    public static byte[]? ToBytes(string token)
    {
        var bytes = new byte[token.Length];
        for (var i = 0; i < token.Length; i++)
        {
            if (!TryByteOf(token[i], out bytes[i]))
            {
                return null;
            }
        }
        return bytes;
    }

    private static char[] BuildChars()
    {
        var chars = new char[256];
        var next = 0x100;
        for (var value = 0; value < 256; value++)
        {
            var printable = value is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            chars[value] = printable ? (char)value : (char)next++;
        }
        return chars;
    }

    private static short[] BuildBytes()
    {
        var bytes = new short[HighestStandIn + 1];
        Array.Fill(bytes, (short)-1);
        for (var value = 0; value < 256; value++)
        {
            bytes[Chars[value]] = (short)value;
        }
        return bytes;
    }
}
