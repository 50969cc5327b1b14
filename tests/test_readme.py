"What README.md says in numbers is what the published tables hold."
import json, re, shutil
from pathlib import Path
import pandas as pd, pytest
from nc_robust import plans
from nc_robust.claims import Evidence
from nc_robust.config import ARCHS
from nc_robust.files import read_head
from nc_robust.metrics import random_equiangular
from nc_robust.verdicts import TEXT, markdown, merge

ROOT = Path(__file__).resolve().parent.parent
FIGURES, README = ROOT / "figures", (ROOT / "README.md").read_text(encoding="utf-8")
FULL = ["fig2_st", "fig2_at", "fig4_trades", "fig4_trades_frozen_bn"]

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

def claims(number=None, dataset="folder:cifar10", per_class="500", norm="linf", **where):
    "The rows of `claims.csv`."
    t = pd.read_csv(FIGURES / "claims.csv", dtype=TEXT)
    for k, v in dict(where, claim=number, dataset=dataset, per_class=per_class, norm=norm).items():
        if v is not None: t = t[t[k] == v]
    return t

def value(number, **where):
    "The numbers in brackets of a claim, PreActResNet18 first."
    return claims(number, **where).set_index("arch").value[list(ARCHS)].tolist()

def said(number, pattern, **where):
    "What `pattern` finds in the tests of a claim, in the order of the rows."
    return [float(re.search(pattern, t)[1]) for t in claims(number, **where).test]

def each(look, *names, data="cifar10_500"):
    "`look` at the tables of figures, as `Evidence`, PreActResNet18 first."
    t = pd.concat([pd.read_csv(FIGURES / f"{n}_{data}.csv", comment="#") for n in names])
    return [look(Evidence(t[t.arch == a], 100 if "100_" in data else 10)) for a in ARCHS]

def percent(regime, view, split="train", metric="accuracy"):
    return each(lambda e: 100 * e.last(regime, view, metric, split), f"fig2_{regime}")

def early(view, split):
    "Of ST's early layers the one whose nearest centres keep most under the attack: how often they are right on `view`, in percent."
    def look(e):
        kept = e.layers("st", "perturbed", "ncc_accuracy", split)
        return 100 * e.layers("st", view, "ncc_accuracy", split)[kept[:len(kept) // 2].argmax()]
    return each(look, "fig12")

def adaptive(regime, view, metric="ncc_accuracy"):
    "Test images, in percent, on which the layer is right that is best under the attack on the network."
    best = lambda e: e.layers(regime, "perturbed", "ncc_accuracy", "test").argmax()
    return each(lambda e: 100 * e.layers(regime, view, metric, "test")[best(e)], "adaptive")

def fresh():
    "NC1 of AT under a fresh attack over that on the images of the last epoch."
    now, then = each(lambda e: e.layers("at", "perturbed", "nc1")[-1], "fig11"), each(lambda e: e.last("at", "perturbed", "nc1"), "fig2_at")
    return [a / b for a, b in zip(now, then)]

HUNDRED = dict(dataset="folder:cifar100", per_class="30")

def agreeing():
    "Of how many verdicts on CIFAR-100 and on CIFAR-10 are alike, and of how many, over both networks."
    shares, counts = value(16, **HUNDRED), said(16, r"\((\d+) compared", **HUNDRED)
    return [sum(a * n for a, n in zip(shares, counts)), sum(counts)]

def nc1_of_a_hundred():
    "AT's last NC1 on clean CIFAR-100 images, and its share of the first in percent."
    first, last = (each(lambda e: getattr(e, when)("at", "clean", "nc1"), "fig6_at", data="cifar100_30") for when in ("first", "last"))
    return [*last, *(100 * b / a for a, b in zip(first, last))]

def one_machine():
    "NC1 of TRADES over that of AT, CIFAR-100, PreActResNet18, seed 2; the tables name one processor."
    both = plans.plan("trades,at", "preact_resnet18", 2, "pilot", dataset="folder:cifar100", source="published")
    assert len({read_head(r.csv)["hardware"] for r in both}) == 1
    e = Evidence(plans.collect(both), 100)
    return [e.last("trades", "clean", "nc1") / e.last("at", "clean", "nc1")]

def fit(regime): return each(lambda e: 100 * e.fit(regime).max(), *FULL)
def ends(found): return [min(found), max(found)]

def reached(**where):
    "The share of images, in percent, for which the targeted attack reached its target."
    return said(4, r"(\d+)% of the images", **where)

def reached_elsewhere():
    "Least and most on the smaller sets."
    sets = (("digits", "10"), ("digits100", "2"), ("folder:cifar10", "30"), ("folder:cifar100", "30"))
    return ends([x for d, n in sets for x in reached(dataset=d, per_class=n)])

def angle_left():
    "The angle of the targeted means to their target's clean mean, as a share of that between two vertices."
    return each(lambda e: e.last("st", "targeted", "simplex_similarity") / e.right, "fig3")

def cosines(regime):
    "The equiangular term on clean images, as a multiple of AT's."
    return each(lambda e: e.last(regime, "clean", "equiangular") / e.last("at", "clean", "equiangular"), f"fig4_{regime}", "fig2_at")

def on_test(regime): return each(lambda e: e.last(regime, "clean", "nc1", "test"), f"fig2_{regime}")

def agreed(how): return sum(said(16, rf"(\d+) as {how}", **HUNDRED))

def published_networks():
    "{(figure's data, regime, arch): equiangular term on clean images at the end, mean over seeds, over that of random directions}."
    out = {}
    for f in sorted(FIGURES.glob("fig[245689]_*.csv")):
        t = pd.read_csv(f, comment="#", dtype=dict(claim=str)) if "claims" not in f.name else pd.DataFrame(columns=["layer"])
        t = t[t.layer == "features"]
        if t.empty: continue
        t = t[(t["view"] == "clean") & (t.metric == "equiangular") & (t.split == "train")]
        width = re.search(r"^# width: (.*)$", f.read_text(), re.M)[1]
        assert json.loads(width) == ["16", "32"]
        for (r, a), g in t[t.epoch == t.epoch.max()].groupby(["regime", "arch"]):
            out[f.stem, r, a] = g.value.mean() / random_equiangular({"preact_resnet18": 128, "vgg11": 256}[a])
    return out

def test_one_network_is_nearer_to_a_simplex_than_random_directions():
    "README says so of VGG11 under AT with five hundred images a class, and of no other."
    found = published_networks()
    assert len(found) > 30 and [k for k, v in found.items() if v < 1] == [("fig2_at_cifar10_500", "at", "vgg11")]

NUMBERS = {
    r"largest set here \((\d+) of (\d+) verdicts are yes, (\d+) no, (\d+) \"not reached\"":
        lambda: [(claims().verdict == v).sum() if v else len(claims()) for v in ("holds", None, "does not hold", "not reached")],
    r"right on ([\d.]+) and ([\d.]+) % of the attacked ones": lambda: percent("st", "perturbed"),
    r"where NC1 is (\d+) and (\d+) times the clean one": lambda: value(18),
    r"reaches its target for (\d+) and (\d+) % of the images": reached,
    r"class means to ([\d.]+) and ([\d.]+) of the angle between two vertices": angle_left,
    r"as on all other sets \((\d+) to (\d+) %\)": reached_elsewhere,
    r"right on (\d+) to (\d+) % of the attacked images, of (\d+) to (\d+) % of the clean":
        lambda: [x for v in ("perturbed", "clean") for x in ends(early(v, "train") + early(v, "test"))],
    r"\(10: ([\d.]+) and ([\d.]+) rad, at most ([\d.]+) on the way": lambda: value(10) + [max(said(10, r"at most ([\d.]+)"))],
    r"its cosines deviate by ([\d.]+), PreActResNet18's by ([\d.]+)":
        lambda: each(lambda e: e.last("at", "clean", "equiangular"), "fig2_at")[::-1],
    r"random directions in as many dimensions do by ([\d.]+) and ([\d.]+)": lambda: [random_equiangular(p) for p in (256, 128)],
    r"NC1 of AT is (\d+) and (\d+) on clean ones \(ST: (\d+) and (\d+)\)": lambda: on_test("at") + on_test("st"),
    r"attacked \*test\* images it is right on (\d+) and (\d+) %": lambda: percent("at", "perturbed", "test"),
    r"its nearest-centre classifier on (\d+) and (\d+) %": lambda: percent("at", "perturbed", "test", "ncc_accuracy"),
    r"release, has ([\d.]+) and ([\d.]+) times the NC1 of AT": lambda: value(13, regime="trades_frozen_bn"),
    r"its cosines are ([\d.]+) and ([\d.]+) times as far off \(14 is": lambda: cosines("trades_frozen_bn"),
    r"disagree with the network on ([\d.]+) and ([\d.]+) % of the perturbed training images \(AT: ([\d.]+) and ([\d.]+) %\)":
        lambda: [100 * x for r, f in (("trades_frozen_bn", "fig4_trades_frozen_bn"), ("at", "fig2_at"))
                 for x in each(lambda e: e.last(r, "perturbed", "nc4"), f)],
    r"publish it, has ([\d.]+) and ([\d.]+) times the NC1": lambda: value(13, regime="trades"),
    r"13 fails; its cosines are ([\d.]+) and ([\d.]+) times": lambda: cosines("trades"),
    r"of the (\d+) and (\d+) % that the best early": lambda: adaptive("st", "perturbed"),
    r"(\d+) and (\d+) % are left under one on themselves": lambda: adaptive("st", "adaptive"),
    r"Those of AT keep (\d+) and (\d+) %": lambda: adaptive("at", "adaptive"),
    r"more than the network itself \((\d+) and (\d+) %": lambda: adaptive("at", "perturbed", "accuracy"),
    r"than on clean images \(([\d.]+) against ([\d.]+)\)":
        lambda: each(lambda e: [e.last("st", v, "nc1") for v in ("targeted", "clean")], "fig2_st", "fig3")[0],
    r"training images is ([\d.]+) and ([\d.]+) % under AT": lambda: fit("at"),
    r"with NC4 at ([\d.]+)\)": lambda: value(11)[:1],
    r"([\d.]+) and ([\d.]+) % under the original TRADES": lambda: fit("trades"),
    r"([\d.]+) and ([\d.]+) % with frozen batch norm\. The": lambda: fit("trades_frozen_bn"),
    r"NC1 of AT ([\d.]+) and ([\d.]+) times as high on five hundred": fresh,
    r"(\d+) of (\d+) verdicts agree with those on thirty CIFAR-10": agreeing,
    r"\(16; (\d+) as yes, (\d+) as no\)": lambda: [agreed("yes"), agreed("no")],
    r"of VGG11's images (\d+) % keep their label":
        lambda: each(lambda e: 100 * e.last("st", "perturbed", "accuracy"), "fig6_st", data="cifar100_30")[1:],
    r"6 holds: .* ([\d.]+) and ([\d.]+) rad from their clean means": lambda: value(6, **HUNDRED),
    r"NC1 of AT on clean images ends at (\d+) and (\d+), ([\d.]+) and ([\d.]+) % of its first": nc1_of_a_hundred,
    r"frozen batch norm has ([\d.]+) and ([\d.]+) times that NC1": lambda: value(13, regime="trades_frozen_bn", **HUNDRED),
    r"times that NC1, the original ([\d.]+) and ([\d.]+) times": lambda: value(13, regime="trades", **HUNDRED),
    r"\(PreActResNet18 ([\d.]+) with seed 2, too, both on one machine": one_machine,
    r"Under l2 frozen batch norm has ([\d.]+) and ([\d.]+) times the NC1":
        lambda: value(13, per_class="30", norm="l2", regime="trades_frozen_bn"),
}

@pytest.mark.parametrize("words", NUMBERS)
def test_numbers_are_those_of_the_tables(words):
    "What stands under \"What holds up\" is what the tables give, rounded to the digits shown."
    shown = re.search(words, README).groups()
    assert list(shown) == [f"{v:.{len(s.partition('.')[2])}f}" for s, v in zip(shown, NUMBERS[words](), strict=True)]
