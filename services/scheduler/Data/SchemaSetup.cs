using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Platform.Hosting.Errors;

namespace Platform.Scheduler.Data;

/// <summary>
/// Brings the database to the schema of this program: an empty one gets it whole; one of an older version is brought
/// forward step by step; one of a newer version is refused.
/// </summary>
internal static class SchemaSetup
{
    /// <summary>Version that this program reads and writes.</summary>
    public const int Version = 5;

    private const int Tries = 10;

    /// <summary>SQL that leads from the version before each key to it; both databases take it.</summary>
    private static readonly IReadOnlyDictionary<int, string> Steps = new Dictionary<int, string>
    {
        // Figures of runs: predicted, measured, and of each step.
        [2] = """
            ALTER TABLE jobs ADD COLUMN "Predicted" TEXT NULL;
            ALTER TABLE progress ADD COLUMN "Measured" TEXT NULL;
            ALTER TABLE metric_points ADD COLUMN "Parts" TEXT NULL;
            ALTER TABLE metric_points ADD COLUMN "Utilization" DOUBLE PRECISION NULL;
            """,

        // Queues with quotas.
        [3] = """
            CREATE TABLE queues ("Name" TEXT NOT NULL PRIMARY KEY, "State" TEXT NOT NULL);
            """,

        // Who used what: attempts say for whom, and what queues used lately outlives the process.
        [4] = """
            ALTER TABLE attempts ADD COLUMN "Resource" TEXT NULL;
            ALTER TABLE attempts ADD COLUMN "Queue" TEXT NULL;
            ALTER TABLE attempts ADD COLUMN "User" TEXT NULL;
            ALTER TABLE attempts ADD COLUMN "DeviceKind" TEXT NULL;
            ALTER TABLE attempts ADD COLUMN "Milli" BIGINT NOT NULL DEFAULT 0;
            ALTER TABLE attempts ADD COLUMN "PricePerHour" DOUBLE PRECISION NULL;
            ALTER TABLE jobs ADD COLUMN "User" TEXT NULL;
            CREATE TABLE queue_history ("Queue" TEXT NOT NULL, "Kind" TEXT NOT NULL, "Average" DOUBLE PRECISION NOT NULL, "AtUnixMs" BIGINT NOT NULL, PRIMARY KEY ("Queue", "Kind"));
            """,

        // Nodes asked of providers.
        [5] = """
            CREATE TABLE capacity ("Id" INTEGER NOT NULL PRIMARY KEY, "State" TEXT NOT NULL);
            """,
    };

    /// <summary>Creates or upgrades the schema. Several processes may do so at once: one wins, the others find it done.</summary>
    /// <exception cref="UnavailableException">The database cannot be reached or is of a newer version.</exception>
    public static async Task EnsureAsync(IDbContextFactory<SchedulerDbContext> factory, TimeProvider time, CancellationToken cancellationToken)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                await using var db = await factory.CreateDbContextAsync(cancellationToken);
                await EnsureAsync(db, cancellationToken);
                return;
            }
            catch (Exception exception) when (exception is DbException or DbUpdateException && attempt < Tries)
            {
                // Another process is creating the same tables, or the server is still starting.
                await Task.Delay(TimeSpan.FromMilliseconds(200 * attempt), time, cancellationToken);
            }
            catch (Exception exception) when (exception is DbException or DbUpdateException)
            {
                throw new UnavailableException("DATABASE_UNAVAILABLE", $"The database cannot be prepared: {exception.GetBaseException().Message}", exception);
            }
        }
    }

    private static async Task EnsureAsync(SchedulerDbContext db, CancellationToken cancellationToken)
    {
        await db.Database.EnsureCreatedAsync(cancellationToken);
        await using var transaction = await db.Database.BeginTransactionAsync(cancellationToken);
        var row = await db.Schema.SingleOrDefaultAsync(cancellationToken);
        if (row is null)
        {
            db.Schema.Add(row = new SchemaRow { Id = 1, Version = Version });
        }

        if (row.Version > Version)
        {
            throw new UnavailableException(
                "DATABASE_TOO_NEW", $"The database has schema {row.Version}, this program knows {Version}. Start the newer program.");
        }

        for (int next = row.Version + 1; next <= Version; next++)
        {
            await db.Database.ExecuteSqlRawAsync(Steps[next], cancellationToken);
            row.Version = next;
        }

        await db.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }
}
