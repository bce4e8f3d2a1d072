using System.Buffers.Binary;
using System.Text;

namespace Platform.Torch.Tests.Native;

/// <summary>
/// The smallest 64-bit ELF file with required versions: liba.so needs OLD_1, libb.so needs NEW_1 and NEW_2. Section headers
/// come last, so that a file cut short always lacks something.
/// </summary>
internal static class TinyElf
{
    public static readonly byte[] File = Build();

    private static byte[] Build()
    {
        var strings = Encoding.ASCII.GetBytes("\0liba.so\0libb.so\0OLD_1\0NEW_1\0NEW_2\0");
        const int stringsAt = 64, needsAt = 112, headersAt = 192;
        var file = new byte[headersAt + 3 * 64];
        "\u007fELF"u8.CopyTo(file);
        (file[4], file[5]) = (2, 1);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(0x28), headersAt);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(0x3c), 3);
        strings.CopyTo(file, stringsAt);

        Need(needsAt, entries: 1, name: 1, next: 32);
        Entry(needsAt + 16, name: 17, next: 0);
        Need(needsAt + 32, entries: 2, name: 9, next: 0);
        Entry(needsAt + 48, name: 23, next: 16);
        Entry(needsAt + 64, name: 29, next: 0);

        Header(1, type: 3, offset: stringsAt, link: 0, info: 0);
        Header(2, type: 0x6ffffffe, offset: needsAt, link: 1, info: 2);
        return file;

        void Need(int at, ushort entries, uint name, uint next)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), 1);
            BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at + 2), entries);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + 4), name);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + 8), 16);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + 12), next);
        }

        void Entry(int at, uint name, uint next)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + 8), name);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + 12), next);
        }

        void Header(int index, uint type, ulong offset, int link, int info)
        {
            var header = file.AsSpan(headersAt + index * 64);
            BinaryPrimitives.WriteUInt32LittleEndian(header[4..], type);
            BinaryPrimitives.WriteUInt64LittleEndian(header[24..], offset);
            BinaryPrimitives.WriteInt32LittleEndian(header[40..], link);
            BinaryPrimitives.WriteInt32LittleEndian(header[44..], info);
        }
    }
}
