"Figure notebooks: short, with their parameters tagged, refusing what they do not know."
import subprocess, sys
from pathlib import Path
import nbformat, pandas as pd, pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
FIGURES = [*sorted(NBS.glob("fig*.ipynb")), NBS / "trades.ipynb"]

def papermill(name, out, *arguments):
    command = [sys.executable, "-m", "papermill", NBS / f"{name}.ipynb", out, "-k", "python3", "--no-progress-bar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, timeout=240)

@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_shape_of_a_figure_notebook(path):
    "Exactly one cell is tagged `parameters`, every line of it sets a default, and there are at most ten code cells."
    code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and len(code) <= 10
    assert all("=" in l for l in tagged[0].source.splitlines() if l.strip())

def test_views_and_regimes_are_told_apart():
    "Every regime has its own colour and line in `by_regime`, and a colour given to `curve` is the one drawn."
    import matplotlib; matplotlib.use("agg")
    from nc_robust import plots
    t = pd.DataFrame([dict(seed=1, epoch=e, regime=r, arch="vgg11", view="clean", split="train", layer="features", metric="nc1", value=1.0 + e) for e in range(3) for r in plots.REGIMES])
    lines = plots.by_regime(t, [("clean", "nc1")]).axes[0].lines
    assert len({l.get_color() for l in lines}) == len({l.get_linestyle() for l in lines}) == len(plots.REGIMES)
    fig, ax = matplotlib.pyplot.subplots()
    plots.curve(ax, t[t.regime == "at"], "epoch", "clean", color="0.35")
    assert ax.lines[0].get_color() == "0.35"

def test_figure_2_runs(tmp_path):
    "papermill with `-p regime at` trains that regime only and saves picture and data of it."
    r = papermill("fig2", tmp_path / "nb.ipynb", "-p", "regime", "at", "-p", "archs", "vgg11")
    assert r.returncode == 0, r.stderr[-2000:]
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"fig2_at_digits.csv", "fig2_at_digits.pdf", "fig2_at_digits.png"}
    t = pd.read_csv(tmp_path / "out/fig2_at_digits.csv", comment="#")
    assert set(t.regime) == {"at"} and set(t.arch) == {"vgg11"} and {"nc1", "nc3", "nc4"} <= set(t.metric) and set(t.view) >= {"clean", "perturbed", "gaussian"}
    assert [p.name.split("-")[0] for p in (tmp_path / "runs").iterdir()] == ["at"]

@pytest.mark.parametrize("name, value, says", [("regim", "at", ("regim", "regime", "max_minutes")), ("regime", "madry", ("madry", "st", "at", "trades", "trades_frozen_bn"))])
def test_unknown_parameters_fail(tmp_path, name, value, says):
    "An unknown name or value ends with an error that lists what is allowed, before anything is trained."
    r = papermill("fig2", tmp_path / "nb.ipynb", "-p", name, value)
    last = next(l for l in reversed(r.stderr.splitlines()) if "ValueError" in l)
    assert r.returncode != 0 and all(s in last for s in says)
    assert not (tmp_path / "runs").exists()
