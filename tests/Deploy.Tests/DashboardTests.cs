using System.Text.Json;
using System.Text.RegularExpressions;
using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>The Grafana dashboard and its provisioning.</summary>
public sealed class DashboardTests
{
    private const string File = "deploy/grafana/dashboards/platform.json";

    private static readonly JsonElement Dashboard = JsonDocument.Parse(Repository.Read(File)).RootElement;

    private static IEnumerable<JsonElement> Panels =>
        Dashboard.GetProperty("panels").EnumerateArray().Where(panel => panel.GetProperty("type").GetString() != "row");

    private static IEnumerable<(string Panel, string Expression)> Expressions =>
        from panel in Panels
        from target in panel.GetProperty("targets").EnumerateArray()
        select (panel.GetProperty("title").GetString() ?? "", target.GetProperty("expr").GetString() ?? "");

    [Fact]
    public void Every_panel_has_a_title_and_asks_the_provisioned_data_source_something()
    {
        var uid = Yaml.Load("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"].Items.Single()["uid"].Text;
        Assert.True(Panels.Count() > 20);
        Assert.All(Panels, panel =>
        {
            var title = panel.GetProperty("title").GetString();
            Assert.False(string.IsNullOrWhiteSpace(title));
            Assert.Equal(uid, panel.GetProperty("datasource").GetProperty("uid").GetString());
            Assert.NotEmpty(panel.GetProperty("targets").EnumerateArray());
        });
        Assert.All(Expressions, entry => Assert.False(string.IsNullOrWhiteSpace(entry.Expression), entry.Panel));
    }

    [Fact]
    public void Every_series_and_label_in_a_panel_is_declared_by_a_service() =>
        DeclaredMetrics.Cover(Expressions, new HashSet<string>());

    [Fact]
    public void Every_variable_asks_for_a_series_and_label_that_exist_and_is_used()
    {
        foreach (var variable in Dashboard.GetProperty("templating").GetProperty("list").EnumerateArray())
        {
            var name = variable.GetProperty("name").GetString() ?? "";
            var query = Regex.Match(variable.GetProperty("definition").GetString() ?? "", @"^label_values\((\w+), (\w+)\)$");
            Assert.True(DeclaredMetrics.Exports(query.Groups[1].Value), $"{name}: {query.Groups[1].Value}");
            Assert.Contains(query.Groups[2].Value, DeclaredMetrics.Labels);
            Assert.Contains(Expressions, entry => entry.Expression.Contains($"\"${name}\"", StringComparison.Ordinal));
        }
        Assert.Equal(["job", "model"], Dashboard.GetProperty("templating").GetProperty("list").EnumerateArray().Select(variable => variable.GetProperty("name").GetString()));
    }

    [Fact]
    public void Prometheus_understands_every_expression()
    {
        // As rules, so that promtool parses them.
        var file = Path.Combine(Path.GetTempPath(), $"platform-dashboard-{Guid.NewGuid():N}.yml");
        var rules = Expressions.Select((entry, i) => $"  - record: panel:{i}\n    expr: {JsonSerializer.Serialize(entry.Expression)}\n");
        try
        {
            System.IO.File.WriteAllText(file, $"groups:\n- name: dashboard\n  rules:\n{string.Concat(rules)}");
            Promtool.Accepts("check", "rules", file);
        }
        finally
        {
            System.IO.File.Delete(file);
        }
    }

    [Fact]
    public void Panels_do_not_overlap_and_ids_are_unique()
    {
        var all = Dashboard.GetProperty("panels").EnumerateArray().ToList();
        Assert.Equal(all.Count, all.Select(panel => panel.GetProperty("id").GetInt32()).Distinct().Count());
        var cells =
            from panel in all
            let position = panel.GetProperty("gridPos")
            from x in Enumerable.Range(position.GetProperty("x").GetInt32(), position.GetProperty("w").GetInt32())
            from y in Enumerable.Range(position.GetProperty("y").GetInt32(), position.GetProperty("h").GetInt32())
            select (x, y);
        var taken = cells.ToList();
        Assert.Equal(taken.Count, taken.Distinct().Count());
        Assert.All(taken, cell => Assert.InRange(cell.x, 0, 23));
    }
}
