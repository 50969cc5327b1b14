"A picture draws the rows it names, and what is published is what the published runs hold."
import json, re
from functools import lru_cache
from hashlib import sha256
from itertools import product
from pathlib import Path
import matplotlib; matplotlib.use("agg")
import numpy as np, pandas as pd, pytest
from PIL import Image
from nc_robust import plots
from nc_robust.config import ARCHS
from nc_robust.files import read_table

FIGURES = Path(__file__).resolve().parent.parent / "figures"
KEY = ["epoch", "split", "view", "layer", "metric"]

def different(layers):
    "A table in which every value is another."
    keys = product(("st", "at"), ARCHS, ("clean", "perturbed", "gaussian"), ("train", "test"), layers, ("nc1", "ncc_accuracy"), (1, 2, 3))
    t = pd.DataFrame(keys, columns=["regime", "arch", "view", "split", "layer", "metric", "epoch"])
    return t.assign(seed=1, value=np.linspace(0.1, 0.9, len(t)))

def drawn(fig):
    "The values of every curve, panel by panel."
    return [[line.get_ydata().tolist() for line in ax.lines if len(line.get_ydata()) > 2] for ax in fig.axes]

def rows(t, **where):
    for k, v in where.items(): t = t[t[k] == v]
    return pytest.approx(t.value.tolist())

def test_pictures_draw_the_rows_they_name():
    "Split, view, metric, regime and network of every curve are those of its place."
    t, views = different(["features"]), ("clean", "perturbed", "gaussian")
    for split in ("train", "test"):
        assert drawn(plots.by_epoch(t, ["nc1"], split=split)) == [
            [rows(t, regime=r, arch=a, split=split, view=v, metric="nc1") for v in views] for r in ("st", "at") for a in ARCHS]
    shown = [("clean", "ncc_accuracy"), ("perturbed", "nc1")]
    assert drawn(plots.by_regime(t, shown)) == [
        [rows(t, regime=r, arch=a, split="train", view=v, metric=m) for r in ("st", "at")] for v, m in shown for a in ARCHS]
    t = different(["conv1", "stage1", "features"]).query("epoch == 3")
    shown = [("clean", "ncc_accuracy", "train", {}), ("perturbed", "ncc_accuracy", "test", {})]
    assert drawn(plots.by_layer(t, [("NCC", "share", shown)])) == [
        [rows(t, regime=r, arch=a, view=v, metric=m, split=s) for v, m, s, _ in shown] for r in ("st", "at") for a in ARCHS]

def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no rows of what is to be drawn"):
        plots.by_epoch(different(["features"]).query("split == 'train'"), ["nc1"], split="test")

def test_centres_are_drawn_in_the_row_of_their_view():
    "Figures 12 and 14: accuracy and agreement on clean and on perturbed images, training and test."
    t = different(["conv1", "stage1", "features"]).query("epoch == 3")
    t = pd.concat([t, t[t.metric == "nc1"].assign(metric="ncc_match")])
    assert drawn(plots.by_layer(t, plots.CENTRES)) == [
        [rows(t, regime=r, arch=a, view=v, metric=m, split=s) for s in ("train", "test")]
        for m in ("ncc_accuracy", "ncc_match") for v in ("clean", "perturbed") for r in ("st", "at") for a in ARCHS]

def test_classes_fall_within_each_seed():
    "The table `predicted`: a curve falls from the most frequent class to the least, one mean over seeds at each place."
    counts = {1: [3, 1, 2], 2: [4, 8, 6]}
    shown = (("count", "predicted"), ("clean_norm", "clean"), ("predicted_norm", "predicted"), ("angle", "predicted"))
    t = pd.DataFrame([dict(regime="st", arch="vgg11", seed=s, metric=m, view=v, value=float(n))
                      for s, c in counts.items() for n in c for m, v in shown])
    for curves in drawn(plots.by_class(t)): assert curves == [pytest.approx([5.5, 4, 2.5])] * len(curves)

def test_a_star_is_where_y_is_greatest():
    t = pd.DataFrame([dict(regime="at", arch="vgg11", seed=1, epoch=e, split=s, view="clean", layer="features", metric=m, value=v)
                      for s, m, values in (("train", "nc1", (8, 4, 2, 1)), ("test", "accuracy", (0.2, 0.6, 0.4, 0.1)))
                      for e, v in enumerate(values)])
    ax, = plots.against(t, ("clean", "nc1", "train"), ("clean", "accuracy", "test"), "NC1", "accuracy").axes
    star, = (line for line in ax.lines if line.get_marker() == "*")
    assert (star.get_xdata(), star.get_ydata()) == ([4], [0.6]) and ax.get_xscale() == "log" and ax.get_yscale() == "linear"

def test_whose_attack_is_named():
    "Training images of AT are those of training; ST's, and all test images, are attacked afresh."
    t = different(["features"])
    legend = lambda regime, split: {x.get_text() for x in plots.by_epoch(t[t.regime == regime], ["nc1"], split=split).legends[0].texts}
    for regime, split, said in (("at", "train", "perturbed in training"), ("at", "test", "perturbed (fresh attack)"),
                                ("st", "train", "perturbed (fresh attack)")):
        assert {x for x in legend(regime, split) if x.startswith("perturbed")} == {said}

def test_a_table_of_one_run_says_what_it_lacks():
    "`history` gives neither regime nor arch."
    with pytest.raises(ValueError, match=r"no column 'regime'; plans.collect\(\[run\]\) gives"):
        plots.by_epoch(different(["features"]).drop(columns="regime"), ["nc1"])

def test_a_band_is_a_standard_deviation():
    t = pd.DataFrame([dict(seed=s, epoch=e, value=float(s + e)) for s in (1, 3) for e in (1, 2, 3)])
    plots.curve(ax := plots.plt.figure().add_subplot(), t, "epoch", "clean")
    edges = ax.collections[0].get_paths()[0].vertices
    assert [sorted({y for x, y in edges if x == e}) for e in (1, 2, 3)] == [[2, 4], [3, 5], [4, 6]]

def test_the_picture_of_the_claims_is_that_of_their_table():
    "The PNG names the digest of the CSV that it was drawn from."
    about = Image.open(FIGURES / "claims.png").text["Description"]
    assert about == f"sha256 of claims.csv: {sha256((FIGURES / 'claims.csv').read_bytes()).hexdigest()}"

@lru_cache
def tables(run): return [read_table(f) for f in sorted((FIGURES / "runs" / run).glob("*.csv.gz"))]

def head(path): return {k: json.loads(v) for k, v in re.findall(r"^# (\w+): (.*)$", path.read_text(encoding="utf-8"), re.M)}

@pytest.mark.parametrize("path", [p for p in sorted(FIGURES.glob("*.csv")) if "runs" in head(p)], ids=lambda p: p.stem)
def test_published_pictures_are_those_of_the_published_runs(path):
    "Every number behind a picture stands in a table of its run; the picture names what its CSV names."
    described = json.loads(Image.open(path.with_suffix(".png")).text["Description"])
    assert described == head(path)
    t = pd.read_csv(path, comment="#")
    if "value" not in t: return                                               # points of figure 1
    for run, g in t.groupby("run"):
        found = [g.merge(k, on=KEY, suffixes=("", "_run")) for k in tables(run)]
        assert any(len(j) == len(g) and np.allclose(j.value, j.value_run, rtol=1e-5, atol=0, equal_nan=True) for j in found), run
