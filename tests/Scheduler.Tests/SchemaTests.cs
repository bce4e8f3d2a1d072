using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Platform.Scheduler.Data;
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
        Assert.Equal(SchemaSetup.Version, (await after.Schema.SingleAsync()).Version);
    }

    private sealed class OneConnection(SqliteConnection connection) : IDbContextFactory<SchedulerDbContext>
    {
        public SchedulerDbContext CreateDbContext() => new(new DbContextOptionsBuilder<SchedulerDbContext>().UseSqlite(connection).Options);
    }
}
