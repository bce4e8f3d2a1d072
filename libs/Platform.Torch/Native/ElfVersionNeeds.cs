using System.Buffers.Binary;
using System.Text;

namespace Platform.Torch.Native;

/// <summary>One symbol version that an ELF file requires of a library (<c>Elf64_Vernaux</c>).</summary>
/// <param name="Library">File name of the library, e.g. <c>libstdc++.so.6</c>.</param>
/// <param name="Version">Version name, e.g. <c>GLIBCXX_3.4.32</c>.</param>
/// <param name="IsWeak">Whether the dynamic loader accepts a library without it.</param>
/// <param name="FlagsOffset">Offset of the entry's two-byte <c>vna_flags</c> in the file.</param>
internal readonly record struct ElfVersionNeed(string Library, string Version, bool IsWeak, int FlagsOffset);

/// <summary>
/// Reads the symbol versions that a 64-bit little-endian ELF file requires (section type <c>SHT_GNU_verneed</c>), and
/// marks one of them weak. Format: Linux Standard Base Core, "Symbol Versioning", tables Elf64_Verneed and Elf64_Vernaux.
/// </summary>
internal static class ElfVersionNeeds
{
    private const uint SectionTypeVersionNeeds = 0x6ffffffe;
    private const ushort WeakFlag = 0x2;
    private const int SectionHeaderBytes = 64;

    /// <summary>Every version the file requires, in file order.</summary>
    /// <exception cref="BadImageFormatException">The bytes are not such a file, or an offset points outside it.</exception>
    public static IReadOnlyList<ElfVersionNeed> Read(ReadOnlySpan<byte> file)
    {
        if (file.Length < 64 || !file[..4].SequenceEqual("\u007fELF"u8) || file[4] != 2 || file[5] != 1)
            throw new BadImageFormatException("Not a 64-bit little-endian ELF file.");

        var tableOffset = Offset(BinaryPrimitives.ReadUInt64LittleEndian(Slice(file, 0x28, 8)));
        var count = BinaryPrimitives.ReadUInt16LittleEndian(Slice(file, 0x3c, 2));
        var needs = new List<ElfVersionNeed>();
        for (var index = 0; index < count; index++)
        {
            var header = Slice(file, tableOffset + index * SectionHeaderBytes, SectionHeaderBytes);
            if (BinaryPrimitives.ReadUInt32LittleEndian(header[4..]) != SectionTypeVersionNeeds)
                continue;
            var stringsIndex = BinaryPrimitives.ReadInt32LittleEndian(header[40..]);
            var stringsHeader = Slice(file, tableOffset + stringsIndex * SectionHeaderBytes, SectionHeaderBytes);
            var strings = Offset(BinaryPrimitives.ReadUInt64LittleEndian(stringsHeader[24..]));
            var section = Offset(BinaryPrimitives.ReadUInt64LittleEndian(header[24..]));
            var libraries = BinaryPrimitives.ReadInt32LittleEndian(header[44..]);
            ReadSection(file, section, libraries, strings, needs);
        }

        return needs;
    }

    /// <summary>
    /// A copy of the file in which the entries for <paramref name="version"/> carry <c>VER_FLG_WEAK</c>; every other
    /// byte is the same. Entries that are weak already stay as they are.
    /// </summary>
    /// <exception cref="BadImageFormatException">The bytes are not an ELF file, or nothing requires the version.</exception>
    public static byte[] WithWeakVersion(ReadOnlySpan<byte> file, string version)
    {
        var matches = Read(file).Where(need => need.Version == version).ToList();
        if (matches.Count == 0)
            throw new BadImageFormatException($"The file requires no symbol version {version}.");

        var patched = file.ToArray();
        foreach (var need in matches)
        {
            var flags = patched.AsSpan(need.FlagsOffset, 2);
            BinaryPrimitives.WriteUInt16LittleEndian(flags, (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(flags) | WeakFlag));
        }

        return patched;
    }

    private static void ReadSection(
        ReadOnlySpan<byte> file, int section, int libraries, int strings, List<ElfVersionNeed> needs)
    {
        // Elf64_Verneed: version u16, count u16, file u32, aux u32, next u32.
        // Elf64_Vernaux: hash u32, flags u16, other u16, name u32, next u32.
        var library = section;
        for (var i = 0; i < libraries; i++)
        {
            var need = Slice(file, library, 16);
            var entries = BinaryPrimitives.ReadUInt16LittleEndian(need[2..]);
            var libraryName = Text(file, strings + Offset(BinaryPrimitives.ReadUInt32LittleEndian(need[4..])));
            var entry = library + Offset(BinaryPrimitives.ReadUInt32LittleEndian(need[8..]));
            for (var j = 0; j < entries; j++)
            {
                var aux = Slice(file, entry, 16);
                var flags = BinaryPrimitives.ReadUInt16LittleEndian(aux[4..]);
                var name = Text(file, strings + Offset(BinaryPrimitives.ReadUInt32LittleEndian(aux[8..])));
                needs.Add(new ElfVersionNeed(libraryName, name, (flags & WeakFlag) != 0, entry + 4));
                entry += Offset(BinaryPrimitives.ReadUInt32LittleEndian(aux[12..]));
            }

            library += Offset(BinaryPrimitives.ReadUInt32LittleEndian(need[12..]));
        }
    }

    private static int Offset(ulong value) =>
        value <= int.MaxValue ? (int)value : throw new BadImageFormatException($"Offset {value} is outside the file.");

    private static ReadOnlySpan<byte> Slice(ReadOnlySpan<byte> file, int offset, int length) =>
        offset >= 0 && offset <= file.Length - length
            ? file.Slice(offset, length)
            : throw new BadImageFormatException($"Bytes {offset}..{(long)offset + length} are outside the file of {file.Length}.");

    private static string Text(ReadOnlySpan<byte> file, int offset)
    {
        var rest = Slice(file, offset, 0).IsEmpty ? file[offset..] : default;
        var end = rest.IndexOf((byte)0);
        return end >= 0
            ? Encoding.ASCII.GetString(rest[..end])
            : throw new BadImageFormatException($"The name at {offset} has no end.");
    }
}
