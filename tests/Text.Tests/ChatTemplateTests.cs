using System.Text.Json.Nodes;
using CsCheck;
using Platform.Text.Templates;
using Xunit;

namespace Platform.Text.Tests;

public sealed class ChatTemplateTests
{
    private static readonly ChatMessage[] Conversation = [new("system", "Be brief. "), new("user", "Hi"), new("assistant", " Hello! "), new("user", "2+2?")];

    [Fact]
    public void ChatMl_is_rendered_as_the_models_were_trained()
    {
        const string Expected = "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Hello! <|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n";
        Assert.Equal(Expected, ChatTemplate.ChatMl.Render(ChatTemplateInput.Of(Conversation)));
        Assert.Equal(Expected, Load("qwen2").Render(ChatTemplateInput.Of(Conversation)));
        Assert.Equal("<|im_start|>user\nHi<|im_end|>\n", ChatTemplate.ChatMl.Render(ChatTemplateInput.Of([new("user", "Hi")]) with { AddGenerationPrompt = false }));
    }

    [Fact]
    public void A_model_without_a_template_goes_on_from_the_contents()
    {
        Assert.Equal("Once\nupon", ChatTemplate.PlainCompletion.Render(ChatTemplateInput.Of([new("user", "Once"), new("user", "upon")])));
    }

    [Fact]
    public void Qwen_with_tools_and_without_thinking()
    {
        var input = new ChatTemplateInput
        {
            Messages = (JsonArray)JsonNode.Parse("""[{"role":"user","content":"Weather?"},{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"get","arguments":{"city":"Köln","days":2,"hot":true,"x":null}}}]},{"role":"tool","content":"sunny"},{"role":"tool","content":"warm"}]""")!,
            Tools = (JsonArray)JsonNode.Parse("""[{"type":"function","function":{"name":"get","parameters":{"a":[1,2.0]}}}]""")!,
            Variables = new JsonObject { ["enable_thinking"] = false },
        };
        Assert.Equal(
            "<|im_start|>system\nYou are a helpful assistant.\n\n# Tools\n\n<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"get\", \"parameters\": {\"a\": [1, 2.0]}}}\n</tools><|im_end|>\n"
            + "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"Köln\", \"days\": 2, \"hot\": true, \"x\": null}}\n</tool_call><|im_end|>\n"
            + "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>\n<tool_response>\nwarm\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            Load("qwen2").Render(input));
    }

    [Fact]
    public void Llama_3_with_a_date_and_a_system_message()
    {
        var input = ChatTemplateInput.Of(Conversation) with { BeginOfSequenceToken = "<|begin_of_text|>", Now = new DateTimeOffset(2026, 3, 5, 0, 0, 0, TimeSpan.Zero) };
        Assert.Equal(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 05 Mar 2026\n\nBe brief.<|eot_id|>"
            + "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
            + "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            Load("llama3").Render(input));
    }

    [Fact]
    public void Mistral_puts_the_system_message_into_the_last_turn()
    {
        var input = ChatTemplateInput.Of(Conversation) with { BeginOfSequenceToken = "<s>", EndOfSequenceToken = "</s>" };
        Assert.Equal("<s>[INST] Hi[/INST] Hello!</s>[INST] Be brief. \n\n2+2?[/INST]", Load("mistral").Render(input));
    }

    [Fact]
    public void A_conversation_the_template_refuses_gives_its_reason()
    {
        var input = ChatTemplateInput.Of([new("user", "a"), new("user", "b")]);
        Assert.Contains("must alternate", Assert.Throws<ChatTemplateRefusedException>(() => Load("mistral").Render(input)).Message, StringComparison.Ordinal);
    }

    /// <summary>Each expectation is what Jinja 3.1 with trim_blocks and lstrip_blocks gives.</summary>
    public static TheoryData<string, string> Constructs => new()
    {
        { "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc" },
        { "{% for i in [1,2] %}\n{{ i }}\n{% endfor %}\nx", "1\n2\nx" },
        { "a  {%- if true -%}  b  {%- endif -%}  c", "abc" },
        { "  {{ 'x' }}  \n  {# note #}\n  y", "  x  \n  y" },
        { "a {%+ if true %}b{% endif %}", "a b" },
        { "{% raw %}{{ x }}{% endraw %}!", "{{ x }}!" },
        { "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1,'b'] ~ {'k': \"it's\"} }}", "a1NoneTrue1.0[1, 'b']{'k': \"it's\"}" },
        { "{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}", "6 1 -4 2 3.5" },
        { "{{ not true or true and false }} {{ 1 < 2 < 3 }} {{ 3 in [1,2] }} {{ 'a' not in 'abc' }}", "False True False False" },
        { "{{ 'yes' if x is defined else 'no' }}{{ 'a' if false }}", "no" },
        { "{{ x }}|{{ x | default('d') }}|{{ '' | default('e', true) }}|{{ none | default('f') }}", "|d|e|None" },
        { "{{ [1,2,3][1:] }}{{ 'abc'[::-1] }}{{ 'abcd'[-3:-1] }}{{ [1,2,3][-1] }}", "[2, 3]cbabc3" },
        { "{% for a, b in {'x': 1, 'y': 2}.items() %}{{ loop.index }}{{ a }}{{ b }}{{ ',' if not loop.last }}{% endfor %}", "1x1,2y2" },
        { "{% for i in [] %}a{% else %}none{% endfor %}", "none" },
        { "{% for i in range(5) if i is odd %}{{ i }}{{ loop.length }}{% endfor %}", "1232" },
        { "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "013" },
        { "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1" },
        { "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "2" },
        { "{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6" },
        { "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}x{{ a }}{% endset %}{{ c }}", "12x1" },
        { "{% macro m(a, b='B', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}", "[1BNone][1B3]" },
        { "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210" },
        { "{{ ' a b '|trim|upper }}{{ 'aXa'|replace('a','b') }}{{ ['a','b']|join('-') }}{{ 'hello world'|title }}{{ 'ABC'|capitalize }}", "A BbXba-bHello WorldAbc" },
        { "{{ [3,1]|first }}{{ [3,1]|last }}{{ 'abc'|length }}{{ [1,1,2]|unique|list }}{{ [1,2]|reverse|list }}", "313[1, 2][2, 1]" },
        { "{{ [{'r':'u'},{'r':'s'}]|selectattr('r','equalto','u')|map(attribute='r')|join }}{{ [0,1]|select|list }}{{ ['a']|map('upper')|list }}", "u[1]['A']" },
        { "{{ {'a': [1, 2], 'é': \"q\\\"\"}|tojson }}{{ [1]|tojson(indent=2) }}", "{\"a\": [1, 2], \"é\": \"q\\\"\"}[\n  1\n]" },
        { "{{ 'a,b,c'.split(',')[1] }}{{ '  x '.strip() }}{{ 'xay'.strip('xy') }}{{ 'ab'.startswith('a') }}{{ {'k':1}.get('z', 5) }}", "bxaTrue5" },
        { "{{ 'a' is string }}{{ 1 is string }}{{ {} is mapping }}{{ [] is iterable }}{{ 1 is number }}{{ none is none }}{{ 4 is divisibleby 2 }}{{ 1 is in [1] }}", "TrueFalseTrueTrueTrueTrueTrueTrue" },
        { "{{ ({'content': 'c'}).content }}{{ {'items': 1}['items'] }}{{ 'a' 'b' }}{{ (1, 2)|length }}", "c1ab2" },
        { "{{ 'it''s' }}{{ \"\\u00e9\\t\" }}{{ 'a\\\\b' }}", "itsé\ta\\b" },
        { "{{ 'l1\nl2'|indent(2) }}{{ '5'|int + 1 }}{{ 'x'|int(7) }}{{ 3|string + 'a' }}{{ 2|float }}", "l1\n  l2673a2.0" },
        { "{% generation %}x{% endgeneration %}", "x" },
        { "{{ '%}' }}{{ '}}' }}{{ {'a': {'b': 1}} }}", "%}}}{'a': {'b': 1}}" },
        { "{% if 'a' == 'a' and not 1 == 2 %}ok{% elif true %}no{% else %}no{% endif %}", "ok" },
    };

    [Theory]
    [MemberData(nameof(Constructs))]
    public void Constructs_render_as_in_Jinja(string template, string expected)
    {
        Assert.Equal(expected, ChatTemplate.Parse(template).Render(ChatTemplateInput.Of([])));
    }

    [Theory]
    [InlineData("{% include 'x' %}", "'include'")]
    [InlineData("\n{% extends 'x' %}", "line 2: the statement 'extends'")]
    [InlineData("{{ 'a' | pprint }}", "the filter 'pprint'")]
    [InlineData("{{ 1 is prime }}", "the test 'prime'")]
    [InlineData("{{ ''.__class__ }}{{ ''.__class__() }}", "undefined")]
    [InlineData("{{ 2 ** 3 }}", "'**'")]
    [InlineData("{{ f(*a) }}", "'*'")]
    [InlineData("{{ 'x' % 1 }}", "'%'")]
    [InlineData("{{ open('f') }}", "'open', which is undefined")]
    [InlineData("{{ x.y }}", "'x' is undefined")]
    [InlineData("{{ 'a' + 1 }}", "'+' does not work on a string and an integer")]
    [InlineData("{{ 1 / 0 }}", "division by zero")]
    [InlineData("{% if true %}", "'endif' is missing")]
    [InlineData("{% endif %}", "closes nothing")]
    [InlineData("{% for x in y %}{% endif %}", "'endfor'")]
    [InlineData("{{ a", "not closed")]
    [InlineData("{{ 'a }}", "not closed")]
    [InlineData("{{ a b }}", "end of the tag")]
    [InlineData("{% break %}", "'break'")]
    [InlineData("{% set messages.x = 1 %}", "no namespace")]
    [InlineData("{{ 'a'|tojson(ensure_ascii=true) }}", "ensure_ascii")]
    [InlineData("{{ 'a'|trim('a', 'b') }}", "1 are supported")]
    [InlineData("{{ 9223372036854775807 + 1 }}", "64 bits")]
    public void What_is_not_supported_or_wrong_is_named(string template, string reason)
    {
        Assert.Contains(reason, Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render(ChatTemplateInput.Of([]))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "characters")]
    [InlineData("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}", "")]
    [InlineData("{% set ns = namespace(s=[1]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}", "nested")]
    [InlineData("{{ 'abc' * 999999999999 }}", "characters")]
    [InlineData("{% for i in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "exceeds")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested")]
    [InlineData("{{ range(999999999) }}", "range")]
    public void A_hostile_template_runs_into_a_limit(string template, string reason)
    {
        Assert.Contains(reason, Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render(ChatTemplateInput.Of([]))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Deeply_nested_templates_are_refused_and_do_not_overflow_the_stack()
    {
        string[] templates =
        [
            "{{ " + new string('(', 100_000) + " }}",
            "{{ " + new string('[', 100_000) + " }}",
            "{{ " + string.Concat(Enumerable.Repeat("- ", 100_000)) + " }}",
            "{{ 1" + string.Concat(Enumerable.Repeat(" if 1 else 1", 50_000)) + " }}",
            "{{ 1" + string.Concat(Enumerable.Repeat("+1", 100_000)) + " }}",
            "{{ 0" + string.Concat(Enumerable.Repeat(" or 0", 100_000)) + " }}",
            "{{ ''" + string.Concat(Enumerable.Repeat("|trim", 100_000)) + " }}",
            "{{ x" + string.Concat(Enumerable.Repeat(".x", 100_000)) + " }}",
            string.Concat(Enumerable.Repeat("{% if true %}", 10_000)),
        ];
        foreach (var template in templates)
        {
            Assert.Contains("nested", Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render(ChatTemplateInput.Of([]))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Any_mutation_of_a_template_renders_or_fails_by_its_own_exceptions()
    {
        var sources = new[] { Load("llama3").Source, Load("qwen2").Source, Load("mistral").Source };
        Gen.Select(Gen.Int[0, 2], Gen.Select(Gen.Int[0, 3000], Gen.Int[0, 40], Gen.Int[0, 3000]).Array[1, 3]).Sample(
            (which, edits) =>
            {
                var source = sources[which];
                foreach (var (at, length, from) in edits)
                {
                    var place = Math.Min(at, source.Length);
                    var donor = sources[(which + 1) % 3];
                    var piece = donor.Substring(Math.Min(from, donor.Length - 1), Math.Min(length, donor.Length - Math.Min(from, donor.Length - 1)));
                    source = source[..place] + piece + source[Math.Min(source.Length, place + length)..];
                }
                try
                {
                    _ = ChatTemplate.Parse(source).Render(ChatTemplateInput.Of(Conversation));
                }
                catch (Exception e) when (e is ChatTemplateException or ChatTemplateRefusedException)
                {
                }
            },
            iter: 3000);
    }

    private static ChatTemplate Load(string name) => ChatTemplate.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "templates", name + ".jinja")));
}
