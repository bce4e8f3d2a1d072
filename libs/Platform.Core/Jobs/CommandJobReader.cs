using System.Text.Json.Nodes;
using Platform.Core.Specs;
using Platform.Core.Validation;

namespace Platform.Core.Jobs;

/// <summary>
/// Reads a job of kind <c>CommandJob</c> from the JSON form of a job file, of <c>platform.v1.JobSpec</c> with proto field
/// names, or of <see cref="ToJson"/>; they are the same form. Reports everything that is wrong at once.
/// </summary>
public static class CommandJobReader
{
    /// <summary>The <c>kind</c> of such a job.</summary>
    public const string CommandJob = "CommandJob";

    private const string Sections = "Only a TrainingJob has this key; a CommandJob's program knows what it trains.";

    /// <summary>Whether the input says that it is such a job.</summary>
    public static bool IsCommandJob(JsonNode? input) => input is JsonObject root && SpecScalar.Text(root["kind"]) == CommandJob;

    /// <summary>Reads a job.</summary>
    /// <param name="input">What was written.</param>
    public static Validated<CommandJobSpec> Read(JsonNode? input)
    {
        var violations = new ViolationList();
        var root = SpecObject.Open(input, "", violations);
        if (!root.IsReadable)
            return violations.Conclude<CommandJobSpec>(input, new CommandJobSpec { Name = "", Command = [] });

        root.Choice("kind", Choices.Of(CommandJob), CommandJob);
        var name = root.OptionalName("name");
        if (!root.Has("name"))
            root.Miss("name", "a name for the job: " + ResourceId.Rule);
        var command = root.Texts("command");
        if (command.Count == 0)
            root.Miss("command", "a program and its arguments, as a list");
        if (root.Take("image") is not null)
            root.Refuse("image", "Container images are not used by this release's nodes; install the program on them and remove the key.");
        foreach (var key in (ReadOnlySpan<string>)["model", "data", "parallelism", "lora", "training", "optimizer", "checkpoint", "output"])
        {
            if (root.Take(key) is not null)
                root.Refuse(key, Sections);
        }

        var resources = root.Section("resources");
        var spec = new CommandJobSpec
        {
            Name = name ?? "unnamed",
            Queue = root.OptionalName("queue") ?? "default",
            Priority = root.Int("priority", -1_000_000, 1_000_000, 100),
            Command = command,
            Environment = ReadEnvironment(root),
            Ranks = resources.Int("ranks", 1, 65_536, 1),
            DevicesPerRank = resources.Int("devices_per_rank", 1, 1024, 1),
            Resources = ReadResources(resources),
            Retries = new RetrySpec { MaxRestarts = root.Section("retries").Int("max_restarts", 0, 10_000, 5) },
        };
        root.Close();
        UnavailableFeatures.CheckJob(input, violations);
        return violations.Conclude(input, spec);
    }

    /// <summary>The canonical form.</summary>
    public static JsonObject ToJson(CommandJobSpec spec)
    {
        var resources = new JsonObject
        {
            ["device"] = spec.Resources.Device,
            ["device_share"] = spec.Resources.DeviceMilli / 1000.0,
            ["ranks"] = spec.Ranks,
            ["devices_per_rank"] = spec.DevicesPerRank,
        };
        if (spec.Resources.DataTopology is { } level)
            resources["topology"] = new JsonObject { ["data"] = level };
        if (spec.Resources.DeviceMemoryBytes is { } deviceMemory)
            resources["device_memory"] = ByteSize.Format(deviceMemory);
        if (spec.Resources.MemoryBytes is { } memory)
            resources["memory"] = ByteSize.Format(memory);
        if (spec.Resources.ExpectedRuntimeSeconds is { } runtime)
            resources["expected_runtime_s"] = runtime;
        JobSpecWriter.WriteNodes(resources, spec.Resources);
        return new JsonObject
        {
            ["kind"] = CommandJob,
            ["name"] = spec.Name,
            ["queue"] = spec.Queue,
            ["priority"] = spec.Priority,
            ["command"] = new JsonArray([.. spec.Command.Select(word => JsonValue.Create(word))]),
            ["env"] = new JsonObject(spec.Environment.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)JsonValue.Create(entry.Value)))),
            ["resources"] = resources,
            ["retries"] = new JsonObject { ["max_restarts"] = spec.Retries.MaxRestarts },
        };
    }

    private static Dictionary<string, string> ReadEnvironment(SpecObject root)
    {
        var variables = new Dictionary<string, string>();
        switch (root.Take("env"))
        {
            case null:
                break;
            case JsonObject given:
                foreach (var (name, value) in given)
                {
                    if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal) || value is null or JsonObject or JsonArray)
                        root.Refuse($"env.{name}", "Expected a name and a text.");
                    else
                        variables[name] = SpecScalar.Text(value) ?? value.ToJsonString();
                }

                break;
            default:
                root.Refuse("env", "Expected names with values.");
                break;
        }

        return variables;
    }

    private static ResourceSpec ReadResources(SpecObject resources)
    {
        if (resources.Take("elastic") is not null)
            resources.Refuse("elastic", "Only a TrainingJob can change its width; a CommandJob keeps its ranks.");
        var topology = resources.Section("topology");
        foreach (var key in (ReadOnlySpan<string>)["tensor", "pipeline"])
        {
            if (topology.Take(key) is not null)
                topology.Refuse(key, "A CommandJob's ranks are one group; give data, the level within which all of them stay.");
        }

        return new ResourceSpec
        {
            Device = resources.Choice("device", JobChoices.Devices, "cpu"),
            DeviceMilli = (int)Math.Round(resources.Number("device_share", new(0.001, 1), 1) * 1000),
            DeviceMemoryBytes = resources.Size("device_memory", 1 << 20),
            MemoryBytes = resources.Size("memory", 1 << 20),
            DataTopology = topology.Has("data") ? topology.Choice("data", JobChoices.TopologyLevels, "zone") : null,
            ExpectedRuntimeSeconds = resources.Has("expected_runtime_s") ? resources.Number("expected_runtime_s", new(0, 1e9, ExcludesMin: true), 1) : null,
            AllowsSpot = resources.Choice("spot", JobChoices.Spot, "forbidden") == "allowed",
            NodeGroup = resources.OptionalName("node_group"),
            Ephemeral = resources.Choice("cluster", JobChoices.Clusters, "shared") == "ephemeral",
        };
    }
}
