"Figure notebooks: short, with their parameters tagged, refusing what they do not know."
import dis, json, os, re, shlex, signal, subprocess, sys, time
from pathlib import Path
import pandas as pd, pytest
from nc_robust import figures

nbformat = pytest.importorskip("nbformat")           # a machine that only trains may lack Jupyter

NBS = Path(__file__).resolve().parent.parent / "nbs"
FIGURES = [NBS / f"{name}.ipynb" for name in figures.FIGURES]

def papermill(name, out, *arguments):
    command = [sys.executable, "-m", "papermill", NBS / f"{name}.ipynb", out, "-k", "python3", "--no-progress-bar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, timeout=240)

@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_shape_of_a_figure_notebook(path):
    "Exactly one cell is tagged `parameters`, every line of it sets a default; ten code cells at most, beyond the paper twelve."
    code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and len(code) <= (10 if path.stem.startswith("fig") else 12)
    assert all("=" in l for l in tagged[0].source.splitlines() if l.strip())

@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_only_the_parameter_cell_assigns_parameters(path):
    "A page's own variable of such a name would be a parameter when the cells are run again."
    own = {"regime", *figures.PARAMETERS, *figures.CHOICES}
    for c in nbformat.read(path, 4).cells:
        if c.cell_type != "code" or "parameters" in c.metadata.get("tags", []): continue
        made = dis.get_instructions(compile(c.source, path.name, "exec"))                      # names of functions are not among them
        assert not {i.argval for i in made if i.opname == "STORE_NAME"} & own

def test_two_misspelt_parameters_are_named(tmp_path):
    "Also in a page whose cell assigns fewer than half of what there is."
    known = ("regime", "scale", "dataset", "norm", "archs", "seeds", "lr", "eps", "source")
    cell = "\n".join([*(f"{k} = None" for k in known), "epoch = 3", "widht = 4"])
    with pytest.raises(ValueError, match="unknown parameter '(epoch|widht)'"): figures.setup("fig3", dict(In=[cell]))

def test_views_and_regimes_are_told_apart():
    "Every regime has its own colour and line in `by_regime`, and a colour given to `curve` is the one drawn."
    import matplotlib; matplotlib.use("agg")
    from nc_robust import plots
    t = pd.DataFrame([dict(seed=1, epoch=e, regime=r, arch="vgg11", view="clean", split="train", layer="features", metric="nc1",
                           value=1.0 + e) for e in range(3) for r in plots.REGIME_STYLES])
    lines = plots.by_regime(t, [("clean", "nc1")]).axes[0].lines
    assert len({l.get_color() for l in lines}) == len({l.get_marker() for l in lines}) == len(plots.REGIME_STYLES)
    assert len({style["ls"] for style in plots.REGIME_STYLES.values()}) == len(plots.REGIME_STYLES)
    fig, ax = matplotlib.pyplot.subplots()
    plots.curve(ax, t[t.regime == "at"], "epoch", "clean", color="0.35")
    assert ax.lines[0].get_color() == "0.35"

def test_unknown_parameters_fail(tmp_path):
    "An unknown name ends with an error that lists what is allowed, before anything is trained (an unknown value: 16_figures)."
    r = papermill("fig2", tmp_path / "nb.ipynb", "-p", "regim", "at")
    last = next(l for l in reversed(r.stderr.splitlines()) if "ValueError" in l)
    assert r.returncode != 0 and all(s in last for s in ("regim", "regime", "max_minutes"))
    assert not (tmp_path / "runs").exists()

def test_figure_2_runs_twice(tmp_path):
    """papermill with `-p regime at` trains that regime only and saves picture and data of it; words are taken as a command line means
    them. Two processes that need the same run at the same moment: one trains, the other waits, saying so; both draw from one table."""
    given = dict(regime="at", archs="vgg11", more="true", eps="1/5", epochs="30")
    command = [sys.executable, "-m", "papermill", NBS / "fig2.ipynb", "-k", "python3", "--no-progress-bar",
               *(w for k, v in given.items() for w in ("-p", k, v))]
    two = [subprocess.Popen([*command[:4], tmp_path / f"{i}.ipynb", *command[4:]],
                            env=os.environ | {"NC_ROBUST_OUT": str(tmp_path / f"out{i}")}, stderr=subprocess.PIPE, text=True) for i in "ab"]
    errors = [p.communicate(timeout=240)[1] for p in two]
    assert [p.returncode for p in two] == [0, 0], errors
    made = [tmp_path / f"out{i}" / "fig2_at_digits_30_epochs.csv" for i in "ab"]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert [p.name.split("-")[0] for p in (tmp_path / "runs").iterdir()] == ["at"]
    assert sum("trained by another process" in (tmp_path / f"{i}.ipynb").read_text(encoding="utf-8") for i in "ab") == 1
    pictures = {f"fig2_at{test}_digits_30_epochs.{e}" for test in ("", "_test") for e in ("pdf", "png")}
    assert {p.name for p in made[0].parent.iterdir()} >= pictures
    t = pd.read_csv(made[0], comment="#")
    assert (set(t.regime) == {"at"} and set(t.arch) == {"vgg11"} and {"nc1", "nc3", "nc4"} <= set(t.metric)
            and set(t.view) >= {"clean", "perturbed", "gaussian"})

def make_figures(folder, arguments):
    "The command that `make figures` runs with these `ARGS`, in a `folder` that is not the project's."
    root = NBS.parent
    recipe = re.search(r"bin/snakemake (.*)", subprocess.run(["make", "-n", "figures", f"ARGS={arguments}"], cwd=root,
                                                             capture_output=True, text=True, check=True).stdout)[1]
    (folder / "nbs").symlink_to(NBS)
    return [Path(sys.executable).parent / "snakemake", "--snakefile", root / "Snakefile", "--directory", folder, *shlex.split(recipe)]

def test_published_figures_are_drawn_again(tmp_path):
    "`make figures` with `source=published` trains nothing, and its tables are those published, heads and all."
    env = os.environ | dict(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", NC_ROBUST_OUT=str(tmp_path / "out"))
    command = make_figures(tmp_path, "source=published figures=fig3,fig12")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("fig3_digits.csv", "fig12_digits.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (NBS.parent / "figures" / name).read_bytes()
    assert not (tmp_path / "runs").exists()

def test_make_figures_plans_what_every_figure_takes(tmp_path):
    "A fraction is a number there, too; what one of the figures does not take is said before anything is trained."
    env = os.environ | dict(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", NC_ROBUST_OUT=str(tmp_path / "out"),
                            NC_ROBUST_RUNS=str(tmp_path / "runs"))
    command = make_figures(tmp_path, "figures=fig2,fig3")
    plan = lambda *more: subprocess.run([*command, *more, "--dry-run"], env=env, capture_output=True, text=True)
    assert plan("eps=4/255").returncode == 0
    refused = plan("more=true")
    assert refused.returncode and "fig3 takes no more; name the figures that do" in refused.stdout + refused.stderr

def test_killed_make_figures_goes_on(tmp_path):
    """`make figures`, all of its processes killed with -9 in mid-run, goes on when called again; a third call finds nothing
    left to train. The folders have spaces in their names."""
    command = ["scale=smoke" if word == "scale=quick" else word for word in make_figures(tmp_path, "figures=fig16")]
    out, kept = tmp_path / "my figures", tmp_path / "my runs"
    env = os.environ | dict(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", NC_ROBUST_OUT=str(out), NC_ROBUST_RUNS=str(kept))
    p = subprocess.Popen(command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(kept.glob("*/.lock")): time.sleep(0.05); assert p.poll() is None
    os.killpg(p.pid, signal.SIGKILL); p.wait()
    assert not (out / "fig16.ipynb").exists()
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr[-2000:]
    assert (out / "claims.csv").exists() and len(list(kept.glob("*/finished"))) == 2
    said = lambda *more: subprocess.check_output([*command, *more], env=env, stderr=subprocess.STDOUT, text=True, timeout=240)
    assert "Nothing to be done" in said() and "Nothing to be done" in said("max_minutes=5")
    other = said("seeds=2", "--dry-run")                                                             # other seeds are drawn anew
    assert "params have changed" in other and "rule claims" in other and "rule claims" not in said("figures=fig1", "seeds=2,3", "--dry-run")

def test_cells_have_names_of_their_own():
    "No two cells of a notebook share an id: JupyterLab and git tell cells apart by it."
    for p in NBS.glob("*.ipynb"):
        ids = [c["id"] for c in json.loads(p.read_text(encoding="utf-8"))["cells"]]
        assert len(set(ids)) == len(ids), p.name

def test_code_fits_the_page():
    "No line of code in a notebook or a test is wider than 140 characters: a page of JupyterLab."
    code = [(p.stem, c.source) for p in NBS.glob("*.ipynb") for c in nbformat.read(p, 4).cells if c.cell_type == "code"]
    code += [(p.name, p.read_text(encoding="utf-8")) for p in Path(__file__).parent.glob("*.py")]
    assert not [(name, line) for name, source in code for line in source.splitlines() if len(line) > 140]

def test_the_benchmark_runs_without_jupyter(tmp_path):
    "`tests/cells.py` runs the page of the benchmark where there is only what the package itself imports."
    absent = ("IPython", "fastcore", "foolbox", "jupyter_client", "nbdev", "nbformat", "papermill", "platformdirs")
    page, runner = NBS / "19_bench.ipynb", NBS.parent / "tests/cells.py"
    def run(given):
        code = (f"import runpy, sys; sys.modules.update(dict.fromkeys({absent})); sys.argv = ['cells.py', {str(page)!r}, {given!r}]\n"
                f"runpy.run_path({str(runner)!r}, run_name='__main__')")
        return subprocess.run([sys.executable, "-c", code], env=dict(os.environ, IN_TEST="1"), capture_output=True, text=True, cwd=tmp_path)
    done = run("with_steps=False")
    assert done.returncode == 0, done.stderr
    assert "unknown parameter 'with_step'" in run("with_step=False").stderr
    last = max(i for i, c in enumerate(nbformat.read(page, 4).cells) if c.cell_type == "code" and "nbdev" not in c.source)
    assert re.search(rf"cell {last}: [\d.]+ s", done.stdout)

def test_every_cell_shows_its_picture():
    "In Jupyter, the second figure is shown as the first is."
    import nbclient
    cells = ["from nc_robust.plots import simplices", *["fig = simplices({'': ([[[0.0] * 3]] * 4, [[1.0] * 3] * 4)})"] * 2]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in cells])
    nbclient.NotebookClient(nb).execute()
    assert ["image/png" in o.data for c in nb.cells for o in c.outputs] == [True, True]

@pytest.mark.parametrize("path", [p for p in FIGURES if "verdicts.report" in p.read_text(encoding="utf-8")], ids=lambda p: p.stem)
def test_the_verdicts_shown_are_those_of_the_rules(path):
    "The table of verdicts that a page shows in the repository is what the rules as they are make of the published runs."
    from nc_robust import figures, verdicts
    figure = figures.Figure(path.stem, scale="quick", source="published")
    cell = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code" and "verdicts.report" in c.source)
    shown = [o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]
    assert shown[-1].strip() == verdicts.report(figure, figures.table(figure)).to_html().strip()

GIVEN = dict.fromkeys(("controls", "decay", "findings", "rules"), ()) | dict.fromkeys(
    ("adaptive", "frozen", "overfitting", "trades"), ("-p", "source", "published", "-p", "scale", "quick"))

@pytest.mark.parametrize("name", GIVEN)
def test_what_a_page_of_tables_shows_is_what_it_prints(name, tmp_path):
    "Pages that only read published tables, run anew, give the tables and lines that they show in the repository."
    assert (done := papermill(name, out := tmp_path / "out.ipynb", *GIVEN[name])).returncode == 0, done.stderr
    def shown(path):
        text = lambda o: o.get("text") or o.get("data", {}).get("text/html") or o.get("data", {}).get("text/plain", "")
        lines = {c.id: "\n".join(map(text, c.get("outputs", ()))).splitlines() for c in nbformat.read(path, 4).cells}
        return {k: kept for k, v in lines.items() if (kept := [l for l in v if l and not l.endswith((".png", ".pdf", ".csv"))])}
    assert shown(out) == shown(NBS / f"{name}.ipynb")
