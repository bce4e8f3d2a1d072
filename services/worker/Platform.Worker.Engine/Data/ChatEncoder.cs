using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Text.Templates;
using Platform.Text.Tokenization;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Turns conversations into tokens by a tokenizer's chat template, and says which of them are learnt: what the assistant says,
/// from where its turn has been opened (what the template writes to ask for an answer is not learnt) to the special token that
/// ends it. The parts are encoded one by one, so a turn begins with the tokens that a model would generate after the prompt.
/// </summary>
internal sealed class ChatEncoder
{
    private readonly TokenizerDirectory _tokenizer;
    private readonly ChatTemplate _template;

    /// <summary>An encoder for a tokenizer with a chat template.</summary>
    /// <exception cref="InputUnreadableException">It has none, or one that is not supported.</exception>
    public ChatEncoder(TokenizerDirectory tokenizer)
    {
        _tokenizer = tokenizer;
        if (tokenizer.Config.ChatTemplate is not { } source)
            throw new InputUnreadableException("data.format: chat needs a chat template, which the tokenizer does not have.");
        try
        {
            _template = ChatTemplate.Parse(source);
        }
        catch (ChatTemplateException refused)
        {
            throw new InputUnreadableException($"data.tokenizer: {refused.Message}", refused);
        }
    }

    /// <summary>The messages of a line.</summary>
    /// <exception cref="InputUnreadableException">It is not a conversation.</exception>
    public static JsonArray MessagesOf(JsonLine line)
    {
        if (line.Parse()["messages"] is not JsonArray { Count: > 0 } messages)
            throw line.Refuse("expected an object with a list 'messages' that is not empty");
        for (var i = 0; i < messages.Count; i++)
        {
            if (messages[i] is not JsonObject message || TextOf(message, "role") is null || TextOf(message, "content") is null)
                throw line.Refuse($"messages[{i}] should be an object with the strings 'role' and 'content'");
        }

        return messages;
    }

    /// <summary>Text of a message of <see cref="MessagesOf"/>.</summary>
    public static string ContentOf(JsonNode? message) => message is JsonObject json ? TextOf(json, "content") ?? "" : "";

    /// <summary>A conversation as tokens. Any number of threads may call this at once.</summary>
    /// <exception cref="InputUnreadableException">It is no conversation, has nothing to learn, or the template refuses it.</exception>
    public EncodedDocument Encode(JsonLine line)
    {
        var messages = MessagesOf(line);
        var (text, turns) = Render(line, messages);
        if (turns.Count == 0)
            throw line.Refuse("no message has the role 'assistant', so there is nothing to learn");
        var document = new EncodedDocument();
        var ids = new List<int>();
        var (at, lastSpecial) = (0, -1);
        foreach (var (start, end) in turns)
        {
            Write(text.AsSpan(at, start - at), isLearnt: false);
            Write(text.AsSpan(start, end - start), isLearnt: true);
            at = end;
        }

        Write(text.AsSpan(at), isLearnt: false);
        if (_tokenizer.Tokenizer.EndOfSequenceId is { } eos && lastSpecial != eos)
            document.Append([eos], isLearnt: false);
        return document;

        void Write(ReadOnlySpan<char> part, bool isLearnt)
        {
            ids.Clear();
            _tokenizer.Tokenizer.Encode(part, EncodeOptions.ParseSpecialTokens, ids);
            foreach (var id in ids.Where(_tokenizer.Tokenizer.IsSpecial))
                lastSpecial = id;
            if (isLearnt && ids.Count > 0 && _tokenizer.Tokenizer.IsSpecial(ids[^1]))
                document.EndOfTurnIds.Add(ids[^1]);
            document.Append(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(ids), isLearnt);
        }
    }

    private static string? TextOf(JsonObject message, string key) =>
        message[key] is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;

    /// <summary>The conversation as text, and where in it the assistant's turns begin and end.</summary>
    private (string Text, List<(int Start, int End)> Turns) Render(JsonLine line, JsonArray messages)
    {
        var text = Render(line, messages, messages.Count, opensAnswer: false);
        var turns = new List<(int, int)>();
        for (var i = 0; i < messages.Count; i++)
        {
            if (messages[i]?["role"]?.GetValue<string>() != "assistant")
                continue;
            var prompt = Render(line, messages, i, opensAnswer: true);
            if (!text.StartsWith(prompt, StringComparison.Ordinal))
                throw line.Refuse($"the chat template writes what stands before messages[{i}] otherwise once the answer is there, so its tokens cannot be told apart");
            var content = ContentOf(messages[i]).Trim();
            var start = prompt.Length;
            var found = text.IndexOf(content, start, StringComparison.Ordinal);
            if (found < 0)
                throw line.Refuse($"the chat template leaves out the content of messages[{i}]");
            turns.Add((start, EndOfTurn(text, found + content.Length)));
        }

        return (text, turns);
    }

    private string Render(JsonLine line, JsonArray messages, int count, bool opensAnswer)
    {
        try
        {
            return _template.Render(new ChatTemplateInput
            {
                Messages = new JsonArray([.. messages.Take(count).Select(message => message?.DeepClone())]),
                AddGenerationPrompt = opensAnswer,
                BeginOfSequenceToken = _tokenizer.Config.BeginOfSequenceToken ?? "",
                EndOfSequenceToken = _tokenizer.Config.EndOfSequenceToken ?? "",
            });
        }
        catch (Exception refused) when (refused is ChatTemplateException or ChatTemplateRefusedException)
        {
            throw line.Refuse($"the chat template refuses the conversation: {refused.Message.TrimEnd('.')}", refused);
        }
    }

    /// <summary>The end of the special token that follows, but for white space; the place itself when none does.</summary>
    private int EndOfTurn(string text, int at)
    {
        var next = at;
        while (next < text.Length && char.IsWhiteSpace(text[next]))
            next++;
        var ending = _tokenizer.Tokenizer.SpecialTokens.Keys
            .Where(token => string.CompareOrdinal(text, next, token, 0, token.Length) == 0).MaxBy(token => token.Length);
        return ending is null ? at : next + ending.Length;
    }
}
