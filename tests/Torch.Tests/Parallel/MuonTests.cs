using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>Muon against its formulas over plain arrays, on every way to divide a matrix.</summary>
public sealed class MuonTests
{
    private const double Rate = 0.02;
    private static readonly AdamWSettings Settings = new(0.9, 0.95, 1e-8, 0.1, 0);
    private static readonly ModelConfig Config = TinyModel.Config with { NumHiddenLayers = 2 };

    [Theory]
    [InlineData(5, 5)]
    [InlineData(3, 8)]
    [InlineData(9, 4)]
    public void Orthogonalising_brings_every_singular_value_near_one(int rows, int columns)
    {
        using var scope = NewDisposeScope();
        var matrix = new SeededInputs().Normal((long)rows * columns);

        using var result = NewtonSchulz.Orthogonalise(TensorMemory.FromSpan<double>(matrix, [rows, columns], ScalarType.Float64), 5);

        Compare.Near(Reference(matrix, rows, columns, 5), result, 1e-9);
        var wide = rows <= columns ? result : result.t();
        var gram = wide.mm(wide.t());

        // After ten iterations even small singular values have arrived between 0.6 and 1.3.
        using var longer = NewtonSchulz.Orthogonalise(TensorMemory.FromSpan<double>(matrix, [rows, columns], ScalarType.Float64), 12);
        var square = rows <= columns ? longer.mm(longer.t()) : longer.t().mm(longer);
        Assert.All(Compare.Values(linalg.eigvalsh(square)), value => Assert.InRange(Math.Sqrt(value), 0.6, 1.3));
        Assert.Equal(Math.Min(rows, columns), gram.shape[0]);
    }

    [Theory]
    [InlineData(1, 1, 1, ZeroStage.None, true)]
    [InlineData(1, 1, 1, ZeroStage.None, false)]
    [InlineData(2, 1, 1, ZeroStage.None, true)]
    [InlineData(4, 2, 1, ZeroStage.None, true)]
    [InlineData(1, 1, 2, ZeroStage.None, true)]
    [InlineData(2, 1, 2, ZeroStage.OptimizerState, true)]
    [InlineData(2, 2, 2, ZeroStage.Parameters, true)]
    public void Two_updates_are_those_of_the_formulas_on_whole_matrices(int tensor, int pipeline, int data, ZeroStage zero, bool nesterov)
    {
        var mesh = new DeviceMesh(tensor, pipeline, data);
        var expected = LlamaParameters.All(Config).ToDictionary(parameter => parameter.Name, parameter => Expected(parameter, nesterov));

        var ranks = InProcessRanks.Run(mesh.WorldSize, world =>
        {
            using var groups = ParallelGroups.Create(world, mesh, tiedEmbedding: false);
            using var store = new ParameterStore(
                StageLayout.Create(Config, mesh, groups.Coordinate, new LayoutSettings(TinyModel.SequenceLength, 1, false)),
                new ParameterStorage(TrainingTypes.Float64, zero, LayerMatricesHaveOneMoment: true));
            store.Initialise(7);
            var optimizer = new ParallelMuon(groups, store, Settings, new MuonSettings(0.95, nesterov, 5));
            for (var update = 1; update <= 2; update++)
            {
                foreach (var piece in store.Pieces(StateKind.Gradient))
                {
                    using var view = store.View(piece);
                    view.copy_(TensorMemory.FromSpan<double>(Cut(Gradient(piece.Parameter, update), piece), [piece.Range.Count], ScalarType.Float64));
                }

                optimizer.Update(update, Rate, 1);
            }

            return store.Pieces(StateKind.Master).Select(piece =>
            {
                using var view = store.View(piece);
                return (Piece: piece, Values: Compare.Values(view));
            }).ToList();
        });

        Assert.All(ranks.SelectMany(rank => rank), held => Compare.Near(Cut(expected[held.Piece.Parameter.Name], held.Piece), held.Values, 1e-9));
    }

    private static double[] Gradient(LlamaParameter parameter, int update)
    {
        var values = new double[parameter.ElementCount];
        new NormalStream(100 + update, parameter.Name).Fill(values, 0, 0.5);
        return values;
    }

    /// <summary>The weight after two updates.</summary>
    private static double[] Expected(LlamaParameter parameter, bool nesterov)
    {
        using var initial = LlamaInitializer.Create(Config, parameter, parameter.Whole, 7, ScalarType.Float64);
        var weight = Compare.Values(initial);
        var (first, second) = (new double[weight.Length], new double[weight.Length]);
        for (var update = 1; update <= 2; update++)
        {
            var gradient = Gradient(parameter, update);
            var decay = parameter.IsMatrix ? 1 - (Rate * Settings.WeightDecay) : 1;
            if (parameter.Position is ModelPosition.DecoderLayer && parameter.IsMatrix)
            {
                for (var i = 0; i < weight.Length; i++)
                    first[i] = (0.95 * first[i]) + gradient[i];
                var direction = Reference(
                    [.. first.Zip(gradient, (m, g) => nesterov ? g + (0.95 * m) : m)], (int)parameter.Shape[0], (int)parameter.Shape[1], 5);
                var scale = 0.2 * Math.Sqrt(Math.Max(parameter.Shape[0], parameter.Shape[1]));
                for (var i = 0; i < weight.Length; i++)
                    weight[i] = (weight[i] * decay) - (Rate * scale * direction[i]);
                continue;
            }

            for (var i = 0; i < weight.Length; i++)
            {
                first[i] = (Settings.Beta1 * first[i]) + ((1 - Settings.Beta1) * gradient[i]);
                second[i] = (Settings.Beta2 * second[i]) + ((1 - Settings.Beta2) * gradient[i] * gradient[i]);
                var (m, v) = (first[i] / (1 - Math.Pow(Settings.Beta1, update)), second[i] / (1 - Math.Pow(Settings.Beta2, update)));
                weight[i] = (weight[i] * decay) - (Rate * m / (Math.Sqrt(v) + Settings.Epsilon));
            }
        }

        return weight;
    }

    private static double[] Cut(double[] whole, StatePiece piece)
    {
        var columns = piece.Parameter.Shape.Length == 1 ? 1 : piece.Parameter.Shape[1];
        var (row, rows) = (piece.Box.Start[0], piece.Box.Shape[0]);
        var (column, width) = piece.Parameter.Shape.Length == 1 ? (0L, 1L) : (piece.Box.Start[1], piece.Box.Shape[1]);
        return [.. Enumerable.Range(0, (int)rows).SelectMany(r => whole.Skip((int)(((row + r) * columns) + column)).Take((int)width))];
    }

    /// <summary>The iteration of Jordan et al. 2024 on the smaller side.</summary>
    private static double[] Reference(double[] matrix, int rows, int columns, int iterations)
    {
        if (rows > columns)
            return Transpose(Reference(Transpose(matrix, rows, columns), columns, rows, iterations), columns, rows);
        var norm = Math.Sqrt(matrix.Sum(value => value * value)) + 1e-7;
        double[] x = [.. matrix.Select(value => value / norm)];
        for (var i = 0; i < iterations; i++)
        {
            var square = Product(x, Transpose(x, rows, columns), rows, columns, rows);
            var fourth = Product(square, square, rows, rows, rows);
            var third = Product([.. square.Zip(fourth, (s, f) => (-4.7750 * s) + (2.0315 * f))], x, rows, rows, columns);
            x = [.. x.Zip(third, (old, t) => (3.4445 * old) + t)];
        }

        return x;
    }

    private static double[] Transpose(double[] matrix, int rows, int columns) =>
        [.. Enumerable.Range(0, columns).SelectMany(c => Enumerable.Range(0, rows).Select(r => matrix[(r * columns) + c]))];

    private static double[] Product(double[] a, double[] b, int rows, int inner, int columns) =>
        [.. Enumerable.Range(0, rows).SelectMany(r => Enumerable.Range(0, columns).Select(
            c => Enumerable.Range(0, inner).Sum(k => a[(r * inner) + k] * b[(k * columns) + c])))];
}
