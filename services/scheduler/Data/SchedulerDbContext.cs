using Microsoft.EntityFrameworkCore;

namespace Platform.Scheduler.Data;

/// <summary>The scheduler's database: the truth about what is wanted and what was promised.</summary>
internal sealed class SchedulerDbContext(DbContextOptions<SchedulerDbContext> options) : DbContext(options)
{
    public DbSet<SchemaRow> Schema => Set<SchemaRow>();

    public DbSet<LeaderRow> Leaders => Set<LeaderRow>();

    public DbSet<GangRow> Gangs => Set<GangRow>();

    public DbSet<AttemptRow> Attempts => Set<AttemptRow>();

    public DbSet<AllocationRow> Allocations => Set<AllocationRow>();

    public DbSet<JobRow> Jobs => Set<JobRow>();

    public DbSet<ProgressRow> Progress => Set<ProgressRow>();

    public DbSet<MetricPointRow> MetricPoints => Set<MetricPointRow>();

    public DbSet<CheckpointRow> Checkpoints => Set<CheckpointRow>();

    public DbSet<NodeRow> Nodes => Set<NodeRow>();

    public DbSet<ModelRow> Models => Set<ModelRow>();

    public DbSet<DeploymentRow> Deployments => Set<DeploymentRow>();

    public DbSet<QueueRow> Queues => Set<QueueRow>();

    public DbSet<QueueHistoryRow> QueueHistory => Set<QueueHistoryRow>();

    public DbSet<CapacityRow> Capacity => Set<CapacityRow>();

    public DbSet<ReplicaRow> Replicas => Set<ReplicaRow>();

    public DbSet<RequestRow> Requests => Set<RequestRow>();

    public DbSet<OperationRow> Operations => Set<OperationRow>();

    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<SchemaRow>(row => { row.ToTable("schema_version"); row.HasKey(r => r.Id); row.Property(r => r.Id).ValueGeneratedNever(); });
        modelBuilder.Entity<LeaderRow>(row => { row.ToTable("leader"); row.HasKey(r => r.Id); row.Property(r => r.Id).ValueGeneratedNever(); });
        modelBuilder.Entity<GangRow>(row =>
        {
            row.ToTable("gangs");
            row.HasKey(r => r.Gang);
            row.HasIndex(r => new { r.Terminal, r.Stage });
            row.Property(r => r.Version).IsConcurrencyToken();
        });
        modelBuilder.Entity<AttemptRow>(row => { row.ToTable("attempts"); row.HasKey(r => new { r.Gang, r.Attempt }); });
        modelBuilder.Entity<AllocationRow>(row =>
        {
            row.ToTable("allocations");
            row.HasKey(r => new { r.Gang, r.Attempt, r.Node, r.Device, r.Rank });
            row.HasIndex(r => new { r.Node, r.Device });
        });
        modelBuilder.Entity<JobRow>(row =>
        {
            row.ToTable("jobs");
            row.HasKey(r => r.Id);
            row.HasIndex(r => new { r.Project, r.Sequence });
        });
        modelBuilder.Entity<ProgressRow>(row => { row.ToTable("progress"); row.HasKey(r => r.Job); });
        modelBuilder.Entity<MetricPointRow>(row => { row.ToTable("metric_points"); row.HasKey(r => new { r.Job, r.Step }); });
        modelBuilder.Entity<CheckpointRow>(row => { row.ToTable("checkpoints"); row.HasKey(r => new { r.Gang, r.Attempt, r.Step }); });
        modelBuilder.Entity<NodeRow>(row => { row.ToTable("nodes"); row.HasKey(r => r.Node); });
        modelBuilder.Entity<ModelRow>(row =>
        {
            row.ToTable("models");
            row.HasKey(r => new { r.Project, r.Model, r.Version });
            row.HasIndex(r => new { r.SourceGang, r.SourceAttempt });
        });
        modelBuilder.Entity<DeploymentRow>(row => { row.ToTable("deployments"); row.HasKey(r => new { r.Project, r.Id }); });
        modelBuilder.Entity<QueueRow>(row => { row.ToTable("queues"); row.HasKey(r => r.Name); });
        modelBuilder.Entity<QueueHistoryRow>(row => { row.ToTable("queue_history"); row.HasKey(r => new { r.Queue, r.Kind }); });
        modelBuilder.Entity<CapacityRow>(row => { row.ToTable("capacity"); row.HasKey(r => r.Id); row.Property(r => r.Id).ValueGeneratedNever(); });
        modelBuilder.Entity<ReplicaRow>(row => { row.ToTable("replicas"); row.HasKey(r => r.Id); });
        modelBuilder.Entity<RequestRow>(row => { row.ToTable("requests"); row.HasKey(r => new { r.Scope, r.RequestId }); });
        modelBuilder.Entity<OperationRow>(row =>
        {
            row.ToTable("operations");
            row.HasKey(r => r.Name);
            row.HasIndex(r => new { r.Project, r.Sequence });
        });
    }
}
