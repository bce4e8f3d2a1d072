using System.Text.Json.Nodes;
using CsCheck;
using Platform.Cli.Files;
using Platform.Cli.Output;
using Xunit;

namespace Platform.Cli.Tests.Files;

public sealed class YamlReaderTests
{
    [Theory]
    [InlineData("1", "1")]
    [InlineData("-3", "-3")]
    [InlineData("1e-3", "1e-3")]
    [InlineData("1.0E+5", "1.0E+5")]
    [InlineData(".5", "0.5")]
    [InlineData("+7", "7")]
    [InlineData("true", "true")]
    [InlineData("False", "false")]
    [InlineData("~", "null")]
    [InlineData("", "null")]
    [InlineData("1f1b", "\"1f1b\"")]
    [InlineData("yes", "\"yes\"")]
    [InlineData("512MiB", "\"512MiB\"")]
    [InlineData("\"12\"", "\"12\"")]
    [InlineData("'true'", "\"true\"")]
    [InlineData("!!str 12", "\"12\"")]
    public void Resolves_scalars_by_the_core_schema(string yaml, string json)
    {
        var source = YamlReader.Read($"key: {yaml}");

        Assert.Empty(source.Problems);
        Assert.Equal($"{{\"key\":{json}}}", source.Root?.ToJsonString());
    }

    [Fact]
    public void Remembers_the_line_of_every_field()
    {
        var source = YamlReader.Read("# first\na:\n  b: 1\n\n  c:\n    - x\n    - { d: 2,\n        e: 3 }\n");

        Assert.Equal(
            [("a", 2), ("a.b", 3), ("a.c", 5), ("a.c[0]", 6), ("a.c[1]", 7), ("a.c[1].d", 7), ("a.c[1].e", 8)],
            source.Lines.Select(line => (line.Key, line.Value)));
    }

    [Fact]
    public void Reports_every_key_that_is_there_twice()
    {
        var source = YamlReader.Read("a: 1\nb: { c: 1, c: 2 }\na: [3]\nd: 4");

        Assert.Equal([2, 3], source.Problems.Select(problem => problem.Line));
        Assert.Contains("b.c: This key is already on line 2", source.Problems[0].Message, StringComparison.Ordinal);
        Assert.Equal("""{"a":1,"b":{"c":1},"d":4}""", source.Root?.ToJsonString());
    }

    [Theory]
    [InlineData("a: 1\nb: [1, 2\nc: 3\n", 2)]
    [InlineData("a: {b: 1\n", 2)]
    [InlineData("a: 1\n  b: 2\n", 2)]
    [InlineData("a: *unknown\n", 1)]
    [InlineData("a: 1\n---\nb: 2\n", 2)]
    public void Names_the_line_of_what_is_not_yaml(string yaml, int line) =>
        Assert.Equal(line, Assert.Single(YamlReader.Read(yaml).Problems).Line);

    [Fact]
    public void Copies_what_an_anchor_named() =>
        Assert.Equal("""{"a":{"x":1},"b":{"x":1}}""", YamlReader.Read("a: &one { x: 1 }\nb: *one\n").Root?.ToJsonString());

    [Fact]
    public void An_empty_file_is_nothing()
    {
        Assert.Null(YamlReader.Read("").Root);
        Assert.Null(YamlReader.Read("# only a remark\n").Root);
    }

    [Fact]
    public void Reads_back_what_the_yaml_output_wrote()
    {
        var text = Gen.String[Gen.Char["ab1-:#{}[]&*!|>'\"%@`, \ntrue0.e+~"], 0, 12];
        Gen.Select(text.Array[0, 4], text, Gen.Double, Gen.Bool).Sample((list, word, number, flag) =>
        {
            var json = new JsonObject
            {
                ["word"] = word,
                ["list"] = new JsonArray([.. list.Select(item => JsonValue.Create(item))]),
                ["inner"] = new JsonObject { ["number"] = JsonNode.Parse(number.ToString("R", System.Globalization.CultureInfo.InvariantCulture)), ["flag"] = flag, ["nothing"] = null, ["empty"] = new JsonObject() },
            };

            var back = YamlReader.Read(YamlText.Of(json));

            Assert.Empty(back.Problems);
            Assert.Equal(json.ToJsonString(), back.Root?.ToJsonString());
        }, iter: 2000);
    }
}
