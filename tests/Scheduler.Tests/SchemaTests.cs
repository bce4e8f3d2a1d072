using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Platform.Scheduler.Data;
using Platform.Scheduling.Queues;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>A database of an earlier release is brought forward and keeps what is in it.</summary>
public sealed class SchemaTests
{
    [Fact]
    public async Task Brings_a_database_of_the_first_version_forward()
    {
        await using var connection = new SqliteConnection("Data Source=:memory:");
        await connection.OpenAsync();
        var factory = new OneConnection(connection);
        await SchemaSetup.EnsureAsync(factory, TimeProvider.System, CancellationToken.None);
        await using (var db = factory.CreateDbContext())
        {
            await db.Database.ExecuteSqlRawAsync(
                """
                DROP TABLE queues;
                DROP TABLE queue_history;
                DROP TABLE capacity;
                ALTER TABLE attempts DROP COLUMN "Resource";
                ALTER TABLE attempts DROP COLUMN "Queue";
                ALTER TABLE attempts DROP COLUMN "User";
                ALTER TABLE attempts DROP COLUMN "DeviceKind";
                ALTER TABLE attempts DROP COLUMN "Milli";
                ALTER TABLE attempts DROP COLUMN "PricePerHour";
                ALTER TABLE jobs DROP COLUMN "User";
                INSERT INTO attempts ("Gang", "Attempt", "PlacedUnixMs", "State") VALUES ('jobs/lm', 1, 5, '');
                ALTER TABLE jobs DROP COLUMN "Predicted";
                ALTER TABLE progress DROP COLUMN "Measured";
                ALTER TABLE metric_points DROP COLUMN "Parts";
                ALTER TABLE metric_points DROP COLUMN "Utilization";
                INSERT INTO metric_points ("Job", "Step", "Loss", "GradNorm", "TokensPerSecond", "LearningRate", "StepSeconds") VALUES ('lm', 1, 5, 1, 2, 3, 4);
                UPDATE schema_version SET "Version" = 1;
                """);
        }

        await SchemaSetup.EnsureAsync(factory, TimeProvider.System, CancellationToken.None);

        await using var after = factory.CreateDbContext();
        var point = await after.MetricPoints.SingleAsync();
        Assert.Equal((5.0, null, null), (point.Loss, point.Parts, point.Utilization));
        Assert.Equal((0, (string?)null), await after.Attempts.Select(attempt => new ValueTuple<long, string?>(attempt.Milli, attempt.Queue)).SingleAsync());
        var history = new QueueHistory(DateTimeOffset.FromUnixTimeMilliseconds(7), new Dictionary<(string, string), double> { [("q", "cpu")] = 1.5 });
        await UsageAccounts.StoreAsync(after, history, CancellationToken.None);
        await after.SaveChangesAsync();
        var read = await UsageAccounts.HistoryAsync(after, CancellationToken.None);
        Assert.Equal((history.At, 1.5), (read.At, read.Average[("q", "cpu")]));
        Assert.Equal(SchemaSetup.Version, (await after.Schema.SingleAsync()).Version);
    }

    private sealed class OneConnection(SqliteConnection connection) : IDbContextFactory<SchedulerDbContext>
    {
        public SchedulerDbContext CreateDbContext() => new(new DbContextOptionsBuilder<SchedulerDbContext>().UseSqlite(connection).Options);
    }
}
