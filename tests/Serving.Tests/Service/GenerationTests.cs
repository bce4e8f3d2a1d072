using System.Text;
using Grpc.Core;
using Platform.Internal.V1;
using Platform.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class GenerationTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_foreign_hugging_face_directory_answers_greedily_as_a_scalar_fp64_forward_pass_says()
    {
        await using var replica = await StartAsync();
        var scalar = new ScalarForward(replica.Model);
        foreach (var (length, seed) in new[] { (1, 1), (9, 2), (33, 3) })
        {
            var prompt = Prompt(length, seed);
            var output = await replica.GenerateAsync(Request(prompt, new SamplingParams { Temperature = 0, MaxTokens = 10, IgnoreEos = true }));
            Assert.Equal(scalar.Greedy(prompt, 10), output.Only);
            Assert.Equal("length", output.Reason);
            Assert.Equal((length, 10), (output.Usage?.PromptTokens, output.Usage?.CompletionTokens));
        }
    }

    [Fact]
    public async Task Logits_equal_the_scalar_forward_pass_alone_and_batched()
    {
        await using var replica = await StartAsync();
        var scalar = new ScalarForward(replica.Model);
        int[][] prompts = [Prompt(3, 1), Prompt(40, 2), Prompt(18, 3)];
        var request = new LogitsRequest();
        foreach (var prompt in prompts)
            request.Prompts.Add(new Prompt { TokenIds = { prompt } });
        var batched = await replica.Client.LogitsAsync(request, cancellationToken: Cancel);
        for (var i = 0; i < prompts.Length; i++)
        {
            var alone = await replica.Client.LogitsAsync(new LogitsRequest { Prompts = { request.Prompts[i] } }, cancellationToken: Cancel);
            var expected = scalar.Logits(prompts[i]);
            Assert.Equal(alone.Rows[0].Values, batched.Rows[i].Values);
            Assert.All(expected.Zip(alone.Rows[0].Values), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        }
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("chunked", "--max-num-batched-tokens", "20", "--max-num-seqs", "16")]
    [InlineData("preempted", "--kv-cache-bytes", "120KiB", "--max-num-seqs", "16", "--prefix-caching", "false")]
    public async Task Sixteen_concurrent_streams_each_get_the_text_they_get_alone(string name, params string[] options)
    {
        var requests = Enumerable.Range(0, 16).Select(i => Request(
            Prompt(1 + (i * 3), i), new SamplingParams { Temperature = 0.9, TopP = 0.95, TopK = 60, Seed = i, MaxTokens = 24, RepetitionPenalty = 1.1 })).ToList();
        var alone = new List<Output>();
        await using (var replica = await StartAsync())
        {
            foreach (var request in requests)
                alone.Add(await replica.GenerateAsync(request));
        }

        await using var busy = await StartAsync(options);
        var before = Counter(await busy.MetricsAsync(), "platform_serving_num_preemptions_total");
        var preempted = false;
        // Whether streams of a few milliseconds meet in the engine is up to the machine, so they get several chances.
        for (var attempt = 0; attempt < 50 && !preempted; attempt++)
        {
            var together = await Task.WhenAll(requests.Select(busy.GenerateAsync));
            for (var i = 0; i < requests.Count; i++)
            {
                Assert.Equal(alone[i].Only, together[i].Only);
                Assert.Equal(alone[i].Text, together[i].Text);
            }

            preempted = name != "preempted" || Counter(await busy.MetricsAsync(), "platform_serving_num_preemptions_total") > before;
        }

        Assert.True(preempted, "Nothing was preempted.");
        Assert.True(alone.Select(output => output.Text).Distinct().Count() > 10, "The streams are too alike to show anything.");
    }

    [Fact]
    public async Task Choices_differ_and_the_first_is_what_a_single_choice_gives()
    {
        await using var replica = await StartAsync();
        var sampling = new SamplingParams { Temperature = 1, Seed = 5, MaxTokens = 12, IgnoreEos = true };
        var single = await replica.GenerateAsync(Request(Prompt(20, 1), sampling));
        var output = await replica.GenerateAsync(Request(Prompt(20, 1), new SamplingParams(sampling) { N = 3 }));
        Assert.Equal(3, output.Tokens.Count);
        Assert.Equal(single.Only, output.Tokens[0]);
        Assert.Equal(3, output.Texts.Values.Distinct().Count());
        Assert.Equal(36, output.Usage?.CompletionTokens);
    }

    [Fact]
    public async Task A_stream_continues_elsewhere_from_the_tokens_already_produced()
    {
        await using var replica = await StartAsync();
        var sampling = new SamplingParams { Temperature = 1, Seed = 11, MaxTokens = 20, IgnoreEos = true, FrequencyPenalty = 0.5 };
        var whole = await replica.GenerateAsync(Request(Prompt(10, 1), sampling));
        var rest = await replica.GenerateAsync(Request(Prompt(10, 1), sampling, [.. whole.Only[..7]]));
        Assert.Equal(whole.Only[7..], rest.Only);
        Assert.Equal(7, rest.FirstIndex);
        Assert.EndsWith(rest.Text, whole.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Text_is_the_tokens_bytes_and_ends_before_a_stop_string_that_spans_tokens()
    {
        await using var replica = await StartAsync();
        // Only two-byte characters and letters, so that texts are readable and characters span tokens.
        var sampling = new SamplingParams { Temperature = 1.5, Seed = 3, MaxTokens = 60, IgnoreEos = true };
        foreach (var token in Enumerable.Range(0, 272).Where(token => token is not (>= 'a' and <= 'f') and not 0xC3 and not 0xA9))
            sampling.LogitBias.Add(token, -100);
        var whole = await replica.GenerateAsync(Request(Prompt(10, 1), sampling));
        Assert.Equal(Encoding.UTF8.GetString([.. whole.Only.Select(token => (byte)token)]), whole.Text);

        var stop = whole.Text.Substring(whole.Text.Length / 2, 3);
        var stopped = await replica.GenerateAsync(Request(Prompt(10, 1), new SamplingParams(sampling) { Stop = { stop, "never said" } }));
        Assert.Equal(whole.Text[..whole.Text.IndexOf(stop, StringComparison.Ordinal)], stopped.Text);
        Assert.Equal("stop", stopped.Reason);
        Assert.Equal(whole.Only[..stopped.Only.Count], stopped.Only);
    }

    [Fact]
    public async Task Ends_at_stop_tokens_and_at_the_models_end_of_text_unless_told_to_ignore_it()
    {
        await using var replica = await StartAsync();
        var greedy = new SamplingParams { Temperature = 0, MaxTokens = 8, IgnoreEos = true };
        var whole = await replica.GenerateAsync(Request(Prompt(10, 1), greedy));
        var index = whole.Only.FindIndex(token => whole.Only.IndexOf(token) > 0);
        var stopped = await replica.GenerateAsync(Request(Prompt(10, 1), new SamplingParams(greedy) { StopTokenIds = { whole.Only[index] } }));
        Assert.Equal(whole.Only[..(index + 1)], stopped.Only);
        Assert.Equal("stop", stopped.Reason);

        var ending = new SamplingParams { Temperature = 0, MaxTokens = 8, LogitBias = { [257] = 100 } };
        var ended = await replica.GenerateAsync(Request(Prompt(10, 1), ending));
        Assert.Equal([257], ended.Only);
        Assert.Equal(("", "stop"), (ended.Text, ended.Reason));
        var ignored = await replica.GenerateAsync(Request(Prompt(10, 1), new SamplingParams(ending) { IgnoreEos = true }));
        Assert.Equal((8, "length"), (ignored.Only.Count, ignored.Reason));
    }

    [Fact]
    public async Task Log_probabilities_come_with_each_token()
    {
        await using var replica = await StartAsync();
        var output = await replica.GenerateAsync(Request(Prompt(10, 1), new SamplingParams { Temperature = 0, MaxTokens = 4, Logprobs = 2, IgnoreEos = true }));
        Assert.Equal(output.Only, output.Logprobs.Select(entry => entry.TokenId));
        Assert.All(output.Logprobs, entry =>
        {
            Assert.Equal(entry.TokenId, entry.TopIds[0]);
            Assert.Equal(entry.Logprob, entry.TopLogprobs[0]);
            Assert.True(entry.TopLogprobs[1] <= entry.TopLogprobs[0]);
        });
    }

    [Fact]
    public async Task Clients_that_leave_free_their_blocks()
    {
        await using var replica = await StartAsync("--max-num-seqs", "1", "--max-queued-requests", "200");
        // One after the other these take a second or so: not all of them have ended when their clients leave.
        var calls = Enumerable.Range(0, 60)
            .Select(i => replica.Client.Generate(Request(Prompt(10, i), new SamplingParams { MaxTokens = 149, IgnoreEos = true }), cancellationToken: Cancel))
            .ToList();
        await replica.WaitAsync(state => state.Running == 1 && state.Waiting > 0 && state.KvBlocksFree < state.KvBlocksTotal);
        calls.ForEach(call => call.Dispose());
        await replica.WaitAsync(state => state.Running + state.Waiting == 0 && state.KvBlocksFree == state.KvBlocksTotal);
        Assert.True(Counter(await replica.MetricsAsync(), "platform_serving_request_success_total", "cancelled") > 0);
    }

    [Fact]
    public async Task A_full_queue_refuses_with_a_retry_delay_and_recovers()
    {
        await using var replica = await StartAsync("--max-num-seqs", "1", "--max-queued-requests", "1");
        // Two sequences of 158 tokens fill the replica, and all calls are on their way before the first of them can end.
        var calls = await Task.WhenAll(Enumerable.Range(0, 64).Select(async _ =>
        {
            try
            {
                return ((await replica.GenerateAsync(Request([1], new SamplingParams { MaxTokens = 158, IgnoreEos = true }))).Reason, null);
            }
            catch (RpcException exception)
            {
                return ((string?)null, (RpcException?)exception);
            }
        }));
        Assert.Contains(calls, call => call.Item1 == "length");
        var refusals = calls.Select(call => call.Item2).OfType<RpcException>().ToList();
        Assert.NotEmpty(refusals);
        Assert.All(refusals, refusal =>
        {
            Assert.Equal(StatusCode.ResourceExhausted, refusal.StatusCode);
            Assert.NotNull(refusal.GetRpcStatus()?.GetDetail<Google.Rpc.RetryInfo>());
        });
        Assert.Equal("length", (await replica.GenerateAsync(Request([1], new SamplingParams { MaxTokens = 2, IgnoreEos = true }))).Reason);
    }

    [Fact]
    public async Task Stopping_lets_streams_end_and_refuses_new_ones()
    {
        await using var replica = await StartAsync();
        var running = replica.GenerateAsync(Request(Prompt(10, 1), new SamplingParams { MaxTokens = 100, Seed = 1, IgnoreEos = true }));
        await replica.WaitAsync(state => state.Running == 1 || running.IsCompleted);
        await replica.App.StopAsync(Cancel);
        Assert.Equal(100, (await running).Only.Count);
    }

    [Fact]
    public async Task Metrics_count_tokens_and_time_requests()
    {
        await using var replica = await StartAsync("--name", "metered");
        var request = Request(Prompt(40, 1), new SamplingParams { MaxTokens = 5, IgnoreEos = true });
        request.Model = "metered";
        await replica.GenerateAsync(request);
        await replica.GenerateAsync(request);
        await replica.WaitAsync(state => state.Running == 0);
        var metrics = await replica.MetricsAsync();
        Assert.Equal(10, Counter(metrics, "platform_serving_generation_tokens_total", "metered"));
        Assert.Equal(80 - 32, Counter(metrics, "platform_serving_prompt_tokens_total", "metered"));
        Assert.Equal(32, Counter(metrics, "platform_serving_prefix_cache_hits_total", "metered"));
        Assert.Equal(2, Counter(metrics, "gen_ai_server_time_to_first_token_seconds_count", "metered"));
        Assert.Equal(2, Counter(metrics, "gen_ai_server_time_per_output_token_seconds_count", "metered"));
        Assert.Contains("platform_serving_request_success_total{model_name=\"metered\",finished_reason=\"length\"} 2", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_is_charged_its_share_of_the_iterations_it_took_part_in()
    {
        await using var replica = await StartAsync();
        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(i => replica.GenerateAsync(
            Request(Prompt(20, i), new SamplingParams { MaxTokens = 30, Seed = 1, IgnoreEos = true }))));
        var elapsed = System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds;
        Assert.All(answers, answer => Assert.True(answer.Usage?.DeviceSeconds > 0));
        // Shares of the same iterations cannot add up to more than the time that passed.
        Assert.True(answers.Sum(answer => answer.Usage?.DeviceSeconds) <= elapsed);
    }

    [Fact]
    public async Task Engine_figures_carry_the_names_that_dashboards_for_vLLM_ask_for()
    {
        await using var replica = await StartAsync("--name", "dashboards");
        var request = Request(Prompt(40, 1), new SamplingParams { MaxTokens = 5, IgnoreEos = true, N = 2 });
        request.Model = "dashboards";
        await replica.GenerateAsync(request);
        await replica.WaitAsync(state => state.Running == 0);
        var metrics = await replica.MetricsAsync();
        foreach (var gauge in new[] { "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc" })
            Assert.Contains($"\n# TYPE vllm:{gauge} gauge\nvllm:{gauge}{{engine=\"0\",model_name=", metrics, StringComparison.Ordinal);
        Assert.Equal(10, Counter(metrics, "vllm:generation_tokens_total", "dashboards"));
        Assert.Equal(Counter(metrics, "platform_serving_prompt_tokens_total", "dashboards"), Counter(metrics, "vllm:prompt_tokens_total", "dashboards"));
        Assert.Contains("vllm:request_success_total{engine=\"0\",model_name=\"dashboards\",finished_reason=\"length\"} 2", metrics, StringComparison.Ordinal);
        Assert.Contains("vllm:cache_config_info{engine=\"0\",model_name=\"dashboards\",block_size=\"16\",", metrics, StringComparison.Ordinal);
        Assert.Equal(8, Counter(metrics, "vllm:inter_token_latency_seconds_count", "dashboards"));
        Assert.Equal(40, Counter(metrics, "vllm:request_prompt_tokens_sum", "dashboards"));
        Assert.Equal(5, Counter(metrics, "vllm:request_max_num_generation_tokens_sum", "dashboards"));
        Assert.Equal(2, Counter(metrics, "vllm:request_params_n_sum", "dashboards"));
        foreach (var histogram in new[]
            {
                "time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds",
                "request_decode_time_seconds", "request_inference_time_seconds", "request_generation_tokens",
            })
            Assert.Equal(2, Counter(metrics, $"vllm:{histogram}_count", "dashboards"));
        Assert.Equal(
            Counter(metrics, "vllm:e2e_request_latency_seconds_sum", "dashboards"),
            Counter(metrics, "vllm:request_queue_time_seconds_sum", "dashboards") + Counter(metrics, "vllm:request_inference_time_seconds_sum", "dashboards"), 1e-6);
    }

    private static double Counter(string metrics, string name, string model = "tiny") => metrics.Split('\n')
        .Where(line => line.StartsWith(name + "{", StringComparison.Ordinal) && line.Contains($"\"{model}\"", StringComparison.Ordinal))
        .Select(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..])).Sum();
}
