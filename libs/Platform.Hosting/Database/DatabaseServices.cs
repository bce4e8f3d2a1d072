using System.Data.Common;
using Microsoft.AspNetCore.Builder;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Platform.Core.Validation;
using Platform.Hosting.Configuration;

namespace Platform.Hosting.Database;

/// <summary>Section <c>Database</c>.</summary>
public sealed class DatabaseOptions : IValidatedOptions
{
    /// <summary><c>sqlite</c> (one process) or <c>postgresql</c>.</summary>
    public string Provider { get; set; } = "sqlite";

    /// <summary>Connection string of the provider.</summary>
    public string ConnectionString { get; set; } = "";

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        if (Provider is not ("sqlite" or "postgresql"))
        {
            yield return new Violation("Provider", $"Expected sqlite or postgresql, found '{Provider}'.");
        }

        if (string.IsNullOrWhiteSpace(ConnectionString))
        {
            yield return new Violation("ConnectionString", "The connection string is missing.");
        }
    }
}

/// <summary>Registration of the database.</summary>
public static class DatabaseServices
{
    /// <summary>Registers <see cref="IDbContextFactory{TContext}"/> and <typeparamref name="TContext"/> as section <c>Database</c> says.</summary>
    /// <typeparam name="TContext">Context with a constructor that takes its options.</typeparam>
    /// <param name="builder">Host.</param>
    public static WebApplicationBuilder AddPlatformDatabase<TContext>(this WebApplicationBuilder builder)
        where TContext : DbContext
    {
        DatabaseOptions options = builder.AddPlatformOptions<DatabaseOptions>("Database");
        builder.Services.AddDbContextFactory<TContext>(context => Configure(context, options));
        return builder;
    }

    /// <summary>Points a context at the database; for tools and tests that have no host.</summary>
    /// <param name="context">Context options.</param>
    /// <param name="options">Database.</param>
    public static void Configure(DbContextOptionsBuilder context, DatabaseOptions options)
    {
        if (options.Provider == "postgresql")
        {
            context.UseNpgsql(options.ConnectionString);
        }
        else
        {
            CreateDirectory(options.ConnectionString);
            context.UseSqlite(options.ConnectionString).AddInterceptors(new SqlitePragmas());
        }
    }

    private static void CreateDirectory(string connectionString)
    {
        string source = new SqliteConnectionStringBuilder(connectionString).DataSource;
        if (Path.IsPathRooted(source) && Path.GetDirectoryName(source) is { Length: > 0 } directory)
        {
            Directory.CreateDirectory(directory);
        }
    }

    // Write-ahead log: readers do not block the writer. Full synchronisation: what is committed survives a power cut.
    private sealed class SqlitePragmas : DbConnectionInterceptor
    {
        private const string Pragmas =
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000; PRAGMA foreign_keys=ON;";

        public override void ConnectionOpened(DbConnection connection, ConnectionEndEventData eventData)
        {
            using DbCommand command = connection.CreateCommand();
            command.CommandText = Pragmas;
            command.ExecuteNonQuery();
        }

        public override async Task ConnectionOpenedAsync(
            DbConnection connection, ConnectionEndEventData eventData, CancellationToken cancellationToken = default)
        {
            await using DbCommand command = connection.CreateCommand();
            command.CommandText = Pragmas;
            await command.ExecuteNonQueryAsync(cancellationToken);
        }
    }
}
