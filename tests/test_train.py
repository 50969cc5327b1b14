"The fast forms of a training step do what the plain one does."
import math, subprocess, sys
from functools import partial
from pathlib import Path
import pytest, torch
from nc_robust import bench, models
from nc_robust.bench import noise
from nc_robust.config import ARCHS, REGIMES, Config, configure
from nc_robust.data import generator, load, pixels
from nc_robust.files import read_head
from nc_robust.machine import deterministic
from nc_robust.replay import compiled, fast_step, rerun
from nc_robust.train import Diverged, bn_counts, plain_step, regime, set_lr, start, train_epoch, train_step

def weights(model): return torch.cat([t.double().flatten() for t in model.state_dict().values()])

# Parameters and batch norm's statistics after one step with one attack step may differ by these shares of the way it went: between three
# and thirty times what generated code on a CPU differs by. More steps say less: one sign turned by rounding, and AT goes elsewhere.
MOST = dict(fp32=(0.05, 1e-4), bf16=(0.5, 3e-3))

def alike(one, other, before, precision):
    "Whether two state dicts that a step made of `before` are the same but for rounding, counters exactly."
    moving = [k for k, v in other.items() if v.is_floating_point()]
    def far(a, b, statistics): return sum((a[k] - b[k]).double().square().sum() for k in moving if ("running" in k) == statistics) ** 0.5
    return all(torch.equal(one[k], other[k]) for k in other.keys() - moving) and all(
        far(one, other, statistics) <= most * far(other, before, statistics) for statistics, most in enumerate(MOST[precision]))

def state(model): return {k: v.clone() for k, v in model.state_dict().items()}

def one_step(r, precision, wrap=lambda model: model, perturb=None):
    "States before and after a step with one attack step; `perturb` in place of the regime's."
    digits, c = load("digits", 12), configure(r, "vgg11", "smoke", steps=1, precision=precision)
    (model, opt), reg = start(c, digits), regime(c)
    before = state(model)
    if perturb: reg.perturb = perturb
    train_step(reg, wrap(model.train()), opt, pixels(digits.train.x[::4]), digits.train.y[::4], generator("cpu", 0))
    return before, state(model)

@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("r", ["at", "trades"])
def test_a_step_that_does_not_train_or_attack_is_not_alike(r, precision):
    "What compiled steps are compared by notices parameters put back and an attack left out."
    before, plain = one_step(r, precision)
    put_back = plain | {k: v for k, v in before.items() if "running" not in k and v.is_floating_point()}
    _, clean = one_step(r, precision, perturb=lambda model, x, y, gen: x.clone())
    assert alike(plain, plain, before, precision)
    assert not alike(put_back, plain, before, precision) and not alike(clean, plain, before, precision)

@pytest.mark.parametrize("r", ["st", "at", "trades"])
def test_every_batch_norm_is_counted(r, monkeypatch):
    "One of vectors, too: a step leaves its statistics and counter where the published loop leaves them."
    class Vectors(models.VGG):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.pool = torch.nn.Sequential(self.pool, torch.nn.Flatten(), torch.nn.BatchNorm1d(self.linear.in_features))
    monkeypatch.setattr(models, "vgg11", Vectors)
    digits, c, ends = load("digits", 5), configure(r, "vgg11", "smoke", steps=2, precision="fp32"), []
    for step in (partial(train_step, regime(c)), partial(plain_step, c)):
        (model, opt), gen = start(c, digits), generator("cpu", 0)
        step(model.double().train(), opt, pixels(digits.train.x).double(), digits.train.y, gen)
        ends.append(weights(model))
    assert torch.allclose(*ends, rtol=0, atol=1e-10)

@pytest.mark.parametrize("r", REGIMES)
def test_epochs_are_those_of_the_published_loop(r):
    "Each epoch has its own order and noise, the rate drops on the way, frozen batch norm is frozen: as written out here, in float64."
    digits = load("digits", 4)
    c = configure(r, "vgg11", "smoke", epochs=2, steps=2, batch_size=16, milestones=(0.5,), lr=0.01, beta=3.0, precision="fp32")
    (ours, opt), (plain, other) = start(c, digits), start(c, digits)
    ours.double(); plain.double()
    step = lambda x, y, gen: train_step(regime(c), ours, opt, x.double(), y, gen)
    for e in range(2):
        train_epoch(ours, opt, digits, c, e, step=step)
        gen = generator("cpu", c.seed, "attack", e)
        for i, rows in enumerate(torch.randperm(40, generator=generator("cpu", c.seed, "order", e)).split(16)):
            plain.train("frozen" not in r)
            for g in other.param_groups: g["lr"] = 0.01 if e == 0 and i < 2 else 0.001
            plain_step(c, plain, other, pixels(digits.train.x[rows]).double(), digits.train.y[rows], gen)
    assert torch.allclose(weights(ours), weights(plain), rtol=1e-8, atol=1e-10)
    assert ("frozen" in r) == all((v == 0).all() for k, v in ours.state_dict().items() if "running_mean" in k)

@pytest.mark.long
@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("r", ["at", "trades"])
def test_generated_code_trains_alike(r, precision):
    "Compiled with code generation, a step ends within rounding of the plain one, and not exactly there."
    (before, plain), (_, made) = one_step(r, precision), one_step(r, precision, wrap=compiled)
    assert alike(made, plain, before, precision) and any(not torch.equal(made[k], plain[k]) for k in plain)

@pytest.mark.parametrize("earlier", [0, 1])
@pytest.mark.parametrize("r", REGIMES)
def test_a_recording_that_fails_leaves_no_trace(r, earlier, capsys):
    """If recording fails after its warm-up, at the first batch or at the short one at the end of an epoch,
    one line says so and the run ends with the bytes of one that never tried."""
    made = []
    def no_memory(f, gen, stream):
        if len(made) == earlier: f(); raise torch.OutOfMemoryError("no room for a recording")
        made.append(f)
        return rerun(f, gen)
    digits, ends = load("digits", 5), []
    for record in (None, no_memory):
        c = configure(r, "vgg11", "smoke", epochs=2, batch_size=16)
        model, opt = start(c, digits)
        step = fast_step(c, model, opt, record=record)
        for e in range(2): train_epoch(model, opt, digits, c, e, step=step)
        ends.append(weights(model))
    assert torch.equal(*ends)
    assert capsys.readouterr().out.count(
        "recorded: not available here (OutOfMemoryError: no room for a recording); going on step by step") == 1

def test_recorded_state_goes_on_from_a_checkpoint():
    "Weights, momenta and the learning rate of a recorded run, loaded into a plain one and back, train on alike."
    digits = load("digits", 5)
    c = configure("at", "vgg11", "smoke", epochs=4, batch_size=16)
    def run(kinds):
        model, opt = start(c, digits)
        for e, kind in enumerate(kinds):
            saved = [model.state_dict(), opt.state_dict()] if e else None
            model, opt = start(c, digits)
            if saved: model.load_state_dict(saved[0]); opt.load_state_dict(saved[1])
            train_epoch(model, opt, digits, c, e, step=fast_step(c, model, opt, record=kind))
        return weights(model)
    assert torch.equal(run([None] * 4), run([None, rerun, None, rerun]))

def test_compiled_where_it_pays(monkeypatch):
    "On a GPU a run of many steps is compiled, a short one and standard training are not; `train_run` says how many images it has."
    import nc_robust.replay as replay, nc_robust.runs as runs
    from nc_robust.runs import Run, history
    asked = []
    monkeypatch.setattr(replay, "FirstThatWorks", lambda ways: list(ways)); monkeypatch.setattr(replay, "Recorded", lambda *a: None)
    monkeypatch.setattr(replay, "compiled", lambda m: m)
    def ways(r, images, epochs):
        c = configure(r, "vgg11", "paper", epochs=epochs, width=8, precision="fp32")
        return fast_step(c, *start(c, load("digits", 5)), images=images, record=rerun)
    assert ways("at", 50_000, 400)[0] == "compiled and recorded"
    assert ways("at", 50_000, 1)[0] == ways("at", 50, 400)[0] == ways("st", 50_000, 400)[0] == "recorded"
    def spy(c, model, opt, device, images): asked.append(images)
    monkeypatch.setattr(runs, "fast_step", spy)
    history(Run(configure("st", "vgg11", "smoke", epochs=1)), progress=False)
    assert asked == [120]

def test_only_full_batches_are_compiled(monkeypatch):
    "The short last batch of an epoch takes the plain step, with the same weights."
    import nc_robust.replay as replay
    class Compiled(torch.nn.Module):
        def __init__(self, m): super().__init__(); self.m = m
        def forward(self, x): sizes.add(len(x)); return self.m(x)
    c, d, sizes = configure("at", "vgg11", "smoke", steps=2, batch_size=16, precision="fp32"), load("digits", 4), set()
    monkeypatch.setattr(replay, "compiled", Compiled)
    def run(**how):
        model, opt = start(c, d)
        train_epoch(model, opt, d, c, 0, step=fast_step(c, model, opt, **how))
        return torch.cat([p.flatten() for p in model.state_dict().values()])
    assert torch.equal(run(), run(images=10**9, record=rerun)) and sizes == {16}

def test_no_compiler_is_no_error(monkeypatch, capsys):
    "Where `torch.compile` refuses, the step says so and is recorded only."
    import nc_robust.replay as replay
    def refuses(model): raise RuntimeError("no compiler")
    monkeypatch.setattr(replay, "compiled", refuses)
    c, d = configure("at", "vgg11", "smoke", steps=2, precision="fp32"), load("digits", 2)
    fast_step(c, *start(c, d), images=10**9, record=rerun)(pixels(d.train.x), d.train.y, generator("cpu", 0))
    assert "compiled and recorded: not available here (RuntimeError: no compiler); going on recorded" in capsys.readouterr().out

@pytest.mark.parametrize("r", ["at", "trades"])
def test_a_bfloat16_step_is_compiled_whole(r):
    "Batches of a first and another size, before and after there are gradients, are compiled without a break, and once."
    from torch._dynamo.utils import counters
    torch.compiler.reset(); counters.clear()
    c, d = configure(r, "vgg11", "smoke", steps=2, precision="bf16"), load("digits", 4)
    model, opt = start(c, d)
    step = lambda n: train_step(regime(c), compiled(model, "eager"), opt, pixels(d.train.x[:n]), d.train.y[:n], generator("cpu", 0))
    for n in (40, 20): step(n); step(n)
    graphs = counters["stats"]["unique_graphs"]
    for n in (40, 20): step(n)
    assert graphs == counters["stats"]["unique_graphs"] > 0 and not counters["graph_break"], counters["graph_break"]

def test_the_way_of_a_step_stands_in_the_table(monkeypatch):
    "Where there is a choice of ways, the head of a run's table names the one that trained it, later tables too."
    import nc_robust.results as results, nc_robust.runs as runs
    monkeypatch.setattr(runs, "fast_step", lambda *a: fast_step(*a, record=rerun))
    run = runs.Run(configure("st", "vgg11", "smoke", epochs=2))
    runs.history(run, progress=False); results.extra(run, "predicted")
    assert read_head(run.csv)["step"] == read_head(run.table_file("predicted"))["step"] == "recorded"

@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("way", ["recorded", "compiled and recorded"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("r", REGIMES)
def test_a_recording_is_its_step(r, arch, precision, way):
    "On a GPU replays train bit for bit as the step they recorded (compiled: about so), with a short last batch and new generators."
    c = Config(r, arch, width=16, epochs=2, batch_size=48, steps=3, lr=0.01, precision=precision)
    d, ends = noise(16, 3, 120, device="cuda"), []
    if way not in fast_step(c, *start(c, d, "cuda"), "cuda", 10**9).ways: pytest.skip("not compiled")
    for only in (way, "step by step"):
        model, opt = start(c, d, "cuda")
        step = fast_step(c, model, opt, "cuda", 10**9)
        step.ways = {only: step.ways[only]}                    # a single way raises instead of falling back
        with deterministic(): losses = [train_epoch(model, opt, d, c, e, step=step)[0] for e in range(2)]
        ends.append(torch.cat([torch.tensor(losses, device="cuda").double(), weights(model)]))
    if way == "recorded": assert torch.equal(*ends)
    else: assert (ends[0] - ends[1]).abs().max() < 0.05 * ends[1].abs().max()

@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("r", REGIMES)
def test_a_compiled_step_is_its_step(r, arch, precision):
    "On a GPU one compiled and recorded step ends within rounding of the plain one."
    c = Config(r, arch, width=16, batch_size=48, steps=1, lr=0.01, precision=precision)
    d, ends = noise(16, 3, 48, device="cuda"), []
    if "compiled and recorded" not in fast_step(c, *start(c, d, "cuda"), "cuda", 10**9).ways: pytest.skip("not compiled")
    for only in ("compiled and recorded", "step by step"):
        model, opt = start(c, d, "cuda")
        before = state(model)
        step = fast_step(c, model, opt, "cuda", 10**9)
        step.ways = {only: step.ways[only]}
        model.train(regime(c).training)
        with deterministic(): step(pixels(d.train.x), d.train.y, generator("cuda", 0))
        ends.append(state(model))
    assert alike(*ends, before, precision)

def test_runs_on_another_device(own_folders):
    """Trained in two sittings, recorded and measured on a device that is not the CPU (`elsewhere.py`), runs have the tables of
    those on the CPU; no step asks for a value, and none falls back."""
    (own_folders / "out").mkdir()
    done = subprocess.run([sys.executable, Path(__file__).with_name("elsewhere.py")], capture_output=True, text=True)
    assert done.stdout.count("alike") == len(REGIMES) and "not available" not in done.stdout, done.stdout + done.stderr

def test_the_loss_of_an_epoch_is_a_mean_over_images():
    "Also where the last batch is short."
    d, c = load("digits", 4), configure("st", "vgg11", "smoke", batch_size=32)
    loss = train_epoch(*start(c, d), d, c, 0, step=lambda x, y, gen: (None, torch.tensor(float(len(x)))))[0]
    assert loss == pytest.approx((32**2 + 8**2) / 40)

def test_where_a_run_diverged():
    "Epoch and batch are counted from one; `on_batch` is called after each."
    d, c, left, seen = load("digits", 4), configure("st", "vgg11", "smoke", batch_size=10), iter((1, 1, math.nan, 1)), []
    with pytest.raises(Diverged, match="epoch 2, batch 3 of 4"):
        train_epoch(*start(c, d), d, c, 1, on_batch=lambda: seen.append(0), step=lambda x, y, gen: (None, torch.tensor(next(left))))
    assert len(seen) == 4

@pytest.mark.parametrize("r", REGIMES)
def test_forward_passes_are_counted(r):
    "`forwards` is what a step does: a pass is 1, a gradient of its input 1 more, one of the weights 1 more."
    d, c = load("digits", 2), configure(r, "vgg11", "smoke", steps=3)
    (model, opt), work, reg = start(c, d), [], regime(c)
    model.train(reg.training)
    model.register_forward_hook(lambda m, _, z: work.append(1 + z.requires_grad + (z.requires_grad and m.linear.weight.requires_grad)))
    train_step(reg, model, opt, pixels(d.train.x), d.train.y, generator("cpu", 0))
    assert sum(work) == reg.forwards

@pytest.mark.parametrize("r, norm, passes", [("st", "linf", 3), ("at", "linf", 35), ("at", "l2", 35), ("trades", "linf", 39),
                                             ("trades", "l2", 69), ("trades_frozen_bn", "linf", 40), ("trades_frozen_bn", "l2", 70)])
def test_what_the_published_loops_cost(r, norm, passes):
    "The work of their convolutions and products, in forward passes: what speed-ups are measured against."
    c = configure(r, "vgg11", "smoke", norm=norm, width=16, batch_size=4, precision="fp32")
    work = bench.flops(bench.one_step(c, noise(8, 1, 4), how="plain")) / 4 / bench.forward_flops("vgg11", 16, 8, 1)
    assert work == pytest.approx(passes, rel=0.005)

def test_a_rate_in_a_tensor_stays_there():
    "A recorded step reads it at its place."
    lr = torch.tensor(0.1)
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    set_lr(opt, 0.01)
    assert opt.param_groups[0]["lr"] is lr and lr.item() == pytest.approx(0.01)

def test_what_a_step_gives():
    "Logits in float32, a loss without graph, also inside no_grad; no steps move nothing; counters come back after an error."
    d, c = load("digits", 2), configure("st", "vgg11", "smoke", precision="bf16")
    x, y = pixels(d.train.x), d.train.y
    assert regime(c).logits(start(c, d)[0], x).dtype == torch.float
    assert not train_step(regime(c), *start(c, d), x, y, generator("cpu", 0))[1].requires_grad
    with torch.no_grad(): train_epoch(*start(c, d), d, c, 0)
    t = configure("trades", "vgg11", "smoke", norm="l2", steps=0)
    assert (regime(t).perturb(start(t, d)[0], x, y, generator("cpu", 0)) - x).abs().max() < 0.01
    bn = torch.nn.BatchNorm2d(3)
    with pytest.raises(KeyError), bn_counts(bn, 2): raise KeyError
    assert bn.num_batches_tracked == 0

@pytest.mark.parametrize("r", ["at", "trades"])
def test_training_attacks_in_the_precision_of_the_run(r):
    "bfloat16 logits in every step, but for the first of TRADES and its reference."
    d, c, seen = load("digits", 2), configure(r, "vgg11", "smoke", steps=3, precision="bf16"), []
    model = start(c, d)[0]
    model.register_forward_hook(lambda m, _, z: seen.append(z.dtype))
    regime(c).perturb(model, pixels(d.train.x), d.train.y, generator("cpu", 0))
    assert seen == [torch.float] * (2 * (r == "trades")) + [torch.bfloat16] * (3 - (r == "trades"))

def test_ratios_say_how_many_times_as_fast(monkeypatch):
    "A version that takes half of the plain loop's time has ratio 2."
    monkeypatch.setattr(bench, "interleaved", lambda made, rounds: dict(zip(made, (4.0, 2.0, 1.0), strict=True)))
    t = bench.bench_steps([("st", "vgg11", 8, 8, 1)], 8, "bf16", images=80).set_index("version")
    assert t.ratio.to_dict() == {"plain fp32": 1, "fast fp32": 2, "fast bf16": 4} and t.seconds_per_epoch["fast bf16"] == 10
