using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Formats.Checkpoints;
using Platform.Testing;
using Platform.Torch.Parallel.Checkpoints;
using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using Xunit;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>What one layout saved, every other loads and saves again: the same bits of every weight and moment.</summary>
public sealed class CheckpointLayoutTests
{
    private static readonly Layout[] Layouts =
    [
        new(1, 1, 1), new(2, 1, 1), new(1, 2, 1), new(1, 1, 2, ZeroStage.OptimizerState), new(2, 2, 1), new(2, 2, 2),
        new(1, 1, 3, ZeroStage.Parameters), new(4, 1, 2, ZeroStage.OptimizerState), new(1, 2, 1, VirtualStages: 2), new(2, 1, 1, SequenceParallel: true),
    ];

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Loading_in_any_layout_what_any_other_saved_and_saving_it_keeps_every_tensor(bool tied, bool hasOneMoment)
    {
        var config = TinyModel.Config with { TieWordEmbeddings = tied };
        using var directory = new TemporaryDirectory();
        var origin = Folder(directory, "origin");
        using (var store = StoreOf(config, Layouts[0], rank: 0, hasOneMoment))
        {
            Fill(store);
            Commit(origin, [ParameterCheckpoint.Write(store, origin, 0)]);
        }

        var expected = Hashes(origin);
        Assert.Equal(expected.Count, expected.Values.Distinct().Count());
        Assert.InRange(expected.Count, (hasOneMoment ? 2 : 3) * 40, 3 * 60);
        foreach (var from in Layouts)
        {
            var saved = Convert(config, directory, origin, from, hasOneMoment);
            Assert.Equal(expected, Hashes(saved));
            foreach (var to in Layouts.Where(layout => layout != from))
                Assert.Equal(expected, Hashes(Convert(config, directory, saved, to, hasOneMoment)));
        }
    }

    [Fact]
    public void A_snapshot_writes_the_state_of_when_it_was_taken_and_its_memory_is_used_again()
    {
        using var directory = new TemporaryDirectory();
        using var store = StoreOf(TinyModel.Config, new Layout(2, 1, 2, ZeroStage.OptimizerState), rank: 1, hasOneMoment: false);
        using var snapshot = new ParameterSnapshot();
        Fill(store);
        snapshot.Prepare(store);
        var prepared = snapshot.ByteLength;
        var before = ParameterCheckpoint.Write(store, Folder(directory, "before"), 1);
        snapshot.Take(store);
        Assert.Equal(prepared, snapshot.ByteLength);
        Change(store);
        var taken = snapshot.Write(Folder(directory, "taken"), 1);
        var after = ParameterCheckpoint.Write(store, Folder(directory, "after"), 1);
        snapshot.Take(store);

        Assert.Equal(before.File, taken.File);
        Assert.NotEqual(before.File, after.File);
        Assert.Equal(after.File, snapshot.Write(Folder(directory, "again"), 1).File);
    }

    private static void Fill(ParameterStore store)
    {
        torch.random.manual_seed(7);
        foreach (var piece in Saved(store))
        {
            using var view = store.View(piece);
            view.normal_(0, 1);
        }
    }

    private static void Change(ParameterStore store)
    {
        foreach (var piece in Saved(store))
        {
            using var view = store.View(piece);
            view.add_(1);
        }
    }

    private static IEnumerable<StatePiece> Saved(ParameterStore store) =>
        new[] { StateKind.Master, StateKind.FirstMoment, StateKind.SecondMoment }.SelectMany(store.Pieces).ToList();

    /// <summary>Reads a checkpoint on every rank of a layout and saves it again.</summary>
    private static string Convert(
        ModelConfig config, TemporaryDirectory directory, string from, Layout layout, bool hasOneMoment)
    {
        var folder = Folder(directory, Guid.NewGuid().ToString("N"));
        var shards = new List<CheckpointShard>();
        using var reader = CheckpointReader.Open(from, CheckpointVerification.Structure);
        for (var rank = 0; rank < layout.Tensor * layout.Pipeline * layout.Data; rank++)
        {
            using var store = StoreOf(config, layout, rank, hasOneMoment);
            ParameterCheckpoint.Read(store, reader);
            if (store.SavesState)
                shards.Add(ParameterCheckpoint.Write(store, folder, rank));
        }

        Commit(folder, shards);
        return folder;
    }

    private static ParameterStore StoreOf(
        ModelConfig config, Layout layout, int rank, bool hasOneMoment)
    {
        var mesh = new DeviceMesh(layout.Tensor, layout.Pipeline, layout.Data);
        return new ParameterStore(
            StageLayout.Create(config, mesh, mesh.CoordinateOf(rank), new LayoutSettings(TinyModel.SequenceLength, layout.VirtualStages, layout.SequenceParallel)),
            new ParameterStorage(TrainingTypes.BFloat16, layout.Zero, hasOneMoment));
    }

    private static void Commit(string folder, IEnumerable<CheckpointShard> shards) => CheckpointManifest.Merge(
        new CheckpointHeader { Job = "jobs/a", Attempt = 1, Step = 1, Seed = 1, DataPosition = 1, Model = [] }, shards).Write(folder);

    private static string Folder(TemporaryDirectory directory, string name) =>
        Directory.CreateDirectory(Path.Combine(directory.Path, name)).FullName;

    private static SortedDictionary<string, string> Hashes(string checkpoint)
    {
        using var reader = CheckpointReader.Open(checkpoint, CheckpointVerification.Structure);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }

    private sealed record Layout(
        int Tensor, int Pipeline, int Data, ZeroStage Zero = ZeroStage.None, int VirtualStages = 1, bool SequenceParallel = false);
}
