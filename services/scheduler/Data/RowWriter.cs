using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage;

namespace Platform.Scheduler.Data;

/// <summary>
/// Statements of one transaction, sent together: in one round trip where the driver has batches (PostgreSQL), each prepared once
/// and executed for row after row where the database is in the process (SQLite). Parameters are <c>$1</c>, <c>$2</c> and so on.
/// </summary>
internal sealed class RowWriter
{
    private readonly List<(string Sql, object?[] Values, string? Guard)> statements = [];

    /// <summary>Statements that were added.</summary>
    public int Count => statements.Count;

    /// <summary>Adds a statement that may change any number of rows.</summary>
    public void Add(string sql, params object?[] values) => statements.Add((sql, values, null));

    /// <summary>Adds a statement that must change exactly one row; what it is of is named when it does not.</summary>
    public void AddGuarded(string guard, string sql, params object?[] values) => statements.Add((sql, values, guard));

    /// <summary>Executes what was added, in the open transaction of the context.</summary>
    /// <exception cref="DbUpdateConcurrencyException">A guarded statement did not change one row: somebody else did.</exception>
    public async Task FlushAsync(SchedulerDbContext db, CancellationToken cancellationToken)
    {
        if (statements.Count == 0)
        {
            return;
        }

        var connection = db.Database.GetDbConnection();
        var transaction = (db.Database.CurrentTransaction ?? throw new InvalidOperationException("Rows are written inside a transaction.")).GetDbTransaction();
        if (connection.CanCreateBatch)
        {
            await SendAsync(connection, transaction, cancellationToken);
        }
        else
        {
            await ExecuteEachAsync(connection, transaction, cancellationToken);
        }

        statements.Clear();
    }

    private async Task SendAsync(DbConnection connection, DbTransaction transaction, CancellationToken cancellationToken)
    {
        await using var batch = connection.CreateBatch();
        batch.Transaction = transaction;
        foreach (var (sql, values, _) in statements)
        {
            var command = batch.CreateBatchCommand();
            command.CommandText = sql;
            foreach (object? value in values)
            {
                var parameter = command.CreateParameter();
                parameter.Value = value ?? DBNull.Value;
                command.Parameters.Add(parameter);
            }

            batch.BatchCommands.Add(command);
        }

        await batch.ExecuteNonQueryAsync(cancellationToken);
        for (int n = 0; n < statements.Count; n++)
        {
            Check(statements[n].Guard, batch.BatchCommands[n].RecordsAffected);
        }
    }

    private async Task ExecuteEachAsync(DbConnection connection, DbTransaction transaction, CancellationToken cancellationToken)
    {
        var prepared = new Dictionary<string, DbCommand>(StringComparer.Ordinal);
        try
        {
            foreach (var (sql, values, guard) in statements)
            {
                if (!prepared.TryGetValue(sql, out var command))
                {
                    prepared[sql] = command = connection.CreateCommand();
                    command.Transaction = transaction;
                    command.CommandText = sql;
                    for (int n = 1; n <= values.Length; n++)
                    {
                        var parameter = command.CreateParameter();
                        parameter.ParameterName = $"${n}";
                        command.Parameters.Add(parameter);
                    }
                }

                for (int n = 0; n < values.Length; n++)
                {
                    command.Parameters[n].Value = values[n] ?? DBNull.Value;
                }

                Check(guard, await command.ExecuteNonQueryAsync(cancellationToken));
            }
        }
        finally
        {
            foreach (var command in prepared.Values)
            {
                await command.DisposeAsync();
            }
        }
    }

    private static void Check(string? guard, int changed)
    {
        if (guard is not null && changed != 1)
        {
            throw new DbUpdateConcurrencyException($"Expected to change the one row of {guard}, changed {changed}: somebody else has.");
        }
    }
}
