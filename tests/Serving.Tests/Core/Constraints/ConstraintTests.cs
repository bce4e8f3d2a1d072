using System.Text;
using System.Text.RegularExpressions;
using CsCheck;
using Platform.Serving.Core.Constraints;

namespace Platform.Serving.Tests.Core.Constraints;

public sealed class ConstraintTests
{
    private static readonly string[] Parts = ["a", "b", "c", "d", "e", "0", "1", "-", "x", ".", "*", "é", "ü", "日", "本", "\n"];

    private const string Person = """
        {
          "type": "object",
          "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 8 },
            "age": { "type": "integer" },
            "tags": { "type": "array", "items": { "enum": ["a", "b", "é"] }, "maxItems": 2 },
            "home": { "$ref": "#/$defs/place" }
          },
          "required": ["name", "home"],
          "additionalProperties": false,
          "$defs": { "place": { "anyOf": [ { "type": "null" }, { "type": "object", "properties": { "zip": { "type": "string", "pattern": "^\\d{5}$" } }, "required": ["zip"] } ] } }
        }
        """;

    [Theory]
    [InlineData("a(b|c)*d?")]
    [InlineData(@"\d{2,4}-[a-f0-9]+")]
    [InlineData("[^x-z]{0,3}é?ü|日本+")]
    [InlineData(@"(?:ab){2}|\.\*|.b")]
    [InlineData("^a?a?a?aaa$")]
    public void An_expression_accepts_what_the_runtimes_own_engine_matches(string expression)
    {
        var automaton = new ByteAutomaton(RegexParser.Parse(expression));
        var reference = new Regex($@"\A(?:{expression.TrimStart('^').TrimEnd('$')})\z", RegexOptions.CultureInvariant);
        Gen.Int[0, Parts.Length - 1].Select(i => Parts[i]).Array[0, 7].Sample(parts =>
        {
            var text = string.Concat(parts);
            Assert.Equal(reference.IsMatch(text), Accepts(automaton, text));
        }, iter: 3_000, threads: 1);
    }

    [Theory]
    [InlineData("""{"name":"Ann","home":null}""", true)]
    [InlineData("""{"name": "Ann", "age": -12, "tags": ["a", "é"], "home": {"zip": "12345"}}""", true)]
    [InlineData("""{"name":"A\"\u00e9","home":null}""", true)]
    [InlineData("""{"home":null}""", false)]
    [InlineData("""{"name":"","home":null}""", false)]
    [InlineData("""{"name":"Ann","home":{"zip":"1234"}}""", false)]
    [InlineData("""{"name":"Ann","tags":["c"],"home":null}""", false)]
    [InlineData("""{"name":"Ann","tags":["a","a","a"],"home":null}""", false)]
    [InlineData("""{"name":"Ann","home":null,"more":1}""", false)]
    public void A_schema_accepts_what_satisfies_it(string text, bool accepted) =>
        Assert.Equal(accepted, Accepts(new ByteAutomaton(JsonSchemaReader.Read(Person)), text));

    [Theory]
    [InlineData("""{"type":"object"}""", """{"a": [1, {"b": null}], "c": "x"}""", true)]
    [InlineData("{}", """[true,"x",-1.5e3]""", true)]
    [InlineData("""{"type":["string","null"]}""", "null", true)]
    [InlineData("""{"type":"object","properties":{"a":{"const":1},"b":{"const":2}}}""", """{"b":2}""", true)]
    [InlineData("""{"type":"object","properties":{"a":{"const":1},"b":{"const":2}}}""", """{,"b":2}""", false)]
    [InlineData("""{"type":"array","items":{"type":"integer"},"minItems":2}""", "[1]", false)]
    [InlineData("""{"type":"string","format":"date"}""", "\"2026-02-30\"", true)]
    [InlineData("""{"type":"string","format":"date"}""", "\"2026-13-01\"", false)]
    public void Other_schemas_accept_what_satisfies_them(string schema, string text, bool accepted) =>
        Assert.Equal(accepted, Accepts(new ByteAutomaton(JsonSchemaReader.Read(schema)), text));

    [Theory]
    [InlineData("""{"type":"integer","minimum":3}""", "minimum")]
    [InlineData("""{"$ref":"#"}""", "leads nowhere|does not point")]
    [InlineData("""{"$ref":"#/$defs/a","$defs":{"a":{"type":"array","items":{"$ref":"#/$defs/a"}}}}""", "refers to itself")]
    [InlineData("""{"type":"strnig"}""", "a type is expected")]
    [InlineData("""{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},"b":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}}}""", "refers to itself|consists of more")]
    [InlineData("not json", "not JSON")]
    [InlineData("""{"type":"string","maxLength":9999}""", "too large")]
    [InlineData("""{"type":"object","required":["a"],"properties":{"b":{}}}""", "does not describe")]
    public void A_schema_that_cannot_be_held_to_is_refused(string schema, string reason) => Assert.Matches(
        reason, Assert.Throws<ConstraintException>(() => new ByteAutomaton(JsonSchemaReader.Read(schema))).Message);

    [Theory]
    [InlineData("(a")]
    [InlineData("a)")]
    [InlineData("[a")]
    [InlineData("*a")]
    [InlineData("a{3,2}")]
    [InlineData("a{2000}")]
    [InlineData("(?=a)")]
    [InlineData(@"(a)\1")]
    [InlineData("a^b")]
    [InlineData("((((a{1000}){1000}){1000}){1000})")]
    [InlineData("(((){1000}){1000}){1000}")]
    public void An_expression_that_cannot_be_held_to_is_refused(string expression) =>
        Assert.Throws<ConstraintException>(() => new ByteAutomaton(RegexParser.Parse(expression)));

    [Fact]
    public void The_work_for_one_token_is_bounded()
    {
        // Its deterministic form has 2^60 states, each of hundreds of nodes.
        var tokens = Table([.. Enumerable.Range(0, 4096).Select(i => Convert.ToString(i, 2).PadLeft(12, '0').Replace('0', 'a').Replace('1', 'b'))]);
        var constraint = new TokenConstraint(RegexParser.Parse("(a|b)*a(a|b){900}"), tokens);
        Assert.Throws<ConstraintException>(() =>
        {
            var state = constraint.Start;
            var random = new Random(1);
            for (var i = 0; i < 400; i++)
            {
                constraint.Allowed(state);
                state = constraint.After(state, Encoding.UTF8.GetBytes(random.Next(2) == 0 ? "aabababbabab" : "babbababaaba")) ?? throw new InvalidOperationException();
            }
        });
    }

    [Fact]
    public void Tokens_are_allowed_exactly_when_the_text_can_go_on_with_them() => Gen.Int[0, 100_000].Sample(seed =>
    {
        var random = new Random(seed);
        string[] words = ["{", "}", "\"", "{\"", "name", "\":", ":", "\"name\":", "true", " ", "1", "12", "null", "nul", "l", ",", "é", "x\"", "\"}", "a", "b"];
        var bytes = words.Select(Encoding.UTF8.GetBytes).Append(Encoding.UTF8.GetBytes("é")[..1]).Append(Encoding.UTF8.GetBytes("é")[1..]).Append([]).ToArray();
        var constraint = new TokenConstraint(
            JsonSchemaReader.Read("""{"type":"object","properties":{"name":{"type":["string","boolean","null","integer"]}},"required":["name"]}"""),
            new TokenTable(bytes.Length, id => bytes[id]));
        var state = constraint.Start;
        for (var step = 0; step < 12; step++)
        {
            var allowed = constraint.Allowed(state).ToArray();
            for (var id = 0; id < bytes.Length; id++)
            {
                var fits = bytes[id].Length > 0 && constraint.After(state, bytes[id]) is not null;
                Assert.Equal(fits, (allowed[id >> 6] >> (id & 63) & 1) == 1);
            }

            var choices = Enumerable.Range(0, bytes.Length).Where(id => (allowed[id >> 6] >> (id & 63) & 1) == 1).ToArray();
            if (choices.Length == 0)
            {
                Assert.True(state.IsComplete);
                break;
            }

            state = constraint.After(state, bytes[choices[random.Next(choices.Length)]]) ?? throw new InvalidOperationException();
        }
    }, iter: 300, threads: 1);

    private static bool Accepts(ByteAutomaton automaton, string text)
    {
        automaton.Allow();
        var state = automaton.Start;
        foreach (var value in Encoding.UTF8.GetBytes(text))
        {
            if (automaton.Next(state, value) is not { } next)
                return false;
            state = next;
        }

        return state.Accepts;
    }

    private static TokenTable Table(string[] tokens) => new(tokens.Length, id => Encoding.UTF8.GetBytes(tokens[id]));
}
