using Platform.Torch.Kernels.Machine;

namespace Platform.Torch.Kernels;

/// <summary>
/// Causal attention of one key/value head in bf16, by the processor's instruction that adds products of pairs of bf16 in fp32.
/// Queries and gradients are read where they lie. Scores, their exponentials and all sums are fp32; the weights of the values
/// and the slopes of the scores are rounded to bf16 before they are multiplied, as in bf16 kernels for GPUs (Dao 2023).
/// </summary>
internal static unsafe class PairedAttention
{
    /// <summary>Query positions of a block.</summary>
    public const int Block = 32;

    private const int Keys = TileKernel<BFloat16Element>.Columns;

    private static readonly Lazy<TileKernel<BFloat16Element>?> Chosen = new(
        () => KernelChoice.For<BFloat16Element>().Kernel as MachineTileKernel<BFloat16Element>);

    /// <summary>Whether this machine has the instruction and the kernel passed its check.</summary>
    public static bool Exists => Chosen.Value is not null;

    private static TileKernel<BFloat16Element> Kernel => Chosen.Value ?? throw new PlatformNotSupportedException("This processor has no AVX512-BF16.");

    /// <summary>Elements of fp32 memory that one key/value head needs, forward or backward.</summary>
    public static int ScratchElements(AttentionShape shape)
    {
        var sizes = new Sizes(shape);
        var singles = (2 * Block * sizes.Positions) + (2 * shape.Size * sizes.Positions) + (Block * shape.Size);
        var pairs = (2 * sizes.Positions * shape.Size / 2) + (3 * sizes.Pairs * shape.Size) + (3 * Block * sizes.Positions / 2);
        return checked(singles + pairs);
    }

    /// <summary>The query heads of one key/value head, forward.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="batch">Which sequence.</param>
    /// <param name="shared">Which key/value head.</param>
    /// <param name="memory">Scratch.</param>
    /// <param name="q">Queries, bf16.</param>
    /// <param name="k">Keys, bf16.</param>
    /// <param name="v">Values, bf16.</param>
    /// <param name="o">Takes the result, bf16.</param>
    /// <param name="logSums">Takes the rows' logarithms of sums, [B, H, T].</param>
    public static void Forward(
        AttentionShape shape, int batch, int shared, float* memory, HeadRows q, HeadRows k, HeadRows v, HeadRows o, float* logSums)
    {
        var (kernel, sizes, size) = (Kernel, new Sizes(shape), shape.Size);
        var cut = new PairScratch(memory);
        float* scores = cut.Singles(Block * sizes.Positions), tile = cut.Singles(Block * size);
        uint* keys = cut.Pairs(sizes.Positions * size / 2), values = cut.Pairs(sizes.Pairs * size);
        var weights = cut.Pairs(Block * sizes.Positions / 2);
        var weightStride = sizes.Positions * sizeof(ushort);
        PairPanels.OfColumns(k.At(batch, shared), shape.Length, size, keys);
        PairPanels.OfRows(v.At(batch, shared), shape.Length, size, values);
        Span<float> inverse = stackalloc float[Block];
        for (var head = shared * shape.Group; head < (shared + 1) * shape.Group; head++)
        {
            var queries = q.At(batch, head);
            var sums = logSums + ((((long)batch * shape.Heads) + head) * shape.Length);
            for (var first = 0; first < shape.Length; first += Block)
            {
                var count = Math.Min(Block, shape.Length - first);
                var seen = first + count;
                PairPanels.Fetch(queries, first + Block, shape.Length, size);
                Scores(kernel, queries.From(first), count, keys, size, seen, scores, sizes.Positions);
                for (var r = 0; r < count; r++)
                {
                    var row = scores + (r * sizes.Positions);
                    var visible = first + r + 1;
                    var largest = shape.Scale * AttentionTiles.Largest(row, visible);
                    var sum = PairRows.Exponentials(row, visible, Padded(seen), shape.Scale, largest, (ushort*)((byte*)weights + (r * weightStride)));
                    inverse[r] = 1 / sum;
                    sums[first + r] = largest + MathF.Log(sum);
                }

                Combine(kernel, weights, weightStride, count, seen, values, sizes.Pairs, size, tile);
                o.Write(batch, head, first, count, tile, inverse);
            }
        }
    }

    /// <summary>The query heads of one key/value head, backward.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="batch">Which sequence.</param>
    /// <param name="shared">Which key/value head.</param>
    /// <param name="memory">Scratch.</param>
    /// <param name="heads">Inputs, results and gradients, bf16.</param>
    public static void Backward(AttentionShape shape, int batch, int shared, float* memory, BackwardHeads heads)
    {
        var (kernel, sizes, size) = (Kernel, new Sizes(shape), shape.Size);
        var (positions, rowBytes) = (sizes.Positions, sizes.Pairs * sizeof(uint));
        var cut = new PairScratch(memory);
        float* scores = cut.Singles(Block * positions), slopes = cut.Singles(Block * positions);
        float* keySums = cut.Singles(size * positions), valueSums = cut.Singles(size * positions), tile = cut.Singles(Block * size);
        uint* keys = cut.Pairs(positions * size / 2), values = cut.Pairs(positions * size / 2), keyRows = cut.Pairs(sizes.Pairs * size);
        uint* turnedQueries = cut.Pairs(sizes.Pairs * size), turnedGradients = cut.Pairs(sizes.Pairs * size);
        uint* weightPanels = cut.Pairs(Block * positions / 2), slopePanels = cut.Pairs(Block * positions / 2), slopeRows = cut.Pairs(Block * positions / 2);
        var slopeStride = positions * sizeof(ushort);
        PairPanels.OfColumns(heads.Key.At(batch, shared), shape.Length, size, keys);
        PairPanels.OfColumns(heads.Value.At(batch, shared), shape.Length, size, values);
        PairPanels.OfRows(heads.Key.At(batch, shared), shape.Length, size, keyRows);
        new Span<float>(keySums, size * positions).Clear();
        new Span<float>(valueSums, size * positions).Clear();
        Span<float> scale = stackalloc float[Block];
        scale.Fill(shape.Scale);
        for (var head = shared * shape.Group; head < (shared + 1) * shape.Group; head++)
        {
            var (queries, results, gradients) = (heads.Query.At(batch, head), heads.Result.At(batch, head), heads.Gradient.At(batch, head));
            PairPanels.Turned(queries, shape.Length, size, turnedQueries, sizes.Pairs);
            PairPanels.Turned(gradients, shape.Length, size, turnedGradients, sizes.Pairs);
            var sums = heads.LogSums + ((((long)batch * shape.Heads) + head) * shape.Length);
            for (var first = 0; first < shape.Length; first += Block)
            {
                var count = Math.Min(Block, shape.Length - first);
                var seen = first + count;
                Scores(kernel, queries.From(first), count, keys, size, seen, scores, positions);
                Scores(kernel, gradients.From(first), count, values, size, seen, slopes, positions);
                for (var r = 0; r < Block; r += 2)
                {
                    var rows = new SlopeRows(
                        scores + (r * positions), slopes + (r * positions), positions,
                        Row(r), Row(r + 1), shape.Scale, (ushort*)((byte*)slopeRows + (r * slopeStride)), slopeStride / sizeof(ushort));
                    if (r < Rounded(count))
                        PairRows.Slopes(rows, Padded(seen), weightPanels + (r / 2 * Keys), slopePanels + (r / 2 * Keys));
                }

                Spread(kernel, turnedGradients + (first / 2), rowBytes, count, seen, weightPanels, size, valueSums, positions);
                Spread(kernel, turnedQueries + (first / 2), rowBytes, count, seen, slopePanels, size, keySums, positions);
                Combine(kernel, slopeRows, slopeStride, count, seen, keyRows, sizes.Pairs, size, tile);
                heads.QueryGradient.Write(batch, head, first, count, tile, scale);

                SlopeRow Row(int r) => r < count
                    ? new(first + r + 1, sums[first + r], PairRows.Dot(results.From(first + r), gradients.From(first + r), size))
                    : new(0, 0, 0);
            }
        }

        PairPanels.WriteTurned(keySums, positions, shape.Length, size, shape.Scale, heads.KeyGradient.At(batch, shared));
        PairPanels.WriteTurned(valueSums, positions, shape.Length, size, 1, heads.ValueGradient.At(batch, shared));
    }

    /// <summary><c>scores[r, j] = Σ_d rows[r, d] · keys[j, d]</c> for the keys of whole panels.</summary>
    private static void Scores(
        TileKernel<BFloat16Element> kernel, PairedHead rows, int count, uint* panels, int size, int seen, float* scores, int stride)
    {
        for (var j = 0; j < seen; j += Keys, panels += Keys * size / 2)
        {
            for (var r = 0; r < count; r += Step(count, r))
            {
                kernel.Multiply(
                    Step(count, r), (BFloat16Element*)rows.From(r).Start, rows.RowBytes, (BFloat16Element*)panels,
                    size / TileKernel<BFloat16Element>.RoundInputs, scores + (r * stride) + j, stride * sizeof(float), add: false);
            }
        }
    }

    /// <summary><c>tile[r, d] = Σ_j weights[r, j] · rows[j, d]</c>.</summary>
    private static void Combine(
        TileKernel<BFloat16Element> kernel, uint* weights, int weightStride, int count, int seen, uint* panels, int panelPairs, int size, float* tile)
    {
        for (var d = 0; d < size; d += Keys, panels += panelPairs * Keys)
        {
            for (var r = 0; r < count; r += Step(count, r))
            {
                kernel.Multiply(
                    Step(count, r), (BFloat16Element*)((byte*)weights + (r * weightStride)), weightStride, (BFloat16Element*)panels,
                    Rounded(seen) / TileKernel<BFloat16Element>.RoundInputs, tile + (r * size) + d, size * sizeof(float), add: false);
            }
        }
    }

    /// <summary><c>sums[d, j] += Σ_r turned[d, r] · weights[r, j]</c>.</summary>
    private static void Spread(
        TileKernel<BFloat16Element> kernel, uint* turned, int turnedStride, int count, int seen, uint* panels, int size, float* sums, int stride)
    {
        for (var j = 0; j < seen; j += Keys, panels += Block / 2 * Keys)
        {
            for (var d = 0; d < size; d += Step(size, d))
            {
                kernel.Multiply(
                    Step(size, d), (BFloat16Element*)((byte*)turned + ((long)d * turnedStride)), turnedStride, (BFloat16Element*)panels,
                    Rounded(count) / TileKernel<BFloat16Element>.RoundInputs, sums + (d * stride) + j, stride * sizeof(float), add: true);
            }
        }
    }

    /// <summary>Rows of the next call: as equal as they can be, so that none is left with few.</summary>
    private static int Step(int rows, int done)
    {
        var calls = (rows - done + TileKernel<BFloat16Element>.MaxRows - 1) / TileKernel<BFloat16Element>.MaxRows;
        return (rows - done + calls - 1) / calls;
    }

    private static int Rounded(int count) => (count + 7) / 8 * 8;

    private static int Padded(int count) => (count + Keys - 1) / Keys * Keys;

    /// <summary>Padded sizes: positions to whole panels, and pairs of positions to whole rounds.</summary>
    private readonly struct Sizes(AttentionShape shape)
    {
        public int Positions { get; } = Padded(shape.Length);

        public int Pairs { get; } = Padded(shape.Length) / 2;
    }

    private ref struct PairScratch(float* memory)
    {
        private float* _next = memory;

        public float* Singles(int count)
        {
            var taken = _next;
            _next += count;
            return taken;
        }

        public uint* Pairs(int count) => (uint*)Singles(count);
    }
}
