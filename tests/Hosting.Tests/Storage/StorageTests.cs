using Microsoft.EntityFrameworkCore;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Database;
using Platform.Hosting.Ranks;
using Platform.Core.Gangs;
using Platform.Testing;
using Xunit;

namespace Platform.Hosting.Tests.Storage;

public sealed class StorageTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void An_atomic_write_replaces_the_file_and_leaves_nothing_else()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("a/b.json");
        AtomicFile.WriteText(path, "one");
        AtomicFile.WriteText(path, "two");
        Assert.Equal("two", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFiles(directory.File("a")));
        Assert.Throws<ArgumentException>(() => AtomicFile.WriteText("relative", "x"));
    }

    [Fact]
    public void A_failed_atomic_write_keeps_what_was_there()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("taken");
        Directory.CreateDirectory(Path.Combine(path, "full"));
        Assert.ThrowsAny<Exception>(() => AtomicFile.WriteText(path, "x"));
        Assert.True(Directory.Exists(path));
        Assert.Empty(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void Paths_do_not_lead_out_of_the_artifact_store()
    {
        using var directory = new TemporaryDirectory();
        var store = new ArtifactOptions { Root = directory.Path };
        Assert.Empty(store.Validate());
        Assert.Equal(directory.File("jobs/j/1"), store.Resolve("jobs/j/1"));
        Assert.Throws<ArgumentException>(() => store.Resolve("../etc/passwd"));
        Assert.Throws<ArgumentException>(() => store.Resolve("jobs/../../x"));
        Assert.NotEmpty(new ArtifactOptions { Root = "relative" }.Validate());
    }

    [Fact]
    public async Task SQLite_keeps_a_write_ahead_log_and_checks_foreign_keys()
    {
        using var directory = new TemporaryDirectory();
        var builder = new DbContextOptionsBuilder<EmptyContext>();
        DatabaseServices.Configure(builder, new DatabaseOptions { ConnectionString = $"Data Source={directory.File("sub/p.db")};Pooling=False" });
        await using var context = new EmptyContext(builder.Options);
        await context.Database.OpenConnectionAsync(Token);
        Assert.Equal("wal", await PragmaAsync(context, "journal_mode"));
        Assert.Equal("1", await PragmaAsync(context, "foreign_keys"));
        Assert.Equal("2", await PragmaAsync(context, "synchronous"));
        Assert.Equal("10000", await PragmaAsync(context, "busy_timeout"));
    }

    [Fact]
    public void Failure_reasons_are_read_as_they_are_written()
    {
        Assert.Equal("RANK_EXITED", FailureReasons.ToReason(FailureCode.RankExited));
        Assert.All(Enum.GetValues<FailureCode>(), code => Assert.Equal(code, FailureReasons.Parse(FailureReasons.ToReason(code))));
        Assert.Equal(FailureCode.WorkloadError, FailureReasons.Parse("SOMETHING_NEW"));
    }

    private static async Task<string?> PragmaAsync(EmptyContext context, string name)
    {
        await using System.Data.Common.DbCommand command = context.Database.GetDbConnection().CreateCommand();
        command.CommandText = $"PRAGMA {name}";
        return (await command.ExecuteScalarAsync(Token))?.ToString();
    }

    private sealed class EmptyContext(DbContextOptions<EmptyContext> options) : DbContext(options);
}
