using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>Scrape configuration, recording rules and alerts.</summary>
public sealed class PrometheusTests
{
    private const string Rules = "deploy/prometheus/rules.yml";

    private static readonly string[] Configurations = ["prometheus.yml", "standalone.yml"];

    private static IEnumerable<Yaml> AllRules => Yaml.Load(Rules)["groups"].Items.SelectMany(group => group["rules"].Items);

    private static IEnumerable<string> Alerts => AllRules.Select(rule => rule["alert"].Text).OfType<string>().Distinct();

    [Fact]
    public void Promtool_accepts_the_rules() => Promtool.Accepts("check", "rules", "rules.yml");

    [Fact]
    public void Promtool_accepts_the_configurations() => Promtool.Accepts(["check", "config", .. Configurations]);

    [Fact]
    public void Alerts_fire_and_keep_quiet_as_their_unit_tests_say() => Promtool.Accepts("test", "rules", "rules_test.yml");

    [Fact]
    public void Every_alert_is_shown_firing_and_keeping_quiet()
    {
        var cases = Yaml.Load("deploy/prometheus/rules_test.yml")["tests"].Items.SelectMany(test => test["alert_rule_test"].Items)
            .ToLookup(test => test["alertname"].Text, test => test["exp_alerts"].Items.Any());
        Expect.None(Alerts.Where(alert => !cases[alert].Contains(true)).Select(alert => $"{alert} is never shown firing"));
        Expect.None(Alerts.Where(alert => !cases[alert].Contains(false)).Select(alert => $"{alert} is never shown quiet"));
    }

    [Fact]
    public void Every_series_and_label_in_a_rule_is_declared_by_a_service()
    {
        var recorded = AllRules.Select(rule => rule["record"].Text).OfType<string>().ToHashSet();
        DeclaredMetrics.Cover(AllRules.Select(rule => (rule["alert"].Text ?? rule["record"].Text ?? "", rule["expr"].Text ?? "")), recorded);
    }

    [Fact]
    public void Every_recorded_series_has_the_form_level_metric_operation() =>
        Expect.None(AllRules.Select(rule => rule["record"].Text).OfType<string>().Where(name => name.Split(':').Length != 3));

    [Fact]
    public void Every_alert_has_a_severity_a_summary_and_a_section_in_the_operations_guide()
    {
        var sections = Repository.Read("docs/operations.md").Split('\n')
            .Where(line => line.StartsWith('#')).Select(line => line.TrimStart('#').Trim().ToLowerInvariant()).ToHashSet();
        foreach (var rule in AllRules.Where(rule => rule["alert"].Exists))
        {
            var name = rule["alert"].Text ?? "";
            Assert.True(rule["labels"]["severity"].Text is "critical" or "warning", $"{name} has no severity.");
            Assert.False(string.IsNullOrWhiteSpace(rule["annotations"]["summary"].Text), $"{name} has no summary.");
            Assert.Equal($"docs/operations.md#{name.ToLowerInvariant()}", rule["annotations"]["runbook"].Text);
            Assert.Contains(name.ToLowerInvariant(), sections);
        }
    }

    [Fact]
    public void Both_configurations_load_the_rules_and_rename_the_label_job_of_training_series()
    {
        foreach (var configuration in Configurations.Select(name => Yaml.Load($"deploy/prometheus/{name}")))
        {
            Assert.Contains("rules.yml", configuration["rule_files"].Items.Select(file => file.Text));
            var jobs = configuration["scrape_configs"].Items.ToList();
            foreach (var job in jobs.Where(job => job["job_name"].Text is "scheduler" or "worker" or "platform"))
            {
                var relabelling = job["metric_relabel_configs"].Items.ToList();
                Assert.Contains(relabelling, step => step["target_label"].Text == "training_job" && step["source_labels"].Items.Single().Text == "exported_job");
                Assert.Contains(relabelling, step => step["action"].Text == "labeldrop" && step["regex"].Text == "exported_job");
            }
        }
    }

    [Fact]
    public void Scrape_targets_are_services_of_the_compose_file_and_ports_that_their_images_open()
    {
        var services = Yaml.Load("deploy/compose/compose.yaml")["services"].Entries;
        var addresses = Yaml.Load("deploy/prometheus/prometheus.yml")["scrape_configs"].Items.SelectMany(job =>
            job["static_configs"].Items.SelectMany(group => group["targets"].Items).Select(target => target.Text ?? "")
                .Concat(job["http_sd_configs"].Items.Select(discovery => new Uri(discovery["url"].Text ?? "").Authority)));
        foreach (var address in addresses)
        {
            var (service, port) = (address.Split(':')[0], address.Split(':')[1]);
            var image = Dockerfile.OfImage(services[service]["image"].Text);
            Assert.True(image.Exposes.Contains(port), $"{address} is scraped, but {image.Name} exposes {string.Join(", ", image.Exposes)}.");
            Assert.True(image.ListensOn(port), $"{address} is scraped, but no listen address of {image.Name} has this port.");
        }
    }
}
