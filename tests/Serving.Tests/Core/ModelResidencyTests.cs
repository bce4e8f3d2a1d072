using Platform.Serving.Engine;

namespace Platform.Serving.Tests.Core;

public sealed class ModelResidencyTests
{
    private readonly ModelResidency _residency = new(100);

    [Fact]
    public void The_idle_model_used_longest_ago_is_asked_first()
    {
        var (oldest, middle, busy, newcomer) = (new Model(), new Model(), new Model(), new Model());
        Assert.True(_residency.Begin(busy, 30));
        Assert.True(_residency.Begin(oldest, 30));
        Assert.True(_residency.Begin(middle, 30));
        _residency.Note(busy, isIdle: false);
        Assert.False(_residency.TryEnter(newcomer, 40));
        Assert.Equal((1, 0, 0), (oldest.Asked, middle.Asked, busy.Asked));

        // Asking again asks nobody else: room is on its way.
        Assert.False(_residency.TryEnter(newcomer, 40));
        Assert.Equal((1, 0, 0), (oldest.Asked, middle.Asked, busy.Asked));

        _residency.Leave(oldest);
        Assert.Equal(1, newcomer.Woken);
        Assert.True(_residency.TryEnter(newcomer, 40));
        Assert.Equal(100, _residency.AwakeBytes);
    }

    [Fact]
    public void Models_at_work_are_asked_when_idle_ones_do_not_suffice()
    {
        var (busy, idle, newcomer) = (new Model(), new Model(), new Model());
        _residency.Begin(idle, 20);
        _residency.Begin(busy, 60);
        _residency.Note(busy, isIdle: false);
        Assert.False(_residency.TryEnter(newcomer, 90));
        Assert.Equal((1, 1), (idle.Asked, busy.Asked));
    }

    [Fact]
    public void Awake_models_never_exceed_the_budget()
    {
        var models = Enumerable.Range(0, 6).Select(i => (Model: new Model(), Bytes: 20L + (10 * i))).ToArray();
        var awake = new HashSet<Model>();
        var random = new Random(5);
        for (var step = 0; step < 2000; step++)
        {
            var (model, bytes) = models[random.Next(models.Length)];
            if (awake.Contains(model))
            {
                if (model.Asked > 0)
                {
                    awake.Remove(model);
                    model.Asked = 0;
                    _residency.Leave(model);
                }
            }
            else if (_residency.TryEnter(model, bytes))
            {
                awake.Add(model);
            }

            Assert.Equal(models.Where(entry => awake.Contains(entry.Model)).Sum(entry => entry.Bytes), _residency.AwakeBytes);
            Assert.InRange(_residency.AwakeBytes, 0, 100);
        }
    }

    private sealed class Model : ModelResidency.IResident
    {
        public int Asked { get; set; }

        public int Woken { get; private set; }

        public void AskToSleep() => Asked++;

        public void Wake() => Woken++;
    }
}
