"What README.md says in numbers is what the published tables hold."
import re, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from nc_robust import verdicts
from nc_robust.claims import Evidence
from nc_robust.config import ARCHS, own_view
from nc_robust.figures import planned
from nc_robust.metrics import equiangular
from nc_robust.plans import carried, plan
from nc_robust.plots import series
from nc_robust.verdicts import TEXT, markdown, merge

ROOT = Path(__file__).resolve().parent.parent
FIGURES, README = ROOT / "figures", (ROOT / "README.md").read_text(encoding="utf-8")
def test_claims_table_is_made_from_the_figures(tmp_path):
    "`claims.csv` and README's table are what `make claims` makes of the published verdicts."
    for f in FIGURES.glob("fig*_claims.csv"): shutil.copy(f, tmp_path)
    table = markdown(merge(tmp_path))
    assert (tmp_path / "claims.csv").read_bytes() == (FIGURES / "claims.csv").read_bytes()
    assert f"<!-- claims -->\n{table}\n<!-- /claims -->" in README

@pytest.mark.parametrize("number, regime, words, verdicts", [
    (1, "st", "Yes.", "yes yes"), (3, "st", "Yes.", "yes yes"), (4, "st", "Yes / not judged.", "yes not-reached"),
    (8, "at", "Yes, on training images.", "yes yes"), (10, "at", "Yes, on training images.", "yes yes"),
    (11, "at", "No / yes, on training images.", "no yes"), (13, "trades_frozen_bn", "Frozen: yes.", "yes yes"),
    (13, "trades", "Original: no.", "no no"), (14, "trades", "Original VGG11: yes.", "not-reached yes"),
    (14, "trades_frozen_bn", "Original VGG11: yes.", "not-reached not-reached"), (17, "at", "No.", "no no"),
    (19, "st", "Yes, but not an attack of their own.", "yes yes"), (23, "st", "No.", "no no")])
def test_bold_words_are_the_verdicts(number, regime, words, verdicts):
    "The bold words that open a row of README's summary go with the verdicts of the claims it names."
    bold = [b for heads, b in re.findall(r"^\|[^|]*\|([^|]*)\| \*\*(.+?)\*\*", README, re.M) if re.search(rf"#{number}\b", heads)]
    assert len(bold) == 1 and words in bold[0]
    found = claims(number, regime=regime).set_index("arch").verdict[list(ARCHS)]
    assert list(found.replace({"holds": "yes", "does not hold": "no", "not reached": "not-reached"})) == verdicts.split()

def test_what_is_said_beside_the_verdict_on_the_simplex_of_trades():
    "The original VGG11, further from a simplex than AT (14), is nearer to one than ST."
    assert "(It is nearer to one than ST, which by #1 has collapsed.)" in README
    trades, st = (each(lambda e: e.last(r, "clean", "equiangular"), n)[1] for r, n in (("trades", "fig4_trades"), ("st", "fig2_st")))
    assert trades < st and value(14, regime="trades")[1] > 1.5

def test_at_with_the_rate_and_schedule_of_the_paper():
    "Verdicts on 400 epochs of thirty images a class."
    assert "#7 to #11 are yes for both networks" in README
    assert [(claims(n, per_class="30", epochs="400", regime="at").verdict == "holds").tolist() for n in range(7, 12)] == 5 * [[True, True]]

def speed_on_cpus():
    """How many times as fast full-width steps are as the published loop, smallest and largest of networks and processors: AT in float32 and
    bfloat16, TRADES (not timed on the Xeon) likewise; ST in float32, largest."""
    t = pd.concat([pd.read_csv(FIGURES / f"bench_{m}.csv", comment="#") for m in ("epyc", "xeon")])
    t = t[(t["size"] == 32) & (t.table == "steps")].set_index(["regime", "version"]).ratio
    return [t[r, f"fast {p}"].agg(of) for r in ("at", "trades") for p in ("fp32", "bf16") for of in ("min", "max")] + [
        t["st", "fast fp32"].max()]

def test_speed_on_a_gpu_in_the_readme_is_the_benchmark():
    "Seconds an epoch and both ratios are those of `figures/bench_h200.csv`; the first words say in which way the step was made."
    t = pd.read_csv(FIGURES / "bench_h200.csv", comment="#").query("table == 'steps'").set_index(["regime", "arch", "version"])
    for r in ("st", "at", "trades"):
        cells = r" (\S+) s(?: \((.*?) only\))? \| (\S+) / (\S+) \|"
        way, *shown = re.search(rf"^\| {r.upper()}, (.*?) \|" + 2 * cells, README, re.M).groups()
        for arch, (seconds, only, plain, strict) in zip(ARCHS, (shown[:4], shown[4:])):
            fast = t.loc[r, arch, "fast bf16"]
            assert (only or way) == fast.way
            loops = [published_seconds(t, r, arch, v) / fast.seconds_per_epoch for v in ("plain fp32", "strict fp32")]
            assert [seconds, plain, strict] == [f"{v:.1f}" for v in (fast.seconds_per_epoch, *loops)]

    loop = t.loc["trades"].loc["vgg11"].seconds_per_epoch
    assert "one took a third less" in README and round(3 * (1 - loop["earlier all gradients fp32"] / loop["all gradients fp32"]), 1) == 1

def published_seconds(t, r, arch, version):
    "Of an epoch; that of TRADES, which was not timed, is reckoned from that of AT by passes (counted in 19_bench)."
    passes = dict(trades=39, trades_frozen_bn=40)
    return t.seconds_per_epoch["at" if r in passes else r, arch, version] * passes.get(r, 35) / 35

def test_days_for_all_of_the_paper_are_the_benchmarks_rates():
    "Epochs of every run of the sixteen figures, times seconds an epoch on an H200; frozen TRADES like TRADES where it was not timed."
    t = pd.read_csv(FIGURES / "bench_h200.csv", comment="#").query("table == 'steps'").set_index(["regime", "arch", "version"])
    given = dict(scale="paper", seeds=(1, 2, 3), precision="bf16", device="cpu")
    runs = {r.name: r.c for n, f in planned(**given).items() if n.startswith("fig") for r in f.runs}.values()
    fast = lambda c: next(t.seconds_per_epoch[k] for r in (c.regime, "trades") if (k := (r, c.arch, "fast bf16")) in t.index)
    days = [sum(c.epochs * of(c) for c in runs) / 86400 for of in (fast, lambda c: published_seconds(t, c.regime, c.arch, "plain fp32"))]
    assert f"of all {len(runs)} runs of the sixteen figures (400 epochs" in README and {c.epochs for c in runs} == {400}
    assert f"take {days[0]:.1f} days of one H200, by the published loop {days[1]:.0f};" in README

def claims(number=None, dataset="folder:cifar10", per_class="500", norm="linf", **where):
    "The rows of `claims.csv`."
    t = pd.read_csv(FIGURES / "claims.csv", dtype=TEXT)
    for k, v in dict(where, claim=number, dataset=dataset, per_class=per_class, norm=norm).items():
        if v is not None: t = t[t[k] == v]
    return t

def value(number, **where):
    "The numbers in brackets of a claim, PreActResNet18 first."
    return claims(number, **where).set_index("arch").value[list(ARCHS)].tolist()

def each(look, *names, data="cifar10_500", seed=None):
    "`look` at the tables of figures, of all seeds or one, as `Evidence`, PreActResNet18 first."
    t = pd.concat([pd.read_csv(FIGURES / f"{n}_{data}.csv", comment="#") for n in names])
    if seed: t = t[t.seed == seed]
    return [look(Evidence(t[t.arch == a], 100 if "100_" in data else 10)) for a in ARCHS]

def attacked(e): return 100 * e.last("st", "perturbed", "accuracy")

def full(look, *names):
    "`look` at VGG11 on all of CIFAR-10."
    t = pd.concat([pd.read_csv(FIGURES / f"{n}_cifar10.csv", comment="#") for n in names])
    return look(Evidence(t, 10))

def adaptive(view, under="perturbed"):
    "Test images, in percent, on which that layer of ST is right that is best `under` the attack on the network, or on the layer."
    best = lambda e: e.layers("st", under, "ncc_accuracy", "test").argmax()
    return each(lambda e: 100 * e.layers("st", view, "ncc_accuracy", "test")[best(e)], "adaptive")

def lost_by_early_layers():
    "On digits and pairs of digits: the share that the best early layer on test images loses under attack, smallest and largest."
    def best(view):
        def of(e): v = e.layers("st", view, "ncc_accuracy", "test"); return v[:len(v) // 2].max()
        return each(of, "fig12", data="digits") + each(of, "fig14", data="digits100")
    lost = [100 * (1 - a / c) for a, c in zip(best("perturbed"), best("clean"))]
    return [min(lost), max(lost)]

def angle_left(e):
    "The angle of the targeted means to their target's clean mean, as a share of that between two vertices."
    return e.last("st", "targeted", "simplex_similarity") / e.vertex_angle

def accuracy_near(e): return 100 * e.last("st", "eps=0.00784314", "accuracy")
def nc1_near(e): return e.last("st", "eps=0.00784314", "nc1") / e.last("st", "clean", "nc1")

def early_slopes(e):
    "How fast log NC1 falls over the first half of the layers under AT, ST's being 1."
    at, st = (np.log(v[:len(v) // 2]) for v in (e.layers(r, "clean", "nc1") for r in ("at", "st")))
    return np.divide(*(np.polyfit(range(len(v)), v, 1)[0] for v in (at, st)))

def unrelated(p):
    "Equiangular of ten centred means in random directions of `p` dimensions, averaged."
    gen = torch.Generator().manual_seed(0)
    return np.mean([equiangular((m := torch.randn(10, p, generator=gen, dtype=torch.double)) - m.mean(0)) for _ in range(200)])

def frozen_at_equal_fit(lr=0.1, metric="nc1"):
    """A metric of frozen TRADES over that of AT at rate `lr`, five hundred images a class: smallest and largest over seeds, for each
    network; at equal fit of its own images, then of clean ones."""
    t = pd.concat([carried("at", seeds="1,2", scale="subset", lr=lr), carried("trades_frozen_bn", seeds="1,2", scale="subset")])
    each = {a: [Evidence(t[(t.arch == a) & (t.seed == s)], 10) for s in (1, 2)] for a in ARCHS}
    return [of(e.at_equal_fit("trades_frozen_bn", view=v, metric=metric) for e in es)
            for v in (None, "clean") for es in each.values() for of in (min, max)]

def at_equal_loss():
    """Of `frozen_over_working`, with NC1 of the working network when what it minimised was as small as the frozen one's is, smallest and
    largest: read at the end, and before the rate drops for each network."""
    out = {(100, a): [] for a in ARCHS} | {(70, a): [] for a in ARCHS}
    for way, norm in (("st", "linf"), ("at", "l2"), ("trades", "l2")):
        t = carried(f"{way},{way}_frozen_bn", seeds="1,2", lr=0.05, norm=norm)
        for (arch, _), one in t.groupby(["arch", "seed"]):
            for epoch in (100, 70): out[epoch, arch].append(Evidence(one, 10).at_equal_loss(f"{way}_frozen_bn", way, epoch))
    end, *before = out[100, ARCHS[0]] + out[100, ARCHS[1]], out[70, ARCHS[0]], out[70, ARCHS[1]]
    return [of(found) for found in (end, *before) for of in (min, max)]

def at_equal_loss_and_fit():
    """NC1 of ST, frozen (epoch 120) over working at equal loss, without weight decay, at the first rate and every image fit in both:
    smallest and largest over seeds, for each network."""
    t, out = carried("st,st_frozen_bn", seeds="1,2", lr=0.05, weight_decay=0.0, epochs=400, measure_every=40), []
    for arch in ARCHS:
        es = [Evidence(t[(t.arch == arch) & (t.seed == s)], 10) for s in (1, 2)]
        assert all(e.fit(r)[120] == 1 for e in es for r in ("st", "st_frozen_bn"))
        assert all(e.minimised("st").loc[:280].min() <= e.minimised("st_frozen_bn")[120] for e in es)           # at the first rate
        found = [e.at_equal_loss("st_frozen_bn", "st", 120) for e in es]
        out += [min(found), max(found)]
    return out

def over_at_on_cifar():
    """NC1 of each seed of TRADES over AT: with batch norm frozen, on CIFAR-10 smallest, second largest and largest, on CIFAR-100 smallest
    and largest; of the original on both."""
    def ratios(regime, sets):
        tables = [series(carried(f"at,{regime}", **what), "clean", "nc1", by=("arch", "seed", "regime")) for what in sets]
        return sorted(x for end in (t.iloc[:, -1].unstack("regime") for t in tables) for x in end[regime] / end["at"])
    ten = [dict(seeds="1,2,3"), dict(seeds="1,2,3", norm="l2"), dict(seeds="1,2", scale="subset"), dict(width=64),
           dict(seeds="1,2", batch_size=128, epochs=200, measure_every=20)]
    hundred = [dict(seeds="1,2", dataset="folder:cifar100")]
    frozen, small, original = ratios("trades_frozen_bn", ten), ratios("trades_frozen_bn", hundred), ratios("trades", ten + hundred)
    return [frozen[0], *frozen[-2:], small[0], small[-1], original[0], original[-1]]

def robust_overfitting():
    """AT, five hundred a class: the peaks of accuracy on attacked test images in percent, their epochs, the ends; NC1 at the
    peaks over that at the end."""
    attacked, nc1 = (each(lambda e: e.series("at", *k), "fig2_at") for k in (("perturbed", "accuracy", "test"), ("clean", "nc1")))
    of_accuracy = [of(a) for of in (lambda a: 100 * a.max(), lambda a: a.idxmax(), lambda a: 100 * a.iloc[-1]) for a in attacked]
    return of_accuracy + [v[a.idxmax()] / v.iloc[-1] for a, v in zip(attacked, nc1)]

def frozen_turns(seeds=(), **change):
    """Of networks with frozen batch norm and 400 epochs: NC1 at the end over its least after all images are fit, smallest and largest.
    With a `change` ST alone, of `seeds`."""
    out, more = [], dict(lr=0.05, epochs=400, measure_every=40)
    at, other = ("at_frozen_bn", ARCHS[:1], 1, dict(norm="l2")), dict(precision="fp32")
    kinds = [("st_frozen_bn", ARCHS, 1, {}), ("st_frozen_bn", ARCHS, 2, other), at]
    if change: kinds = [("st_frozen_bn", ARCHS, s, other | change) for s in seeds]
    for regime, archs, seed, k in kinds:
        for a in archs:
            e = Evidence(carried(regime, a, seed, **more, **k), 10)
            assert e.fit(regime).loc[120:].min() == 1
            nc1 = e.series(regime, "clean", "nc1").loc[120:]
            out.append(nc1.iloc[-1] / nc1.min())
    return [min(out), max(out)]

def turns_with_weight_decay_and_a_high_rate():
    assert frozen_turns((1, 2), weight_decay=0.0) == frozen_turns((2,), milestones=(0.25, 0.375)) == [1, 1]
    return frozen_turns()

def by_weight_decay():
    "NC1 at the end of 400 epochs of ST without weight decay over that with it, smallest and largest of networks and seeds."
    def end(a, seed, w, precision="fp32"):
        return Evidence(carried("st", a, seed, precision=precision, weight_decay=w, lr=0.05, epochs=400, measure_every=40),
                        10).last("st", "clean", "nc1")
    found = [end(a, s, 0.0) / end(a, s, 5e-4, p) for a in ARCHS for s, p in ((1, "bf16"), (2, "fp32"))]
    return [min(found), max(found)]

def by_weight_decay_in_the_paper(regime):
    "The same with the paper's rate and schedule, seed by seed."
    end = lambda a, s, **more: Evidence(carried(regime, a, s, lr=0.1, milestones=(0.25, 0.375), epochs=400, measure_every=40, **more),
                                        10).last(regime, "clean", "nc1")
    found = [end(a, s, weight_decay=0.0) / end(a, s) for a in ARCHS for s in (1, 2)]
    return [min(found), max(found)]

def by_width():
    "NC1 of AT and of ST at the paper's width and at ours, and that of frozen and of original TRADES over AT's at the paper's."
    end = lambda regime, arch, k: Evidence(carried(regime, arch, **k), 10).last(regime, "clean", "nc1")
    widths = dict(width=64), {}
    return ([end(r, a, k) for r in ("at", "st") for k in widths for a in ARCHS]
            + [end(r, a, widths[0]) / end("at", a, widths[0]) for r in ("trades_frozen_bn", "trades") for a in ARCHS])

def by_width_in_the_paper():
    """The same with the paper's rate and schedule, each at the paper's width and at ours: AT of VGG11, ST of both networks, both TRADES of
    VGG11 over AT."""
    def end(regime, arch, width):
        t = carried(regime, arch, width=width, lr=0.1, milestones=(0.25, 0.375), epochs=400, measure_every=40)
        return Evidence(t, 10).last(regime, "clean", "nc1")
    at, *trades = ([end(r, "vgg11", w) for w in (64, None)] for r in ("at", "trades_frozen_bn", "trades"))
    return at + [end("st", a, w) for w in (64, None) for a in ARCHS] + [t / a for both in trades for t, a in zip(both, at)]

def frozen_over_working():
    """NC1 on clean images with batch norm frozen over NC1 with it working, the same of test images, and NC1 of TRADES over AT's in either
    mode: smallest and largest of ways of training, networks, seeds."""
    ways, nc1 = dict(st="linf", at="l2", trades="l2"), {}
    for regime, norm in [(w + mode, norm) for w, norm in ways.items() for mode in ("", "_frozen_bn")]:
        t = carried(regime, seeds="1,2", lr=0.05, norm=norm)
        last = lambda view, metric, split="train": series(t, view, metric, split, ("arch", "seed")).iloc[:, -1]
        assert (last(own_view(regime), "accuracy") == 1).all()
        for split in ("train", "test"): nc1[regime, split] = last("clean", "nc1", split)
    factors = [[nc1[f"{w}_frozen_bn", s] / nc1[w, s] for w in ways] for s in ("train", "test")]
    factors.append([nc1[f"trades{mode}", "train"] / nc1[f"at{mode}", "train"] for mode in ("", "_frozen_bn")])
    return [of(pd.concat(f)) for f in factors for of in (min, max)]

def as_in_the_paper(metric="nc1", by_arch=True, seeds=(1, 2), ways=("trades_frozen_bn", "trades"), **given):
    """A metric of TRADES over AT's, with the paper's rate and schedule, where all fit: smallest and largest over seeds (and networks),
    frozen, then original."""
    more = dict(lr=0.1, milestones=(0.25, 0.375), epochs=400, measure_every=40)
    t = carried(("at", *ways), seeds=seeds, **more, **given)
    each = {a: [Evidence(t[(t.arch == a) & (t.seed == s)], 10) for s in seeds] for a in ARCHS}
    assert all(e.fit(r).loc[280:].min() == 1 for es in each.values() for e in es for r in ("at", *ways))
    sets = list(each.values()) if by_arch else [sum(each.values(), [])]
    return [of(e.last(r, "clean", metric) / e.last("at", "clean", metric) for e in es)
            for r in ways for es in sets for of in (min, max)]

def by_one_seed(numbers, seeds="1,2,3", **what):
    "Of all verdicts of these figures, how many differ between seed 1 and all `seeds`."
    one, more = (verdicts.published(numbers, seeds=s, **what).verdict for s in ("1", seeds))
    return [sum(a != b for a, b in zip(one, more, strict=True)), len(one)]

def in_float32():
    "NC1 in float32 over that in bfloat16, where both are published: smallest, second largest, largest."
    end = lambda r, a, s, p, **k: Evidence(carried(r, a, s, precision=p, **k), 10).last(r, "clean", "nc1")
    cases = [(r, a, s, {}) for r in ("st", "at", "trades", "trades_frozen_bn") for a in ARCHS for s in (1, 2, 3)
             if plan(r, a, s, "pilot", dataset="folder:cifar10", precision="fp32", source="published")[0].csv.exists()]
    cases += [("at", a, 2, dict(lr=0.05)) for a in ARCHS]
    ratios = sorted(end(*c, "fp32", **k) / end(*c, "bf16", **k) for *c, k in cases)
    assert len(cases) == 16
    return [ratios[0], ratios[-2], ratios[-1]]

def changed_by_seeds():
    "How many verdicts change, of how many, when the other seeds join seed 1; on the two largest sets none does."
    cifar, hundred, small = (2, 3, 4, 11, 12, 16), (6, 7, 8, 9, 10, 13, 14), (2, 3, 4, 5, 11, 12, 15, 16)
    ten = dict(dataset="folder:cifar10")
    for figures, what in ((cifar, dict(scale="subset", **ten)), ((6, 8, 10), dict(scale="pilot", dataset="folder:cifar100"))):
        assert by_one_seed(figures, "1,2", **what)[0] == 0
    return (by_one_seed(small, scale="quick") + by_one_seed(hundred, scale="quick")
            + by_one_seed(small, scale="pilot", **ten))

def with_thirty_a_class():
    "Of the verdicts there are on five hundred a class: how many are what with thirty, how many differ; the same with the paper's schedule."
    key = ["claim", "norm", "regime", "arch"]
    def of(**where):
        t = claims(**where)
        return t[~t.figure.str.contains("pooled")].drop_duplicates(key).set_index(key).verdict
    large, small, paper = of(), of(per_class="30", epochs="100"), of(per_class="30", epochs="400")
    small, paper = small[large.index], paper[large.index]                             # without 22
    count = lambda v, *words: [(v == w).sum() for w in words]
    return [*count(small, "holds"), len(small), *count(small, "does not hold", "not reached"), (small != large).sum(), len(large),
            (paper[small.index] != small).sum(), *count(paper, "holds", "does not hold", "not reached", "undecided")]

NUMBERS = {
    r"on digits (\d+) of (\d+) verdicts change, on `digits100` .pairs of digits. (\d+) of (\d+), on thirty CIFAR-10 images a class (\d+) "
    r"of (\d+), on five":
        changed_by_seeds,
    r"images (\d+) of the paper's 23 claims are judged, .*: (\d+) of (\d+) verdicts are yes, (\d+) no, (\d+) \"not reached\"":
        lambda: [claims().claim.nunique(), *((claims().verdict == v).sum() if v else len(claims())
                                             for v in ("holds", None, "does not hold", "not reached"))],
    r"it is (\d+) of (\d+), too \((\d+) no, (\d+) not reached\), though (\d+) of the (\d+) are others; .* change (\d+) of those "
    r"\((\d+) yes, (\d+) no, (\d+) not reached, (\d+) undecided\)": with_thirty_a_class,
    r"quarter of the radius \(2/255\) (\d+) to (\d+) / (\d+) % are still right and NC1 is (\d+) to (\d+) / (\d+) times the clean one; on "
    r"thirty images a class (\d+) / (\d+) % and ([\d.]+) / ([\d.]+) times":
        lambda: [x for look in (accuracy_near, nc1_near) for x in (
                     *sorted(each(look, "fig2_st", "fig16", seed=s)[0] for s in (1, 2)), each(look, "fig2_st", "fig16")[1])]
                + [x for look in (accuracy_near, nc1_near) for x in each(look, "fig2_st", "fig16", data="cifar10_30")],
    r"cosines are ([\d.]+) / ([\d.]+) off a simplex's \(ST: ([\d.]+) / ([\d.]+)\); those of ten random vectors ([\d.]+) in the nine "
    r"dimensions that ten means can span, ([\d.]+) / ([\d.]+) in all":
        lambda: [x for r in ("at", "st") for x in each(lambda e: e.last(r, "clean", "equiangular"), f"fig2_{r}")]
                + [unrelated(p) for p in (9, 128, 256)],
    r"Cosines are ([\d.]+) / ([\d.]+) times as far off as AT's frozen \(.*?\), ([\d.]+) / ([\d.]+) times in the original\. .* it is "
    r"([\d.]+) to ([\d.]+) and ([\d.]+) to ([\d.]+) times: by the rule \(1.5\) frozen yes, original no":
        lambda: [x for r in ("trades_frozen_bn", "trades") for x in each(
            lambda e: e.last(r, "clean", "equiangular") / e.last("at", "clean", "equiangular"), "fig2_at", f"fig4_{r}")]
                + as_in_the_paper("equiangular", by_arch=False),
    r"; on test images ([\d.]+) / ([\d.]+)\. As":
        lambda: each(lambda e: e.last("trades_frozen_bn", "clean", "nc1", "test") / e.last("at", "clean", "nc1", "test"),
                     "fig2_at", "fig4_trades_frozen_bn"),
    r"falls from its peak, (\d+) / (\d+) % \(epoch (\d+) / (\d+)\), to (\d+) / (\d+) %, NC1 of training images (\d+) / (\d+) times mean":
        robust_overfitting,
    r"NC1 rises again, ([\d.]+) to ([\d.]+) times, after": turns_with_weight_decay_and_a_high_rate,
    r"NC1 of training images ends ([\d.]+) to ([\d.]+) times smaller with it under ST \(.*?\); with the paper's rate and schedule "
    r"([\d.]+) to ([\d.]+) times, under AT ([\d.]+) to ([\d.]+) times\.":
        lambda: by_weight_decay() + by_weight_decay_in_the_paper("st") + by_weight_decay_in_the_paper("at"),
    r"value of the loss freezing makes ([\d.]+) to (\d+) times at the end; at the first learning rate ([\d.]+) to ([\d.]+) / ([\d.]+) to "
    r"([\d.]+) times before all images are fit, and (\d+) to (\d+) / ([\d.]+) to ([\d.]+) times once they are":
        lambda: at_equal_loss() + at_equal_loss_and_fit(),
    r"images is (\d+) to (\d+), once (\d+) times that of AT \(CIFAR-100: ([\d.]+) to ([\d.]+)\).*\(NC1 ([\d.]+) to ([\d.]+) times\)":
        over_at_on_cifar,
    r"AT is ([\d.]+) to ([\d.]+) times as fast in float32, ([\d.]+) to ([\d.]+) in bfloat16, TRADES ([\d.]+) to ([\d.]+) and ([\d.]+) to "
    r"([\d.]+) \(EPYC\), ST in float32 at most ([\d.]+)":
        speed_on_cpus,
    r"seed does: NC1 is ([\d.]+) to ([\d.]+) times, once ([\d.]+) \(": in_float32,
    r"NC1 on clean images is ([\d.]+) / ([\d.]+). On attacked ones it is (\d+) / (\d+) times as large, and ([\d.]+) / ([\d.]+) % of":
        lambda: each(lambda e: e.last("st", "clean", "nc1"), "fig2_st") + value(18) + each(attacked, "fig2_st"),
    r"On clean \*test\* images NC1 ends at (\d+) / (\d+) \(ST: (\d+) / (\d+)\)":
        lambda: [x for r in ("at", "st") for x in each(lambda e: e.last(r, "clean", "nc1", "test"), f"fig2_{r}")],
    r"NC1 ends at ([\d.]+) / ([\d.]+) on clean ones, ([\d.]+) / ([\d.]+) on attacked ones \(([\d.]+) / ([\d.]+) under a fresh "
    r"attack, .* lie ([\d.]+) / ([\d.]+) rad apart \(they begin so: ([\d.]+) / ([\d.]+) after":
        lambda: [x for v in ("clean", "perturbed") for x in each(lambda e: e.last("at", v, "nc1"), "fig2_at")]
                 + each(lambda e: e.layers("at", "perturbed", "nc1")[-1], "fig11") + value(10)
                 + each(lambda e: e.first("at", "perturbed", "simplex_similarity"), "fig2_at"),
    r"differ on ([\d.]+) / ([\d.]+) % \(the rule allows": lambda: [100 * v for v in value(11)],
    r"leaves them (\d+) / (\d+) % of a thousand test images \(seed 2; the network under its own (\d+) / (\d+) %\)":
        lambda: [100 * x for view, metric in (("adaptive", "ncc_accuracy"), ("perturbed", "accuracy"))
                 for x in each(lambda e: e.layers("at", view, metric, "test")[-1], "adaptive")],
    r"right on ([\d.]+) / ([\d.]+) % of attacked training images, on (\d+) / (\d+) % of attacked test images. There the network is right "
    r"on (\d+) / (\d+) %":
        lambda: [100 * x for m, s in (("ncc_accuracy", "train"), ("ncc_accuracy", "test"), ("accuracy", "test"))
                 for x in each(lambda e: e.last("at", "perturbed", m, s), "fig2_at")],
    r"frozen \(at equal fit ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+)\)": lambda: frozen_at_equal_fit(metric="equiangular")[:4],
    r"at equal fit ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+) \(of clean images ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+)\), and":
        frozen_at_equal_fit,
    r"at equal rate, too, ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+) \(([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+)\): the yes hangs":
        lambda: frozen_at_equal_fit(0.05),
    r"early layers \(([\d.]+) / ([\d.]+) times as fast": lambda: each(early_slopes, "fig11"),
    r"most of the way, ([\d.]+) of the angle between two classes": lambda: each(angle_left, "fig3")[:1],
    r"the attack arrives for (\d+) % only": lambda: each(lambda e: 100 * e.last("st", "targeted", "success"), "fig3")[1:],
    r"as in the paper's release: ([\d.]+) / ([\d.]+) times": lambda: value(13, regime="trades_frozen_bn"),
    r"publish it \(\*original\*\): ([\d.]+) / ([\d.]+) times": lambda: value(13, regime="trades"),
    r"two seeds: frozen ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+) times, original ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+); without":
        as_in_the_paper,
    r"without weight decay ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+) and ([\d.]+) to ([\d.]+) / ([\d.]+) to ([\d.]+) times":
        lambda: as_in_the_paper(weight_decay=0.0),
    r"NC1 of AT ends at ([\d.]+) / ([\d.]+), at ours at ([\d.]+) / ([\d.]+) \(ST: ([\d.]+) / ([\d.]+), at ours ([\d.]+) / ([\d.]+)\); "
    r"frozen TRADES has ([\d.]+) / ([\d.]+) times AT's, the original ([\d.]+) / ([\d.]+) \(": by_width,
    r"as well VGG11 ends at ([\d.]+) under AT, at our width at ([\d.]+) \(ST, with PreActResNet18: ([\d.]+) / ([\d.]+), at ours "
    r"([\d.]+) / ([\d.]+)\), and frozen TRADES has ([\d.]+) times AT's, at ours ([\d.]+), the original ([\d.]+), at ours ([\d.]+)\.":
        by_width_in_the_paper,
    r"Freezing multiplies NC1 by ([\d.]+) to (\d+) under .* test images by ([\d.]+) to ([\d.]+)\), TRADES for AT by ([\d.]+) to ([\d.]+)\.":
        frozen_over_working,
    r"ST is right on ([\d.]+) % of the attacked images, NC1 (\d+) times the clean one, and the attack that aims at a class leaves "
    r"([\d.]+) of":
        lambda: [full(attacked, "fig2_st"), *claims(18, per_class="all").value, full(angle_left, "fig3")],
    r"fit their attacked images yet \(([\d.]+) and ([\d.]+) %\)":
        lambda: [full(lambda e: 100 * e.peak(r, "perturbed"), n) for r, n in (("at", "fig2_at"), ("trades", "fig4_trades"))],
    r"NC1 of the original TRADES is ([\d.]+) times that of AT": lambda: claims(13, per_class="all", regime="trades").value.tolist(),
    r"right on (\d+) % of its perturbed images, and after epoch 35 its NC1 is ([\d.]+) times that of AT, at equal fit ([\d.]+) times":
        lambda: [full(look, "fig4_trades_frozen_bn", "fig2_at") for look in (
            lambda e: 100 * e.last("trades_frozen_bn", "perturbed", "accuracy"),
            lambda e: np.divide(*(e.series(r, "clean", "nc1")[35] for r in ("trades_frozen_bn", "at"))),
            lambda e: e.at_equal_fit("trades_frozen_bn", "at", 35))],
    r"cut short after (\d+) epochs, last measured after (\d+)\)":
        lambda: [int(claims(8, per_class="all").epochs.item().split()[0]), full(lambda e: e.fit("at").index[-1], "fig2_at")],
    r"right on (\d+) / (\d+) % of a thousand test images": lambda: adaptive("clean"),
    r"(\d+) / (\d+) % under the attack on the network": lambda: adaptive("perturbed"),
    r"(\d+) / (\d+) % under one on that layer": lambda: adaptive("adaptive"),
    r"does best under its own: ([\d.]+) / ([\d.]+) %": lambda: adaptive("adaptive", "adaptive"),
    r"on digits and pairs of digits the best of them loses (\d+) to (\d+) % of it": lost_by_early_layers,
    r"over all of them ([\d.]+) / ([\d.]+) times": lambda: value(17),
}

@pytest.mark.parametrize("words", NUMBERS)
def test_numbers_are_those_of_the_tables(words):
    "What stands under \"What holds up\" is what the tables give, rounded to the digits shown."
    shown = re.search(words, README).groups()
    assert list(shown) == [f"{v:.{len(s.partition('.')[2])}f}" for s, v in zip(shown, NUMBERS[words](), strict=True)]

PAGES = {int(p.stem[3:]): text for p in (ROOT / "nbs").glob("fig*.ipynb") if "three seeds" in (text := p.read_text(encoding="utf-8"))}

@pytest.mark.parametrize("number", sorted(PAGES))
def test_pages_say_whether_three_seeds_agree(number):
    "Beside the verdicts of one seed that a figure's page shows."
    changed, _ = by_one_seed((number,), scale="quick")
    assert ("say otherwise in places" if changed else "say the same") in PAGES[number]

def test_every_published_picture_is_in_the_gallery():
    "And what a page shows of them, it also says in words."
    gallery = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in FIGURES.glob("*.png") if p.name not in gallery] == []
    for tag in re.findall("<img .*?>", gallery + README): assert re.search(r'alt="[^"]{10,}"', tag), tag
