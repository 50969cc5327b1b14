"What README.md says in numbers is what the published tables hold."
import re, shutil
from pathlib import Path
import pandas as pd, pytest
from nc_robust import figures, verdicts
from nc_robust.claims import CLAIMS, Evidence, judge
from nc_robust.config import ARCHS
from nc_robust.plans import collect, plan
from nc_robust.verdicts import TEXT, markdown, merge

ROOT = Path(__file__).resolve().parent.parent
FIGURES, README = ROOT / "figures", (ROOT / "README.md").read_text(encoding="utf-8")
def test_claims_table_is_made_from_the_figures(tmp_path):
    "`claims.csv` and README's table are what `make claims` makes of the published verdicts."
    for f in FIGURES.glob("fig*_claims.csv"): shutil.copy(f, tmp_path)
    table = markdown(merge(tmp_path))
    assert (tmp_path / "claims.csv").read_bytes() == (FIGURES / "claims.csv").read_bytes()
    assert f"<!-- claims -->\n{table}\n<!-- /claims -->" in README

@pytest.mark.parametrize("machine", ["epyc", "xeon"])
def test_speed_in_the_readme_is_the_benchmark(machine):
    "Every number of README's speed table is the ratio in `figures/bench_<machine>.csv`, to one digit after the point."
    t = pd.read_csv(FIGURES / f"bench_{machine}.csv", comment="#")
    t = t[t["size"] == 32]
    def ratio(table, regime, arch, precision):
        mine = t[(t.table == table) & (t.arch == arch) & (t.version == f"fast {precision}") & ((t.regime == regime) | (table == "attack"))]
        return f"{mine.ratio.item():.1f}"
    rows = re.findall(r"^\| (ST|AT|TRADES|PGD on a finished network) \|" + r" (\S+) / (\S+) \|" * 4 + "$", README, re.M)
    assert len(rows) == 4
    for name, *shown in rows:
        where = ("attack", None) if name.startswith("PGD") else ("steps", name.lower())
        mine = shown[:4] if machine == "epyc" else shown[4:]
        assert mine == [ratio(*where, arch, p) for arch in ARCHS for p in ("fp32", "bf16")], name

def test_speed_on_a_gpu_in_the_readme_is_the_benchmark():
    "Seconds an epoch and both ratios are those of `figures/bench_h200.csv`; the first words say in which way the step was made."
    t = pd.read_csv(FIGURES / "bench_h200.csv", comment="#").query("table == 'steps'").set_index(["regime", "arch", "version"])
    for r in ("st", "at", "trades"):
        cells = r" (\S+) s(?: \((.*?) only\))? \| (\S+) / (\S+) \|"
        way, *shown = re.search(rf"^\| {r.upper()}, (.*?) \|" + 2 * cells, README, re.M).groups()
        for arch, (seconds, only, plain, strict) in zip(ARCHS, (shown[:4], shown[4:])):
            fast = t.loc[r, arch, "fast bf16"]
            assert (only or way) == fast.way
            assert [seconds, plain, strict] == [f"{v:.1f}" for v in (fast.seconds_per_epoch, fast.ratio,
                                                                     fast.ratio / t.loc[r, arch, "strict fp32"].ratio)]

def claims(number=None, dataset="folder:cifar10", per_class="500", norm="linf", **where):
    "The rows of `claims.csv`."
    t = pd.read_csv(FIGURES / "claims.csv", dtype=TEXT)
    for k, v in dict(where, claim=number, dataset=dataset, per_class=per_class, norm=norm).items():
        if v is not None: t = t[t[k] == v]
    return t

def value(number, **where):
    "The numbers in brackets of a claim, PreActResNet18 first."
    return claims(number, **where).set_index("arch").value[list(ARCHS)].tolist()

def each(look, *names, data="cifar10_500"):
    "`look` at the tables of figures, as `Evidence`, PreActResNet18 first."
    t = pd.concat([pd.read_csv(FIGURES / f"{n}_{data}.csv", comment="#") for n in names])
    return [look(Evidence(t[t.arch == a], 100 if "100_" in data else 10)) for a in ARCHS]

def attacked(e): return 100 * e.last("st", "perturbed", "accuracy")

def full(look, *names):
    "`look` at VGG11 on all of CIFAR-10."
    t = pd.concat([pd.read_csv(FIGURES / f"{n}_cifar10.csv", comment="#") for n in names])
    return look(Evidence(t, 10))

def adaptive(view):
    "Test images, in percent, on which that layer of ST is right that is best under the attack on the network."
    best = lambda e: e.layers("st", "perturbed", "ncc_accuracy", "test").argmax()
    return each(lambda e: 100 * e.layers("st", view, "ncc_accuracy", "test")[best(e)], "adaptive")

HUNDRED = dict(dataset="folder:cifar100", per_class="30")

def angle_left(e):
    "The angle of the targeted means to their target's clean mean, as a share of that between two vertices."
    return e.last("st", "targeted", "simplex_similarity") / e.vertex_angle

def fall_of_at(e):
    "How fast log NC1 falls over the layers under AT, ST's being 1."
    return judge(next(c for c in CLAIMS if c.number == 17), e, "at")["value"]

def frozen_over_working():
    "NC1 on clean images with batch norm frozen over NC1 with it working: smallest and largest of ways of training, networks, seeds."
    def end(regime, **more):
        t = collect(plan(regime, "preact_resnet18,vgg11", "1,2", "pilot", dataset="folder:cifar10", source="published", **more))
        assert t[(t.split == "train") & (t["view"] == ("clean" if regime.startswith("st") else "perturbed"))
                 & (t.metric == "accuracy") & (t.epoch == t.epoch.max())].value.min() == 1
        t = t[(t.split == "train") & (t["view"] == "clean") & (t.layer == "features") & (t.metric == "nc1") & (t.epoch == t.epoch.max())]
        return t.set_index(["arch", "seed"]).value
    l2 = dict(norm="l2")
    pairs = [(end("st", lr=0.05), end("st_frozen_bn")), (end("at", lr=0.05, **l2), end("at_frozen_bn", **l2)),
             (end("trades", **l2), end("trades_frozen_bn", **l2))]
    return [f((frozen / working).agg(f.__name__) for working, frozen in pairs) for f in (min, max)]

def as_in_the_paper():
    "NC1 over that of AT, with the paper's rate and schedule, smallest and largest over seeds: frozen, then original, where all fit."
    t = collect(plan("at,trades,trades_frozen_bn", "preact_resnet18,vgg11", "1,2", "pilot", dataset="folder:cifar10", source="published",
                     lr=0.1, milestones=(0.25, 0.375), epochs=400, measure_every=40))
    each = {a: [Evidence(t[(t.arch == a) & (t.seed == s)], 10) for s in (1, 2)] for a in ARCHS}
    assert all(e.fit(r).loc[280:].min() == 1 for es in each.values() for e in es for r in ("at", "trades", "trades_frozen_bn"))
    return [of(e.last(r, "clean", "nc1") / e.last("at", "clean", "nc1") for e in es)
            for r in ("trades_frozen_bn", "trades") for es in each.values() for of in (min, max)]

def by_one_seed(numbers, seeds="1,2,3", **what):
    "Of all verdicts of these figures, how many differ between seed 1 and all `seeds`."
    def judged(seeds):
        figs = [figures.Figure(f"fig{n}", seeds=seeds, source="published", **what) for n in numbers]
        return [v for f in figs for v in verdicts.rows(f, figures.table(f)).verdict]
    one, more = judged("1"), judged(seeds)
    return [sum(a != b for a, b in zip(one, more, strict=True)), len(one)]

def in_float32():
    "NC1 in float32 over that in bfloat16, where both are published: smallest, second largest, largest; and verdicts that float32 turns."
    end = lambda c, p: Evidence(collect(plan(*c, "pilot", dataset="folder:cifar10", precision=p, source="published")), 10).last(
        c[0], "clean", "nc1")
    cases = [(r, a, s) for r in ("st", "at", "trades", "trades_frozen_bn") for a in ARCHS for s in (1, 2, 3)
             if plan(r, a, s, "pilot", dataset="folder:cifar10", precision="fp32", source="published")[0].csv.exists()]
    ratios = sorted(end(c, "fp32") / end(c, "bf16") for c in cases)
    assert len(cases) == 12
    def judged(**what):
        figs = [figures.Figure(f"fig{n}", "st" if n in (11, 12) else None, scale="pilot", dataset="folder:cifar10", source="published",
                               **what) for n in (2, 3, 4, 11, 12, 16)]
        return [v for f in figs for v in verdicts.rows(f, figures.table(f)).verdict]
    one = judged(seeds=1, precision="bf16")
    turned = [sum(a != b for a, b in zip(one, judged(**w), strict=True)) for w in (
        dict(seeds=1, precision="fp32"), dict(seeds=2, precision="bf16"), dict(seeds=3, precision="bf16"))]
    assert len(set(turned)) == 1
    return [turned[0], len(one), ratios[0], ratios[-2], ratios[-1]]

def all_verdicts_stay(*figures, **what):
    changed, all_of_them = by_one_seed(*figures, **what)
    assert changed == 0
    return [all_of_them]

def published_trades_loop():
    "Seconds an epoch of VGG11: as measured with the ratio, the ratio, in the earlier measurement, and in strict float32, alike in both."
    t = pd.read_csv(FIGURES / "bench_h200.csv", comment="#").query("regime == 'trades' and arch == 'vgg11'").set_index("version")
    seconds = t.seconds_per_epoch
    assert f"{seconds['strict fp32']:.0f}" == f"{seconds['earlier strict fp32']:.0f}"
    return [seconds["plain fp32"], t.ratio["fast bf16"], seconds["earlier plain fp32"], seconds["strict fp32"]]

NUMBERS = {
    r"on digits (\d+) of (\d+) verdicts change when seeds 2 and 3 join seed 1":
        lambda: by_one_seed((2, 3, 4, 5, 11, 12, 15, 16), scale="quick"),
    r"(\d+) of (\d+) verdicts of seed 1, as many as seed 2 or 3 does; NC1 is ([\d.]+) to ([\d.]+) times that in bfloat16, once ([\d.]+)":
        in_float32,
    r"on `digits100` (\d+) of (\d+);": lambda: by_one_seed((6, 7, 8, 9, 10, 13, 14), scale="quick"),
    r"on CIFAR-100 none of (\d+) when seed 2 does":
        lambda: all_verdicts_stay((6, 8, 10), "1,2", scale="pilot", dataset="folder:cifar100"),
    r"paper's 23 claims (\d+) are judged on it": lambda: [claims().claim.nunique()],
    r"TRADES: (\d+) of (\d+) verdicts are yes, (\d+) no .*, (\d+) \"not reached\"":
        lambda: [(claims().verdict == v).sum() if v else len(claims()) for v in ("holds", None, "does not hold", "not reached")],
    r"right on ([\d.]+) and ([\d.]+) % of the attacked images": lambda: each(attacked, "fig2_st"),
    r"NC1 (\d+) and (\d+) times the clean one": lambda: value(18),
    r"differ from a simplex's by ([\d.]+) and ([\d.]+) after the first epoch, by ([\d.]+) and ([\d.]+) at the end":
        lambda: [x for when in ("first", "last") for x in each(lambda e: getattr(e, when)("st", "clean", "equiangular"), "fig2_st")],
    r"cosines come on average within ([\d.]+) and ([\d.]+) of": lambda: each(lambda e: e.last("at", "clean", "equiangular"), "fig2_at"),
    r"NC1 falls only to (\d+) and (\d+) \(ST: (\d+) and (\d+)\), and the attack moves the means by ([\d.]+) and ([\d.]+) rad":
        lambda: [x for r, *key in (("at", "clean", "nc1"), ("st", "clean", "nc1"), ("at", "perturbed", "simplex_similarity"))
                 for x in each(lambda e: e.last(r, *key, "test"), f"fig2_{r}")],
    r"most of the way, ([\d.]+) of the angle between two vertices": lambda: each(angle_left, "fig3")[:1],
    r"the attack arrives for (\d+) % only": lambda: each(lambda e: 100 * e.last("st", "targeted", "success"), "fig3")[1:],
    r"class means, centred, lie ([\d.]+) and ([\d.]+) rad apart": lambda: value(10),
    r"([\d.]+) and ([\d.]+) times with batch norm frozen": lambda: value(13, regime="trades_frozen_bn"),
    r"; ([\d.]+) and ([\d.]+) times as its own authors": lambda: value(13, regime="trades"),
    r"all fit: ([\d.]+) to ([\d.]+) and ([\d.]+) to ([\d.]+) times frozen, ([\d.]+) to ([\d.]+) and ([\d.]+) to ([\d.]+) times not":
        as_in_the_paper,
    r"frozen, it multiplies NC1 by ([\d.]+) to (\d+) under": frozen_over_working,
    r"ST is right on ([\d.]+) % of the attacked images, NC1 (\d+) times the clean one, and the targeted attack leaves ([\d.]+) of":
        lambda: [full(attacked, "fig2_st"), *claims(18, per_class="all").value, full(angle_left, "fig3")],
    r"fit their attacked images yet \(([\d.]+) and ([\d.]+) %\)":
        lambda: [full(lambda e: 100 * e.peak(r, "perturbed"), n) for r, n in (("at", "fig2_at"), ("trades", "fig4_trades"))],
    r"NC1 of TRADES, batch norm working, is ([\d.]+) times that of AT": lambda: claims(13, per_class="all", regime="trades").value.tolist(),
    r"than after 15 \(by ([\d.]+) of their mean, ([\d.]+) before\), those of AT less \(([\d.]+), ([\d.]+) before\)":
        lambda: [full(lambda e: e.series(r, "clean", "equinorm_cv")[n], name) for r, name in (("trades", "fig4_trades"), ("at", "fig2_at"))
                 for n in (35, 15)],
    r"right on (\d+) % of its perturbed images \((\d+) % of the clean ones\), its NC1 stays at ([\d.]+)":
        lambda: [full(lambda e: k * e.last("trades_frozen_bn", v, m), "fig4_trades_frozen_bn")
                 for k, v, m in ((100, "perturbed", "accuracy"), (100, "clean", "accuracy"), (1, "clean", "nc1"))],
    r"after epoch 35 is ([\d.]+) times that of AT and ([\d.]+) times that of TRADES with it working":
        lambda: [full(lambda e: e.series("trades_frozen_bn", "clean", "nc1")[35] / e.series(r, "clean", "nc1")[35],
                      "fig4_trades_frozen_bn", n) for r, n in (("at", "fig2_at"), ("trades", "fig4_trades"))],
    r"AT and TRADES cut short after (\d+), last measured after (\d+)\)":
        lambda: [int(claims(8, per_class="all").epochs.item().split()[0]), full(lambda e: e.fit("at").index[-1], "fig2_at")],
    r"right on (\d+) and (\d+) % of a thousand test images": lambda: adaptive("clean"),
    r"on (\d+) and (\d+) % when the network is attacked": lambda: adaptive("perturbed"),
    r"on (\d+) and (\d+) % when the attack aims at that layer": lambda: adaptive("adaptive"),
    r"themselves the best layers keep (\d+) and (\d+) %":
        lambda: each(lambda e: 100 * e.layers("st", "adaptive", "ncc_accuracy", "test").max(), "adaptive"),
    r"TRADES of VGG11 took (\d+) s an epoch where ([\d.]+) was measured and (\d+) s on .* \(in strict float32 (\d+) s on both\)":
        published_trades_loop,
    r"about as fast \(([\d.]+) times\), in VGG11 faster \(([\d.]+) times": lambda: value(17),
    r"a class ([\d.]+) and ([\d.]+) times, on CIFAR-100 ([\d.]+) and ([\d.]+)\. The":
        lambda: value(17, per_class="30") + value(17, **HUNDRED),
    r"so averaged it is ([\d.]+) and ([\d.]+) times": lambda: each(fall_of_at, "fig11_pooled", data="cifar10_30"),
}

@pytest.mark.parametrize("words", NUMBERS)
def test_numbers_are_those_of_the_tables(words):
    "What stands under \"What holds up\" is what the tables give, rounded to the digits shown."
    shown = re.search(words, README).groups()
    assert list(shown) == [f"{v:.{len(s.partition('.')[2])}f}" for s, v in zip(shown, NUMBERS[words](), strict=True)]
