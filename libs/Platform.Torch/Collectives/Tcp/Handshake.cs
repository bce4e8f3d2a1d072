using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>What a connection is for.</summary>
internal enum ConnectionPurpose : byte
{
    /// <summary>Both directions of a pair's collectives in one group.</summary>
    Collective = 1,

    /// <summary>Messages of a group from the connecting rank.</summary>
    Message = 2,

    /// <summary>The topic is the reason for which the connecting rank aborts the world.</summary>
    Abort = 3,
}

/// <summary>Who connects, and what for.</summary>
internal sealed record Hello(ConnectionPurpose Purpose, int From, int To, string Topic);

/// <summary>
/// Proof that both ends hold the world's token without sending it: each side answers the other's nonce with an
/// HMAC-SHA256 under the token.
/// </summary>
/// <remarks>
/// Client: magic, nonce. Server: nonce. Client: length, hello, HMAC(client nonce, server nonce, hello). Server: one byte
/// (1 accepted, 2 refused), HMAC(server nonce, client nonce, "accepted").
/// </remarks>
internal static class Handshake
{
    private const int NonceBytes = 16;
    private const int ProofBytes = 32;
    private const int TopicBytes = 2048;
    private const byte AcceptedByte = 1;
    private const byte RefusedByte = 2;

    private static ReadOnlySpan<byte> Magic => "PCOL\0\0\0\u0001"u8;

    /// <summary>The connecting side. The socket blocks, with timeouts set.</summary>
    /// <exception cref="CollectiveConnectException">The other side refused, or does not hold the token itself.</exception>
    public static void Offer(Socket socket, byte[] token, Hello hello, string peer)
    {
        var clientNonce = RandomNumberGenerator.GetBytes(NonceBytes);
        SendAll(socket, [.. Magic, .. clientNonce]);
        var serverNonce = ReceiveAll(socket, NonceBytes);
        var body = Encode(hello);
        var length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, body.Length);
        SendAll(socket, [.. length, .. body, .. Proof(token, clientNonce, serverNonce, body)]);
        var answer = ReceiveAll(socket, 1 + ProofBytes);
        if (answer[0] != AcceptedByte)
            throw new CollectiveConnectException($"{peer} refused the connection of rank {hello.From}: the token is not that of its world, or the rank is not expected");
        if (!CryptographicOperations.FixedTimeEquals(answer.AsSpan(1), Proof(token, serverNonce, clientNonce, "accepted"u8)))
            throw new CollectiveConnectException($"{peer} does not hold this world's token");
    }

    /// <summary>The accepting side; null when the other is not of this world.</summary>
    public static async Task<Hello?> ReceiveAsync(Socket socket, byte[] token, Func<Hello, bool> isExpected, CancellationToken cancellation)
    {
        var opening = await ReceiveAsync(socket, Magic.Length + NonceBytes, cancellation);
        if (!opening.AsSpan(0, Magic.Length).SequenceEqual(Magic))
            return null;
        var clientNonce = opening[Magic.Length..];
        var serverNonce = RandomNumberGenerator.GetBytes(NonceBytes);
        await SendAsync(socket, serverNonce, cancellation);
        var length = BinaryPrimitives.ReadInt32LittleEndian(await ReceiveAsync(socket, 4, cancellation));
        if (length is < 0 or > TopicBytes * 2)
            return null;
        var body = await ReceiveAsync(socket, length, cancellation);
        var proof = await ReceiveAsync(socket, ProofBytes, cancellation);
        var hello = CryptographicOperations.FixedTimeEquals(proof, Proof(token, clientNonce, serverNonce, body)) ? Decode(body) : null;
        if (hello is null || !isExpected(hello))
        {
            await SendAsync(socket, [RefusedByte, .. new byte[ProofBytes]], cancellation);
            return null;
        }
        await SendAsync(socket, [AcceptedByte, .. Proof(token, serverNonce, clientNonce, "accepted"u8)], cancellation);
        return hello;
    }

    private static byte[] Proof(byte[] token, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> content) =>
        HMACSHA256.HashData(token, (byte[])[.. first, .. second, .. content]);

    private static byte[] Encode(Hello hello)
    {
        var topic = Encoding.UTF8.GetBytes(hello.Topic);
        var body = new byte[9 + Math.Min(topic.Length, TopicBytes)];
        body[0] = (byte)hello.Purpose;
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(1), hello.From);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(5), hello.To);
        topic.AsSpan(0, body.Length - 9).CopyTo(body.AsSpan(9));
        return body;
    }

    private static Hello? Decode(byte[] body) => body.Length < 9
        ? null
        : new Hello(
            (ConnectionPurpose)body[0],
            BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(1)),
            BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(5)),
            Encoding.UTF8.GetString(body.AsSpan(9)));

    private static void SendAll(Socket socket, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
            bytes = bytes[socket.Send(bytes)..];
    }

    private static byte[] ReceiveAll(Socket socket, int length)
    {
        var bytes = new byte[length];
        for (var filled = 0; filled < length;)
        {
            var count = socket.Receive(bytes.AsSpan(filled));
            filled += count > 0 ? count : throw new IOException("the connection was closed during the handshake");
        }
        return bytes;
    }

    private static async Task SendAsync(Socket socket, byte[] bytes, CancellationToken cancellation)
    {
        for (var sent = 0; sent < bytes.Length;)
            sent += await socket.SendAsync(bytes.AsMemory(sent), cancellation);
    }

    private static async Task<byte[]> ReceiveAsync(Socket socket, int length, CancellationToken cancellation)
    {
        var bytes = new byte[length];
        for (var filled = 0; filled < length;)
        {
            var count = await socket.ReceiveAsync(bytes.AsMemory(filled), cancellation);
            filled += count > 0 ? count : throw new IOException("the connection was closed during the handshake");
        }
        return bytes;
    }
}
