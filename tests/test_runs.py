"Runs survive being killed, stopped, damaged and run twice, and their numbers do not change by it."
import errno, io, json, os, random, re, shutil, signal, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
import matplotlib.pyplot as plt, pandas as pd, pytest, torch
import nc_robust.config as config, nc_robust.figures as figures, nc_robust.files as files, nc_robust.layers as layers
import nc_robust.machine as machine, nc_robust.measure as measuring, nc_robust.models as models
import nc_robust.plans as plans, nc_robust.plots as plots
import nc_robust.results as results, nc_robust.runs as runs, nc_robust.train as train, nc_robust.verdicts as verdicts
from nc_robust.config import Config, configure, identity
from nc_robust.data import batches, generator
from nc_robust.files import CHECKPOINT, read_head, save_state, seal
from nc_robust.models import build
from nc_robust.plans import main
from nc_robust.runs import Run, history
from nc_robust.train import Diverged, start

GIVEN = dict(regime="at", arch="preact_resnet18", scale="smoke", epochs=8, steps=3, measure_every=2)
# As on the command line, but the clock runs 1000 times as fast: the 30 seconds between two saves are over after every epoch.
FAST = ("import time, types, nc_robust.plans as p, nc_robust.runs as r; "
        "r.time = types.SimpleNamespace(monotonic=lambda: 1000 * time.monotonic()); p.main()")

def process(code=FAST, **more):
    "A training process in this test's folders."
    arguments = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in (GIVEN | dict(quiet=True) | more).items()]
    return subprocess.Popen([sys.executable, "-u", "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def wait_for(p, word):
    "The next line of `p` that begins with `word`, or None if it ended."
    return next((l for l in p.stdout if l.startswith(word)), None)

def run_of(**more): return Run(configure(**GIVEN | more))

@contextmanager
def runs_in(folder):
    with pytest.MonkeyPatch.context() as m: m.setenv("NC_ROBUST_RUNS", str(folder)); yield

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "The table of the uninterrupted run, as bytes, and the seconds one epoch took."
    with runs_in(tmp_path_factory.mktemp("whole")):
        run, began = run_of(), time.time()
        history(run, progress=False)
        return run.csv.read_bytes(), (time.time() - began) / run.c.epochs

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "The folder of a finished two-epoch ST run."
    with runs_in(tmp_path_factory.mktemp("finished")):
        run = Run(configure("st", "vgg11", "smoke"))
        history(run, progress=False)
        return run.folder

@pytest.fixture
def done(finished):
    "A copy of it that a test may damage, and the bytes of its table."
    run = Run(configure("st", "vgg11", "smoke"))
    shutil.copytree(finished, run.folder)
    return run, run.csv.read_bytes()

@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.long)])
def test_kill_9_and_resume(whole, kills, capsys):
    """Killed so often at random moments (anew whenever it got through): the run goes on from a checkpoint, past the dead process's lock,
    and its table is the same to the byte."""
    (table, epoch), landed, epochs = whole, 0, []
    while landed < kills:
        p = process()
        wait_for(p, "epoch")
        time.sleep(random.uniform(0, epoch))
        p.kill()
        said = p.communicate()
        assert p.returncode in (0, -signal.SIGKILL), said
        landed += p.returncode == -signal.SIGKILL
        if p.returncode == 0 and landed < kills: assert run_of().csv.read_bytes() == table; shutil.rmtree(run_of().folder)
    history(run_of(), progress=False, on_epoch=epochs.append)
    assert run_of().csv.read_bytes() == table
    # None are left if a kill came between the last save and the exit.
    assert epochs == list(range(9 - len(epochs), 9)) and len(epochs) < 8
    assert "waiting" not in capsys.readouterr().out and (run_of().folder / ".lock").exists()

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_say_how_to_go_on(whole, number):
    "A stop request within an epoch saves those before it, exits with code 75 and one line on how to go on; going on gives the same bytes."
    p = process("from nc_robust.plans import main; main()")
    wait_for(p, "epoch 1")
    time.sleep(0.3 * whole[1])
    p.send_signal(number)
    _, err = p.communicate(timeout=60)
    *before, said = err.splitlines()
    assert not before or torch.cuda.is_available()           # PyTorch may have warned that it makes a context
    assert p.returncode == os.EX_TEMPFAIL and said.startswith("Stopped: ") and number.name in said and "the same command goes on" in said
    assert "Traceback" not in err
    run, epochs = run_of(), []
    assert 1 <= run.epochs_done < 8
    history(run, progress=False, on_epoch=epochs.append)
    assert epochs[0] > 1 and run.csv.read_bytes() == whole[0]

def test_a_stop_of_runs_side_by_side_is_said_once():
    "Each run saves and keeps what it has; one line says how to go on, none speaks of a kill."
    code = "plans.plan('st', 'vgg11', '1,2', 'smoke', epochs=5000, per_class=2, measure_every=5000)"
    both = eval(code)
    p = subprocess.Popen([sys.executable, "-c", f"from nc_robust import plans; plans.train_side_by_side({code})"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    while not re.search(r"[1-9]\d*/10000", said): said += p.stdout.read(1) or pytest.fail(said)           # the bar has moved
    p.terminate()
    said += p.communicate(timeout=60)[0]
    assert p.returncode == 1 and "Stopped: stopped; the states are saved, the same command goes on from there" in said
    assert "killed" not in said
    assert any(0 < r.epochs_done < 5000 for r in both)

@pytest.mark.parametrize("when, says", [("before", "after 1 of 2 epochs"), ("after", "after 2 of 2 epochs")])
def test_a_stop_request_while_measuring_is_heard(when, says, done, tmp_path, monkeypatch):
    "A signal during the last measurement ends it before the next view, or the run after it; the next run of a plan does not begin."
    table, measure = done[1], runs.measure
    def interrupted(model, data, c, epoch, *a, **k):
        if epoch == 2 and when == "before": os.kill(os.getpid(), signal.SIGTERM)
        found = measure(model, data, c, epoch, *a, **k)
        if epoch == 2: os.kill(os.getpid(), signal.SIGTERM)
        return found
    monkeypatch.setenv("NC_ROBUST_RUNS", str(tmp_path / "stopped")); monkeypatch.setattr(runs, "measure", interrupted)
    both = plans.plan("st,at", "vgg11", 1, "smoke")
    with pytest.raises(runs.Stopped, match=f"{says}.*SIGTERM.*the same command goes on"): plans.collect(both)
    assert not both[1].folder.exists()
    monkeypatch.setattr(runs, "measure", measure)
    history(both[0], progress=False)
    assert both[0].csv.read_bytes() == table

def test_notebook_interrupt():
    "The stop button ends a cell with `Stopped` and how to go on; the kernel lives, and the same cell goes on from the saved epoch."
    start_new_kernel = pytest.importorskip("jupyter_client.manager").start_new_kernel
    kernel, client = start_new_kernel(kernel_name="python3", env=dict(os.environ))
    said = []
    def cell(code, until=None):
        def hook(m):
            said.append(m["content"].get("text", "") or m["content"].get("evalue", ""))
            if until and until in said[-1]: kernel.interrupt_kernel()
        return client.execute_interactive(code, output_hook=hook, timeout=60)["content"]
    try:
        cell("from nc_robust.runs import Run, history; from nc_robust.config import configure\n"
             f"run = Run(configure(**{GIVEN | dict(epochs=40)!r}))")
        reply = cell("history(run, progress=False, on_epoch=lambda n: print('epoch', n, flush=True))", until="epoch 2")
        assert reply["ename"] == "Stopped" and "the same command goes on" in reply["evalue"]
        said.clear()
        assert cell("print(run.epochs_done)")["status"] == "ok" and 2 <= int("".join(said)) < 40
    finally: client.stop_channels(); kernel.shutdown_kernel(now=True)

@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.long)])
def test_kill_while_writing_figures(kills):
    "Killed at random moments while writing a figure: PNG, PDF and CSV are each the old file or the new; no other file looks like a result."
    from PIL import Image
    code = """if True:
        import io, time, pandas as pd, matplotlib; matplotlib.use("agg")
        from nc_robust import plots, files
        class Slow(io.FileIO):                      # most of the time a file is half written
            def write(self, b): half = super().write(b[:len(b) // 2]); time.sleep(0.1); return half + super().write(b[half:])
        files.open = Slow
        row = dict(seed=1, view="clean", split="train", layer="features", metric="nc1", arch="vgg11", regime="st")
        t = pd.DataFrame([dict(row, epoch=e, value=1.0 + e) for e in range(300)])
        fig = plots.by_epoch(t, ("nc1",))
        while True: plots.save_figure(fig, "f", t, dict(hardware="any"), files.out_folder())"""
    out = Path(os.environ["NC_ROBUST_OUT"])
    for _ in range(kills):
        p = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True)
        wait_for(p, str(out))
        time.sleep(random.uniform(0, 1))
        p.kill(); p.communicate()
        assert len(pd.read_csv(out / "f.csv", comment="#")) == 300
        Image.open(out / "f.png").load()
        assert (out / "f.pdf").read_bytes().rstrip().endswith(b"%%EOF")
        assert {f.name for f in out.iterdir() if not f.name.startswith(".")} == {"f.csv", "f.png", "f.pdf"}

def test_a_published_run_is_only_read():
    "Nothing is trained, and nothing written among the published tables."
    run, = plans.plan("st", "vgg11", 1, "quick", source="published")
    before = {f.name: f.stat().st_mtime_ns for f in run.folder.iterdir()}
    with pytest.raises(ValueError, match="is published, and only read; source='runs' trains it"): runs.train_run(run, progress=False)
    assert {f.name: f.stat().st_mtime_ns for f in run.folder.iterdir()} == before

def test_time_limit_continues(whole, capsys):
    "`max_minutes` stops after an epoch with `Stopped`; each further call does at least one more, the command line too (exit status 75)."
    run, epochs = run_of(), []
    for _ in range(3):
        with pytest.raises(runs.Stopped, match="time given is over"): history(run, max_minutes=0, progress=False, on_epoch=epochs.append)
    with pytest.raises(SystemExit) as e: main(["max_minutes=0", "quiet=true", *(f"{k}={v}" for k, v in GIVEN.items())])
    assert e.value.code == os.EX_TEMPFAIL and "4 of 8 epochs (the time given is over)" in capsys.readouterr().err
    history(run, progress=False)
    assert epochs == [1, 2, 3] and run.csv.read_bytes() == whole[0]

def flipped(b): return b[:len(b) // 2] + bytes([b[len(b) // 2] ^ 4]) + b[len(b) // 2 + 1:]
def torch_file(epoch=3):
    buffer = io.BytesIO(); torch.save(dict(epoch=epoch), buffer); return buffer.getvalue()
class Bomb:
    def __reduce__(self): return Path.touch, (Path(os.environ["NC_ROBUST_OUT"]),)
DAMAGE = dict(truncated=lambda b: b[:-100], flipped=flipped, empty=lambda b: b"", foreign=lambda b: torch_file())
UNREADABLE = DAMAGE | dict(bomb=lambda b: torch_file(Bomb()), sealed_bomb=lambda b: seal(torch_file(Bomb()), CHECKPOINT)) | {
    f"sealed {body[:4]}": lambda b, body=body: seal(body, CHECKPOINT)
    for body in (b"rubbish", b"\x80\x02.", b"PK\x03\x04" + bytes(40), b"", b"\x80\x02X\x01\x00\x00\x00\xff.")}

@pytest.mark.parametrize("damage", UNREADABLE)
def test_damaged_checkpoint(done, damage, capsys):
    """The finished table is read without it; where the weights are needed it is set aside and named, with a valid checksum or without.
    Of code that is in it nothing runs."""
    run, table = done
    bad = UNREADABLE[damage](run.state_file.read_bytes())
    run.state_file.write_bytes(bad)
    history(run, progress=False)
    assert run.csv.read_bytes() == table and run.state_file.read_bytes() == bad
    assert run.state() is None and not Path(os.environ["NC_ROBUST_OUT"]).exists()
    assert "state.pt.damaged" in (said := capsys.readouterr().out) and str(run.state_file) in said
    assert (run.folder / "state.pt.damaged").read_bytes() == bad

@pytest.mark.parametrize("damage", UNREADABLE)
def test_weights_of_a_damaged_checkpoint_are_trained_again(done, damage):
    "To the same table, which stays if that is killed on the way."
    run, table = done
    run.state_file.write_bytes(UNREADABLE[damage](run.state_file.read_bytes()))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(runs, "save_state", lambda *a: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception): runs.final_state(run)
    assert run.csv.read_bytes() == table
    assert runs.final_state(run)["epoch"] == 2 and run.csv.read_bytes() == table

@pytest.mark.parametrize("damage", [*DAMAGE, "missing"])
def test_damaged_table(done, damage, capsys, monkeypatch):
    "A damaged history.csv is set aside under a printed name; it, or a missing one, is made again from the checkpoint without training."
    run, table = done
    monkeypatch.setattr(runs, "train_run", lambda *a: pytest.fail("trained again"))
    if damage == "missing": run.csv.unlink()
    else: run.csv.write_bytes(bad := DAMAGE[damage](table))
    assert len(history(run)) > 100 and run.csv.read_bytes() == table
    if damage != "missing":
        assert "set aside as history.csv.damaged" in capsys.readouterr().out
        assert (run.folder / "history.csv.damaged").read_bytes() == bad

@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[1:]])
def test_damaged_table_without_a_state(done, damage, capsys):
    "Where the checkpoint is lost, too, the damaged table is set aside under a printed name before the run is trained again."
    run, table = done
    run.state_file.unlink(); run.csv.write_bytes(bad := damage(table))
    history(run, progress=False)
    assert run.csv.read_bytes() == table and (run.folder / "history.csv.damaged").read_bytes() == bad
    assert "history.csv.damaged" in capsys.readouterr().out

def test_the_state_is_written_before_the_table(done):
    "So a disk that fills up leaves no table without weights."
    run, table = done
    state, written = run.state(), []
    run.csv.unlink()
    with pytest.MonkeyPatch.context() as m:
        m.setattr(files, "write_bytes", lambda path, content: written.append(path.name))
        runs.save(run, state)
    assert written == ["state.pt", "history.csv"]

def test_weights_that_are_lost_are_trained_again(done, monkeypatch, capsys):
    "The table that is there stays, also if another version trains; a limit of time holds; what a killed writer left is removed."
    run, table = done
    run.state_file.unlink()
    for name, said in (("history", "only read"), ("predicted", f"or of an earlier epoch; trained again: {run.name}\n1 to train")):
        plans.announce([run], table=name); assert said in capsys.readouterr().out
    left = run.folder / ".state.pt.123.part"; left.write_bytes(b"half")
    with pytest.raises(runs.Stopped): results.extra(run, "predicted", max_minutes=0)
    later = runs.provenance() | dict(version="9.9")
    monkeypatch.setattr(runs, "provenance", lambda device="cpu": later)
    assert runs.final_state(run)["epoch"] == 2 and run.csv.read_bytes() == table and not left.exists()

def test_weights_that_came_out_otherwise_are_told(done, monkeypatch, capsys):
    "Trained again on a machine that rounds differently, a run would mix the tables of two networks: that is said, else nothing."
    run, table = done
    run.state_file.unlink()
    assert runs.final_state(run, progress=False) and "came out otherwise" not in capsys.readouterr().out
    run.state_file.unlink()
    monkeypatch.setattr(runs, "start", lambda c, *more: start(replace(c, seed=2), *more))
    assert runs.final_state(run, progress=False) and f"{run.name}: trained again, its weights came out otherwise" in capsys.readouterr().out
    assert run.csv.read_bytes() == table

def test_half_trained_weights_are_announced(done, capsys):
    "A whole table beside the weights of an earlier epoch: another table needs the missing epochs, and the plan says so."
    run, _ = done
    files.save_state(run.state_file, run.state() | dict(epoch=1))
    plans.announce([run], table="predicted")
    assert f"trained again: {run.name}\n1 to train" in capsys.readouterr().out and plans._todo([run], "predicted") == [(run, 1)]

def test_a_regime_of_ones_own_is_drawn(monkeypatch):
    "As 07_train describes it: a class, its name in two tables, and every figure trains, draws and judges it."
    monkeypatch.setitem(train.REGIME, "mixed", type("Mixed", (train.Adversarial,), {}))
    for module in (config, figures): monkeypatch.setattr(module, "REGIMES", (*config.REGIMES, "mixed"))
    figure = figures.Figure("fig2", "mixed", archs="vgg11", epochs=1)
    t = figures.table(figure)
    picture = plots.by_epoch(t)
    figures.save(figure, picture, t)
    assert picture.axes[0].get_title() == "mixed, VGG11" and verdicts.rows(figure, t).empty

def test_a_changed_definition_is_named(done, monkeypatch, capsys):
    "A finished run is read also by other code, and the figure and the command line say which module changed; a damaged table is no news."
    (run, table), now = done, machine.code()
    (run.folder / "layers.csv").write_bytes(table[:-9])
    for ask in (lambda: plans.announce([run]), lambda: main(plans.arguments(run))):
        ask(); assert "changed since" not in capsys.readouterr().out
        with monkeypatch.context() as m:
            m.setattr(machine, "code", lambda: now.replace("metrics=", "metrics=0"))
            ask()
        said = capsys.readouterr().out
        assert "metrics changed since these were made; to make one anew, move it away" in said
        assert f"from {run.folder.parent}: {run.name}/history.csv" in said
    assert run.csv.read_bytes() == table

def test_a_change_of_layers_concerns_only_tables_by_layer(done, monkeypatch, capsys):
    "No history rests on it, and nobody is told to train again."
    (run, table), now = done, machine.code()
    (run.folder / "layers.csv").write_bytes(table)
    monkeypatch.setattr(machine, "code", lambda: now.replace("layers=", "layers=0"))
    plans.announce([run]); said = capsys.readouterr().out
    assert "layers changed since these were made" in said and said.rstrip().split("\n")[-2].endswith(f": {run.name}/layers.csv")
    monkeypatch.setattr(machine, "code", lambda: now.replace("models=", "models=0"))
    plans.announce([run]); assert f"{run.name}/history.csv, {run.name}/layers.csv" in capsys.readouterr().out

def test_a_changed_definition_does_not_go_on(monkeypatch):
    """An unfinished run is not continued by other code than it began with, which the plan says, unless the user says that it is the same.
    From then on it goes on with either; `layers`, on which a history does not rest, makes no difference."""
    run, now = Run(configure("st", "vgg11", "smoke", epochs=4)), machine.code()
    @contextmanager
    def another(name):
        with monkeypatch.context() as m: m.setattr(machine, "code", lambda: now.replace(f"{name}=", f"{name}=0")); yield m
    def an_epoch():
        with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    an_epoch()
    state = run.state_file.read_bytes()
    with another("train"):
        for ask in (lambda: plans.announce([run]), lambda: history(run, progress=False)):
            with pytest.raises(ValueError, match="other code than train now; NC_ROBUST_GO_ON=1.*move .*state.pt away"): ask()
    assert run.state_file.read_bytes() == state
    with another("train") as m, pytest.raises(ValueError, match="other code"): m.setenv("NC_ROBUST_GO_ON", "0"); an_epoch()
    with another("train") as m: m.setenv("NC_ROBUST_GO_ON", "1"); an_epoch()
    with another("train"): an_epoch()
    with another("layers"): assert history(run, progress=False).epoch.max() == 4
    assert "train=0" in read_head(run.csv)["code"]

def test_seeds_of_other_code_are_named_below_a_figure(monkeypatch):
    "A figure whose seeds were made by different definitions says so; one of the same, or of others that it does not show, does not."
    figure, now = figures.Figure("fig2", "st", archs="vgg11", seeds="1,2", epochs=1), machine.code()
    for code, says in ((now, False), (now.replace("layers=", "layers=0"), False), (now.replace("metrics=", "metrics=0"), True)):
        monkeypatch.setattr(machine, "code", lambda: code)
        figures.table(figure)
        assert ("made by different versions of metrics" in (said := figures.foot(figure, figure.runs))) == ("versions" in said) == says
        shutil.rmtree(figure.runs[1].folder)

def test_a_hyper_parameter_that_was_added_is_told_in_the_provenance():
    "Of runs with and without it, the value of each; where it has its default the run keeps its name."
    @dataclass(frozen=True)
    class Own(Config): mixup: float = 0.0; marks: tuple = field(default_factory=tuple)
    figure = figures.Figure("fig2", "st", archs="vgg11", scale="smoke", epochs=1)
    given = {k: getattr(figure.runs[0].c, k) for k in (f.name for f in fields(Config))}
    figure.runs = [Run(Own(**given)), Run(Own(**given, mixup=0.5))]
    assert figure.runs[0].name == Run(Config(**given)).name != figure.runs[1].name
    for r in figure.runs: history(r, progress=False)
    assert figures.provenance(figure, figure.runs)["mixup"] == ["0.0", "0.5"]

def test_layers_that_draw_go_on_as_if_nothing_had_happened(monkeypatch):
    "A network with dropout, stopped and resumed, has the numbers of one that was not; and the user's own random numbers are left alone."
    body = models.VGG.body
    monkeypatch.setattr(models.VGG, "body", lambda self, x: torch.nn.functional.dropout(body(self, x), 0.5, self.training))
    run, before = Run(configure("at", "vgg11", "smoke", epochs=3, steps=2)), torch.random.get_rng_state()
    want = history(run, progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    shutil.rmtree(run.folder)
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    torch.rand(3)
    assert history(run, progress=False).equals(want)

def test_a_run_that_has_no_epoch_yet_keeps_nothing():
    "What stops it in the first one may be its data: others may then be given."
    run = Run(configure("st", "vgg11", "smoke", per_class=3, batch_size=29))
    with pytest.raises(ValueError, match="choose another batch_size"): history(run, progress=False)
    assert not run.state_file.exists() and not run.csv.exists()

def test_two_damages_keep_both_files(done):
    "A second damaged checkpoint does not overwrite the first one that was set aside."
    run, _ = done
    for content in (b"first", b"second"): run.state_file.write_bytes(content); run.state()
    assert [(run.folder / f"state.pt.damaged{n}").read_bytes() for n in ("", "-2")] == [b"first", b"second"]

def test_extra_is_measured_once_by_two_at_a_time(done, monkeypatch):
    "Two callers that want the same extra table: the second waits for the first and reads."
    run, calls = done[0], []
    monkeypatch.setitem(results.EXTRAS, "layers", lambda *a: calls.append(time.sleep(0.3)) or [])
    with ThreadPoolExecutor(2) as pool: list(pool.map(lambda _: results.extra(Run(run.c), "layers"), range(2)))
    assert len(calls) == 1

def test_published_runs_are_read_without_data(done, tmp_path, monkeypatch):
    "What `publish` writes gives the same tables, head and pictures, trains nothing and needs no data; damage and absence are named."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    run, _ = done
    results.extra(run, "predicted")
    there = results.publish(run, with_pictures=True)
    monkeypatch.setattr(runs, "load", lambda *a: pytest.fail("data was loaded"))
    assert there.folder.is_relative_to(tmp_path / "figures") and runs.finished(there)
    assert history(there).equals(history(run)) and results.extra(there, "predicted").equals(results.extra(run, "predicted"))
    assert read_head(there.csv) == read_head(run.csv) and results.pictures(there).keys() == results.pictures(run).keys()
    for kept, own in zip(results.pictures(there).values(), results.pictures(run).values(), strict=True):
        assert kept.keys() == own.keys() and all(torch.allclose(kept[k].double(), own[k].double(), atol=6e-4) for k in kept)
    with pytest.raises(FileNotFoundError, match="without the table layers, only with history.csv.gz, predicted.csv.gz"):
        results.extra(there, "layers")
    with pytest.raises(FileNotFoundError, match="not among the published"): history(Run(run_of().c, source="published"))
    other_seed = Run(replace(run.c, precision="bf16", seed=2), source="published")
    with pytest.raises(FileNotFoundError, match=r"regime and arch has seed 1 \(2 was asked for\); source"): history(other_seed)
    exact = Run(replace(run.c, precision="bf16"), source="published", exact=True)
    with pytest.raises(FileNotFoundError, match=r"nearest of its regime and arch has precision fp32 \(bf16 was asked for\)"): history(exact)
    elsewhere = Run(replace(run.c, precision="bf16"), source="published")       # asked for on a machine of another precision
    assert elsewhere.name == run.name and history(elsewhere).equals(history(run))
    there.csv.write_bytes(there.csv.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged"): history(there)

@pytest.mark.parametrize("minutes, sent, why", [
    (0.01, None, "the time given is over"), (None, signal.SIGTERM, "signal SIGTERM"), (None, signal.SIGINT, "signal SIGINT")])
def test_measuring_a_table_is_broken_off(done, monkeypatch, minutes, sent, why):
    "By a signal or the end of the time; nothing is written, the handlers are back, and the same call measures it."
    (run, _), began, before = done, time.time(), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    def forever(*_):
        if sent: os.kill(os.getpid(), sent)
        while time.time() - began < 60: time.sleep(0.01)
        pytest.fail("measured on")
    with monkeypatch.context() as m:
        m.setitem(results.EXTRAS, "predicted", forever)
        with pytest.raises(runs.Stopped, match=f"while predicted was measured .{why}.; the same command"):
            results.extra(run, "predicted", max_minutes=minutes)
    assert not run.table_file("predicted").exists()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
    assert len(results.extra(run, "predicted", max_minutes=5)) and signal.getitimer(signal.ITIMER_REAL) == (0, 0)

def test_what_is_published_of_more_is_not_written_over(done, tmp_path, monkeypatch):
    "A shorter run is not published over a longer one, nor a network without a table over another one's; the same network is."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    run, _ = done
    results.extra(run, "predicted"); there = results.publish(run)
    before, own = {f.name: f.read_bytes() for f in there.folder.iterdir()}, run.table_file("predicted")
    own.unlink(); results.publish(run)                                              # the same numbers
    state = run.state(); other = state["records"][0] | dict(value=7.0)
    save_state(run.state_file, state | dict(records=[other, *state["records"][1:]])); run.csv.unlink()
    with pytest.raises(ValueError, match="with other numbers, and with predicted.csv.gz that it lacks here"): results.publish(run)
    (there.folder / "predicted.csv.gz").rename(tmp_path / "aside"); (there.folder / "pictures.json.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="with pictures.json.gz that it lacks here"): results.publish(run)
    kept = there.csv.read_bytes(); results.publish(run, with_pictures=True)                  # all of it anew
    (tmp_path / "aside").rename(there.folder / "predicted.csv.gz"); (there.folder / "pictures.json.gz").unlink()
    there.csv.write_bytes(kept)
    save_state(run.state_file, state | dict(epoch=1, records=[r for r in state["records"] if r["epoch"] == 1])); run.csv.unlink()
    with pytest.raises(ValueError, match="published with 2 epochs and has 1 here"): results.publish(run, cut=True)
    assert {f.name: f.read_bytes() for f in there.folder.iterdir()} == before

def test_what_a_run_is_told_reaches_its_process():
    "The folder of its data, too."
    run = Run(configure("st", "vgg11", "smoke"), data_root="/somewhere")
    again, = plans._parsed(plans.arguments(run))[:1]
    assert again.data_root == run.data_root == "/somewhere" and again.name == run.name

def test_a_limit_of_time_is_for_one_run_at_a_time(monkeypatch):
    "Runs on small images are trained side by side, unless there is one, or a limit."
    monkeypatch.setattr(plans, "cores", lambda: 2)
    two = plans.plan("st", "vgg11", (1, 2), "quick")
    assert plans.apart(two) and not plans.apart(two, 1.0) and not plans.apart(two[:1])

def test_small_images_are_trained_and_measured_on_one_core():
    "However many threads were set before; they are set again afterwards."
    run, before = Run(configure("st", "vgg11", "smoke", epochs=1)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        history(run, progress=False); results.extra(run, "predicted")
        assert torch.get_num_threads() == 2
    finally: torch.set_num_threads(before)
    assert [read_head(f)["threads"] for f in (run.csv, run.table_file("predicted"))] == ["1", "1"]

def test_publishing_stops_at_a_damaged_table(done, tmp_path, monkeypatch):
    "Nothing is published of a run with a damaged table; the error names it. An unknown table is refused before anything is trained."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    results.extra(done[0], "predicted")
    extra = done[0].table_file("predicted")
    extra.write_bytes(extra.read_bytes()[:-9])
    with pytest.raises(ValueError, match="predicted.csv is damaged"): results.publish(done[0])
    assert not (tmp_path / "figures").exists()
    monkeypatch.setattr(results, "history", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(ValueError, match="unknown table 'layer'; did you mean layers"): results.extra(done[0], "layer")

def test_radii_are_checked_before_training():
    "A bad radius costs no training, and a table of other radii is not handed out for these."
    run = Run(configure("st", "vgg11", "smoke", epochs=1))
    for radii in (None, (), (-0.1,), (0.1, 0.1), (float("nan"),)):
        with pytest.raises(ValueError, match="radi"): results.extra(run, "radii", radii)
    with pytest.raises(ValueError, match="no step size"): results.extra(Run(configure("st", "vgg11", "smoke", eps=0.0)), "radii", (0.1,))
    assert not run.folder.exists()
    assert set(results.extra(run, "radii", (0.1,), progress=False)["view"]) == {"eps=0.1"}
    with pytest.raises(ValueError, match="holds eps=0.1, not eps=0.10001"): results.extra(run, "radii", (0.10001,))
    figure = figures.Figure("fig16", scale="quick", source="published", archs="vgg11")
    with pytest.raises(ValueError, match="holds eps=0.05"): results.extra(figure.runs[0], "radii", (0.05, 0.1, 0.200001))

def test_the_nearest_published_run_is_named():
    "With what differs, also where the field is younger than the run, or is not in its name."
    ask = lambda **more: history(Run(configure("st", "vgg11", "pilot", dataset="folder:cifar10", **more), source="published"))
    with pytest.raises(FileNotFoundError, match=r"the nearest of its regime and arch has decay_on all \(last was asked for\);"):
        ask(decay_on="last")
    with pytest.raises(FileNotFoundError, match=r"has momentum 0.9 \(0.5 was asked for\);"): ask(momentum=0.5)

def test_published_runs_in_the_precision_asked_for():
    "One that is given is kept; else whichever there is."
    ask = lambda **more: plans.plan("at", "vgg11", 1, "pilot", dataset="folder:cifar10", source="published", **more)[0]
    assert [ask(precision=p).c.precision for p in ("fp32", "bf16", None)] == ["fp32", "bf16", "bf16"]
    assert not history(ask(precision="fp32")).equals(history(ask(precision="bf16")))

def test_publishing_keeps_runs_apart(done, tmp_path, monkeypatch):
    "Only finished runs are published, and one of another precision goes beside what is there, not over it."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    there, other = results.publish(done[0]), Run(replace(done[0].c, precision="bf16"))
    before = there.csv.read_bytes()
    with pytest.raises(ValueError, match="0 of 2 epochs"): results.publish(other)
    history(other, progress=False)
    assert results.publish(other).name == other.name != there.name and there.csv.read_bytes() == before

def test_a_run_cut_short_says_so_wherever_it_is_shown(tmp_path, monkeypatch, capsys):
    "It is published only if asked; the plan, the picture, the provenance and the claims name the epochs it had."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    small = dict(scale="smoke", epochs=3, steps=3, measure_every=1)
    run = Run(configure("at", "vgg11", **small))
    with pytest.raises(ValueError, match="0 of 3 epochs.*cut=True"): results.publish(run, cut=True)     # there is no table
    runs.write_table(run, runs._begin(run)[2])                                                          # as of a run that diverged at once
    with pytest.raises(ValueError, match="0 of 3 epochs.*cut=True"): results.publish(run, cut=True)
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    with pytest.raises(ValueError, match="1 of 3 epochs.*cut=True"): results.publish(run)
    run.csv.unlink()                                                                                    # as a kill may leave it
    there = results.publish(run, with_pictures=True, cut=True)                                          # trains nothing
    assert run.epochs_done == 1 and results.pictures(there).keys() == {"1"}
    assert there.epochs_done == 1 and runs.length(there) == "1 of 3" and set(history(there).epoch) == {1}
    assert history(run, progress=False).epoch.max() == 3
    figure = figures.Figure("fig2", regime="at", archs="vgg11", source="published", **small)
    plans.announce(figure.runs)
    t, picture = figures.table(figure), plt.figure()
    figures.save(figure, picture, t)
    assert f"only read; cut short: {run.name} (1 of 3 epochs)\n" in capsys.readouterr().out
    *shown, there = picture.get_supxlabel().split("\n")
    assert " ".join(shown) == ("digits, 12 training images a class; linf, eps 0.2, 3 steps; 3 epochs, AT cut short after 1 of 3; "
                               "learning rate 0.05, times 0.1 after 70 and 90 %; seed 1")
    assert there == f"VGG11 of width 8; {figures._machines(read_head(run.csv)['hardware'])}"
    assert figures.provenance(figure, figure.runs)["epochs_done"] == "1" and set(verdicts.rows(figure, t).epochs) == {"1 of 3"}

def test_the_command_line_measures_the_tables_asked_for(done, tmp_path, monkeypatch):
    "It needs the weights for that, as pictures do: without them a table that is there is read, and all but pictures are published."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    (run, _), words = done, plans.arguments(done[0])
    main([*words, "tables=predicted"])
    measured = run.table_file("predicted").read_bytes()
    assert not run.table_file("layers").exists() and not [w for w in words if w.startswith("device=")]
    run.state_file.unlink()
    main([*words, "tables=predicted"])
    assert run.table_file("predicted").read_bytes() == measured and not run.state_file.exists()
    with pytest.raises(ValueError, match="no weights any more.*bring its state.pt"): results.publish(run, with_pictures=True)
    assert {p.name for p in results.publish(run).folder.iterdir()} == {"history.csv.gz", "predicted.csv.gz"}

def test_what_is_not_published_is_said_at_once(monkeypatch, tmp_path):
    "The plan names the setting in which the nearest published run differs; a damaged table has a remedy."
    ask = lambda **k: figures.setup("fig2", dict(scale="quick", source="published", archs="vgg11") | k)
    with pytest.raises(FileNotFoundError, match=r"nearest.* has seed [123] \(9 was asked for\); source='runs'"): ask(seeds=9)
    with pytest.raises(FileNotFoundError, match=r"nearest.* has epochs 300 \(7 was asked for\)"): ask(epochs=7)
    absent = dict(scale="quick", source="published", seeds=9)
    with pytest.raises(FileNotFoundError, match=r"nearest.*\(9 was asked"): figures.setup("fig1", absent)
    large = dict(scale="subset", dataset="folder:cifar10", source="published")
    with pytest.raises(FileNotFoundError, match="without its pictures; source='runs' trains it"): figures.setup("fig1", large)
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    run = figures.Figure("fig2", scale="quick", source="published", archs="vgg11").runs[0]
    run.folder.mkdir(parents=True); run.csv.write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged.*git restores it"): ask(regime="st")

def test_damaged_figures_are_set_aside(tmp_path, monkeypatch, capsys):
    "A table of an earlier figure or of its claims that cannot be read does not stop a new one; where all are needed it is named."
    monkeypatch.setenv("NC_ROBUST_OUT", str(tmp_path))
    figure = figures.Figure("fig2", regime="st", archs="vgg11", scale="quick", source="published")
    t, claims = figures.table(figure), tmp_path / "fig2_digits_claims.csv"
    (tmp_path / "fig2_st_digits.csv").write_bytes(b""); claims.write_bytes(b"\xe9")
    figures.save(figure, None, t, "st"); verdicts.report(figure, t)
    said = capsys.readouterr().out
    assert "set aside as fig2_st_digits.csv.damaged" in said and "set aside as fig2_digits_claims.csv.damaged" in said
    assert len(pd.read_csv(claims)) == 3 and (tmp_path / "fig2_st_digits.csv").exists()
    for content in (b"", claims.read_bytes().replace(b",", b";")):              # as a spreadsheet writes it
        claims.write_bytes(content)
        with pytest.raises(ValueError, match="fig2_digits_claims.csv is damaged"): verdicts.merge(tmp_path)
    verdicts.report(figure, t)
    assert len(verdicts.merge(tmp_path)) == 3

def test_published_tables_at_radii():
    "`carried` reads them as figure 16 does."
    figure = figures.Figure("fig16", archs="vgg11", scale="pilot", dataset="folder:cifar10", source="published")
    assert plans.carried("st", "vgg11", table="radii", radii=figure.radii).equals(figures.table(figure))

def test_publishing_takes_what_its_own_runs_drew(tmp_path, monkeypatch, capsys):
    "`figures.publish` copies a figure and its claims, and leaves what other runs drew under the same name, or more runs than these."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    def drawn(**more):
        figure = figures.Figure("fig2", regime="st", archs="vgg11", scale="smoke", **more)
        t = figures.table(figure)
        figures.save(figure, None, t, "st"); verdicts.report(figure, t)
        return figure
    first, there = drawn(), lambda: {f.name: f.read_bytes() for f in (tmp_path / "figures").glob("*.csv")}
    figures.publish(first)
    assert set(before := there()) == {"fig2_st_digits.csv", "fig2_digits_claims.csv"}
    second = drawn(epochs=1)
    figures.publish(first); assert there() == before
    figures.publish(second); assert set(there()) == set(before) and there() != before
    claims = pd.read_csv(tmp_path / "figures/fig2_digits_claims.csv")
    assert set(claims.runs) == {second.runs[0].name} and set(claims.seeds) == {1} and set(claims.agree) == {1}
    figures.publish(drawn(epochs=1, seeds="1,2")); before = there()
    figures.publish(drawn(epochs=1)); assert there() == before
    assert "fig2_digits_claims.csv rests on more runs and stays" in capsys.readouterr().out

def test_want_of_memory_costs_no_checkpoint(done, monkeypatch):
    "A whole checkpoint that cannot be loaded for want of memory stays where it is, under its name."
    run, _ = done
    def load(*_, **__): raise torch.OutOfMemoryError("tried to allocate 1 GiB")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(torch.OutOfMemoryError): run.state()
    assert run.state_file.exists() and not list(run.folder.glob("*.damaged*"))

FOREIGN = dict(  # what is in the file, what is said of it
    a_dict=(lambda s: dict(epoch=1), "is not the state of a run"), a_list=(lambda s: [1, 2], "is not the state of a run"),
    another_configuration=(lambda s: s | dict(config=identity(Config(seed=2))), "another configuration"),
    other_data=(lambda s: s | dict(data="0" * 16, epoch=1), "other data"),
    **{f"no_{k}": (lambda s, k=k: {n: v for n, v in s.items() if n != k}, f"{k}.*missing.*move it away")
       for k in ("data", "model", "pictures", "provenance")})

@pytest.mark.parametrize("change, says", FOREIGN.values(), ids=FOREIGN)
def test_foreign_checkpoint(done, change, says):
    "A file with a valid checksum that is no state, that of another configuration, version or of other pixels: refused, left where it is."
    run, _ = done
    run.csv.unlink()
    save_state(run.state_file, change(run.state()))
    before = run.state_file.read_bytes()
    with pytest.raises(ValueError, match=says): history(run, progress=False)
    assert run.state_file.read_bytes() == before

@pytest.fixture
def disk(tmp_path):
    "mount(options, name): a file system of its own in the folder `name` (of runs); skipped where that is not allowed."
    mounted = []
    def mount(options, name="runs"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("needs the right to mount")
        mounted.append(folder)
        return folder
    yield mount
    for folder in reversed(mounted): subprocess.run(["umount", folder], capture_output=True)

def test_ctrl_c_while_a_file_is_written(tmp_path, monkeypatch):
    "The old file is whole, and no half of a new one stays."
    (tmp_path / "a").write_bytes(b"old")
    def interrupt(*_): raise KeyboardInterrupt
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt): files.write_bytes(tmp_path / "a", b"new")
    assert [f.name for f in tmp_path.glob("*")] == ["a"] and (tmp_path / "a").read_bytes() == b"old"

def test_full_disk(disk):
    "On a disk without room for a checkpoint: an error that names the file and the way out, and no half-written file."
    disk("size=64k")
    with pytest.raises(OSError, match="could not write .*No space left.*free some space.*NC_ROBUST_RUNS"):
        history(run_of(epochs=1), progress=False)
    assert not list(run_of(epochs=1).folder.glob("*.part"))

def test_full_disk_keeps_earlier_results(monkeypatch):
    "When the second save fails, checkpoint and table are those of the first, and the run goes on from them once there is room."
    run, epochs = run_of(), []
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    before = {f.name: f.read_bytes() for f in run.folder.iterdir()}
    def full(_): raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as m:
        m.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="could not write .*intact"): history(run, max_minutes=0, progress=False)
    assert {f.name: f.read_bytes() for f in run.folder.iterdir()} == before
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False, on_epoch=epochs.append)
    assert epochs == [2]

def test_read_only_folder(disk):
    "The command line says which folder cannot be written, without a traceback."
    disk("ro,size=64k")
    with pytest.raises(SystemExit) as e: main(["regime=st", "epochs=1", "quiet=true"])
    assert "Read-only" in str(e.value) and "runs" in str(e.value)

@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_figure_on_a_disk_that_fails(disk, trouble):
    "A figure that cannot be written leaves the three files of the last one as they were, and says so; with room it is written."
    out = disk("size=1m", "out")
    t = pd.DataFrame([dict(seed=1, epoch=e, view="clean", split="train", layer="features", metric="nc1", value=1.0 + e, arch="vgg11",
                           regime="st") for e in range(9)])
    save = lambda t: plots.save_figure(plots.by_epoch(t, ("nc1",)), "f", t, dict(hardware="any"), out)
    save(t)
    before = {f.name: f.read_bytes() for f in out.iterdir()}
    if trouble == "full":
        try: (out / "filler").write_bytes(bytes(2**20))
        except OSError: pass
    else: subprocess.run(["mount", "-o", "remount,ro", out], check=True)
    with pytest.raises(OSError, match="could not write .*f.png.*NC_ROBUST_OUT.*intact"): save(t.assign(value=2.0))
    assert {f.name: f.read_bytes() for f in out.iterdir() if f.name != "filler"} == before
    if trouble == "full": (out / "filler").unlink()
    else: subprocess.run(["mount", "-o", "remount,rw", out], check=True)
    save(t.assign(value=2.0))
    assert (out / "f.csv").read_bytes() != before["f.csv"]

def test_the_files_of_a_figure_change_together(tmp_path, monkeypatch):
    "A disk that is full when the CSV comes leaves the picture beside it as it was, too."
    save = lambda n: plots.save_figure(plt.figure(), "f", pd.DataFrame([dict(value=n)]), {}, tmp_path)
    save(1)
    before, left = {f.name: f.read_bytes() for f in tmp_path.iterdir()}, [None, None]
    def full(f):
        if not left: raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="could not write .*f.csv.*intact"): save(2)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    monkeypatch.undo(); (tmp_path / "f.csv").unlink(); (tmp_path / "f.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="could not write .*f.csv.*intact"): save(2)
    assert all(f.is_dir() or f.read_bytes() == before[f.name] for f in tmp_path.iterdir())

def test_what_was_measured_on_lost_weights_is_kept(done, capsys):
    "A run that begins anew writes over none of its old tables, and leaves none beside the new one that another network made."
    run, table = run_of(epochs=4), done[1]
    for _ in range(2):
        with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    run.state_file.unlink(); before = run.csv.read_bytes()
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    assert "history.csv was measured on weights that are gone" in capsys.readouterr().out
    assert run.csv.with_name("history.csv.before").read_bytes() == before != run.csv.read_bytes()
    run = done[0]
    results.extra(run, "predicted")
    run.state_file.unlink(); run.csv.write_bytes(table[:-9])
    history(run, progress=False)
    assert run.csv.read_bytes() == table and sorted(f.name for f in run.folder.glob("*.csv*")) == [
        "history.csv", "history.csv.damaged", "predicted.csv.before"]

def test_a_table_of_another_run_is_not_read(done):
    "Nor written over."
    other = Run(configure("st", "vgg11", "smoke", seed=2))
    other.folder.mkdir(); other.csv.write_bytes(done[1])
    assert not runs.finished(other)
    def refused(): return pytest.raises(ValueError, match=rf"belongs to another run \({done[0].name}\); move it away")
    with refused(): history(other, progress=False)
    assert other.csv.read_bytes() == done[1]
    other.csv.unlink(); history(other, progress=False); table = other.csv.read_bytes()
    for name in ("history", "predicted"):                         # with weights of its own
        other.table_file(name).write_bytes(done[1])
        with refused(): results.extra(other, "predicted")
        with refused(): results.publish(other)
        other.csv.write_bytes(table)

def test_a_table_behind_its_state_is_made_anew(done):
    "As a kill between the two leaves it; somebody's notes beside it stay as they are."
    run, table = done
    (notes := run.folder / "notes.csv").write_text("mine")
    runs.write_table(run, run.state() | dict(epoch=1))
    assert history(run, progress=False).epoch.max() == 2 and run.csv.read_bytes() == table
    run.state_file.unlink(); run.csv.unlink(); history(run, progress=False)
    assert notes.read_text() == "mine" and run.tables() == [run.csv]

def test_the_other_precision_is_named_where_it_helps(capsys, monkeypatch):
    "By the command line, too; not where a precision was asked for, the run has begun, or the other has no table."
    given = dict(scale="pilot", dataset="digits", per_class=4, epochs=2, width=8)
    words = ["regime=st", "arch=vgg11", "quiet=true", *(f"{k}={v}" for k, v in given.items())]
    ask = lambda **more: plans.plan("st", "vgg11", 1, **given | more)[0]
    monkeypatch.setattr(config, "default_precision", lambda: "bf16")
    fp32, bf16 = ask(precision="fp32"), ask()
    fp32.folder.mkdir(parents=True); plans.announce([bf16]); assert "is there" not in capsys.readouterr().out
    main([*words, "precision=fp32"])
    plans.announce([ask(precision="bf16")]); assert "is there" not in capsys.readouterr().out
    for ask_for in (lambda: plans.announce([bf16]), lambda: main(words)):
        ask_for()
        assert f"{fp32.name} is there, in fp32: precision=fp32 takes it ({bf16.name}, in bf16, is new)" in capsys.readouterr().out
    shutil.rmtree(fp32.folder); main([*words, "precision=fp32"]); assert "is there" not in capsys.readouterr().out
    plans.announce([bf16]); main(words); assert "is there" not in capsys.readouterr().out

def test_measuring_keeps_to_the_time_given(done):
    "A table is not begun when the time is over."
    for ask in (results.extra, lambda run, *what, **k: plans.collect([run], *what, **k)):
        with pytest.raises(runs.Stopped, match="no time is left to measure predicted"): ask(done[0], "predicted", max_minutes=1e-9)

def test_two_processes_one_run(whole, capsys):
    "While one process trains, another that asks for the same run waits, trains nothing, and reads the same bytes."
    p, epochs = process(), []
    wait_for(p, "epoch")
    history(run_of(), progress=False, on_epoch=epochs.append)
    p.communicate(timeout=60)
    assert p.returncode == 0 and epochs == [] and "waiting" in capsys.readouterr().out
    assert run_of().csv.read_bytes() == whole[0]

def test_diverging_run_names_its_place(monkeypatch):
    "The error names epoch and batch; only epochs before it, with finite weights, were saved, and the command line says it in one line."
    with pytest.raises(Diverged, match=r"epoch \d+, batch \d+ of 4.*smaller lr"):
        history(Run(configure("st", "vgg11", "smoke", lr=1e12)), progress=False)
    assert Run(configure("st", "vgg11", "smoke", lr=1e12)).state() is None
    def later(model, opt, data, c, epoch, real=runs.train_epoch, **options):
        found = real(model, opt, data, c, epoch, **options)
        if epoch == 0: return found
        with torch.no_grad(): next(model.parameters()).fill_(torch.nan)
        raise Diverged("here")
    with monkeypatch.context() as m:
        m.setattr(runs, "train_epoch", later)
        with pytest.raises(Diverged, match="here"): history(run := Run(configure("st", "vgg11", "smoke")), progress=False)
    assert run.state()["epoch"] == 1 and all(v.isfinite().all() for v in run.state()["model"].values())
    with pytest.raises(SystemExit) as e: main(["regime=st", "arch=vgg11", "scale=smoke", "lr=1e12", "quiet=true"])
    assert str(e.value).startswith("Diverged: ")

def test_representations_that_are_not_finite():
    "Weights that turned NaN after the last batch of an epoch are noticed by the measurement, with epoch, regime and view named."
    run = Run(configure("st", "vgg11", "smoke"))
    model, _ = start(run.c, run.data)
    with torch.no_grad(): model.linear.bias[0] = float("nan")
    with pytest.raises(Diverged, match=r"train images \(clean\) are not finite after epoch 7 \(st, vgg11.*smaller lr"):
        runs.measure(model, run.data, run.c, 7)

@pytest.mark.parametrize("regime", ["st", "at", "trades", "trades_frozen_bn"])
def test_measuring_does_not_touch_training(regime):
    "Weights and buffers after three epochs are the same to the bit whether every epoch or only the first and last was measured."
    weights = []
    for every in (1, 3):
        run = Run(configure(regime, "vgg11", "smoke", epochs=3, steps=2, measure_every=every))
        history(run, progress=False)
        weights.append(run.state()["model"])
    assert weights[0].keys() == weights[1].keys() and all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])

def test_a_view_of_ones_own_does_not_touch_training(monkeypatch):
    "Views are made in eval mode: one that asks the network leaves its batch norm alone."
    def asks(name, model, *a, **k): model(a[0]); return made(name, model, *a, **k)
    made, numbers = measuring.make_view, []
    for way in (made, asks):
        monkeypatch.setattr(measuring, "make_view", way)
        run = Run(configure("st", "vgg11", "smoke", steps=2))
        numbers.append(history(run, progress=False)); shutil.rmtree(run.folder)
    assert numbers[0].equals(numbers[1])

def test_randomness_has_one_source_each(done):
    "Order, attack, noise and evaluation have their own streams by seed and epoch; none moves another; the global generator reaches no run."
    purposes = [("order", 0), ("order", 1), ("attack", 0), ("attack", 1), ("gaussian",), ("evaluation",)]
    draw = lambda s, p: tuple(torch.rand(4, generator=generator("cpu", s, *p)).tolist())
    assert len({draw(s, p) for s in (1, 2) for p in purposes}) == 12
    net = lambda s: build("vgg11", 10, 1, 8, seed=s).linear.weight
    first = net(1), torch.cat(batches(50, 8, seed=1)), draw(1, ("gaussian",))
    torch.manual_seed(123); draw(1, ("attack", 0)); torch.rand(5)
    assert torch.equal(net(1), first[0]) and torch.equal(torch.cat(batches(50, 8, seed=1)), first[1]) and draw(1, ("gaussian",)) == first[2]
    assert not torch.equal(net(2), net(1))
    run, table = done
    shutil.rmtree(run.folder)
    history(run, progress=False)
    assert run.csv.read_bytes() == table

def test_extra_names_who_made_it(done, monkeypatch):
    "A table made later from a finished network names the version that trained and the one that measured."
    run, later = done[0], runs.provenance() | dict(version="9.9")
    monkeypatch.setattr(results, "provenance", lambda device="cpu": later)
    results.extra(run, "layers")
    trained = read_head(run.csv)["version"]
    assert read_head(run.table_file("layers"))["version"] == f"{trained}; 9.9" and trained != "9.9"

@pytest.mark.parametrize("per_class", [5, None])
def test_side_by_side_trains_the_same_configuration(monkeypatch, per_class):
    "The command given to a process of its own describes the run it is for, to the last field."
    run, seen = Run(Config(dataset="digits", width=8, epochs=1, per_class=per_class, eps=0.1, milestones=(0.3, 0.7))), []
    def popen(command, **_): seen.append(command); raise InterruptedError
    monkeypatch.setattr(plans.subprocess, "Popen", popen)
    with pytest.raises(InterruptedError): plans._train_apart(run, None, [])
    monkeypatch.setattr(plans, "history", lambda r, *_, **more: seen.append(r.name))
    main(seen[0][3:])
    assert seen[1] == run.name

def test_a_device_that_this_machine_would_not_take_is_passed_on(monkeypatch):
    run = Run(configure("st", "vgg11", "smoke"), device="cpu")
    monkeypatch.setattr(plans, "usable_device", lambda *given: "cuda")
    assert "device=cpu" in plans.arguments(run)

def test_training_and_all_tables_share_the_time(monkeypatch):
    "And how they say what they do."
    seen, left = [], iter((5, 4, 3))
    monkeypatch.setattr(plans, "countdown", lambda minutes: lambda: next(left))
    monkeypatch.setattr(plans, "history", lambda r, minutes=None, **more: seen.append(("history", minutes, more["progress"])))
    monkeypatch.setattr(plans, "extra", lambda r, name, max_minutes=None, **more: seen.append((name, max_minutes, more["progress"])))
    main(["scale=smoke", "tables=layers,predicted", "max_minutes=5", "quiet=true"])
    assert seen == [("history", 5, False), ("layers", 4, False), ("predicted", 3, False)]

def test_what_figures_are_planned_and_asked_with():
    "A figure of one network takes the first of several; a parameter that is 0 is given, one that is None is not."
    plan = figures.planned("fig1,fig2", scale="quick", seeds="2,1", archs="vgg11,preact_resnet18")
    assert {(r.c.seed, r.c.arch) for r in plan["fig1"].runs} == {(2, "vgg11")} and len(plan["fig2"].runs) == 8
    asked = figures.Figure("fig12", scale="smoke", pooled=True, norm=None, weight_decay=0.0).asked
    assert asked == dict(scale="smoke", pooled=True, weight_decay=0.0)

def test_which_modules_make_a_table():
    "All but that of layers make histories and radii; tables by layer rest on that, too."
    assert machine.makers("history") == machine.makers("radii_0.1") == machine.MAKERS[:-1] and machine.MAKERS[-1] == "layers"
    assert machine.makers("adaptive.csv") == machine.makers("layers_pooled") == machine.MAKERS

def test_side_by_side_gives_the_same_tables():
    "Two runs in processes of their own end with the bytes of the same runs one after the other."
    both = [Run(configure("st", "vgg11", "smoke", seed=s)) for s in (1, 2)]
    plans.train_side_by_side(both)
    apart = [r.csv.read_bytes() for r in both]
    for r in both: shutil.rmtree(r.folder); history(r, progress=False)
    assert [r.csv.read_bytes() for r in both] == apart and apart[0] != apart[1]

def test_a_killed_process_beside_others_is_named(monkeypatch):
    "A process that is killed from outside is reported with its run and the signal."
    run, popen = Run(configure("st", "vgg11", "smoke")), subprocess.Popen
    code = "import os; print('epoch 1', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(plans.subprocess, "Popen", lambda _, **more: popen([sys.executable, "-c", code], **more))
    with pytest.raises(RuntimeError, match=f"{run.name} was killed .signal 9.*epoch 1.*command goes on"): plans.train_side_by_side([run])

def test_every_run_that_fails_beside_others_is_named(monkeypatch):
    "Not the first alone."
    popen, ends = subprocess.Popen, iter(("print('Diverged: one'); exit(1)", "print('Diverged: two'); exit(1)"))
    monkeypatch.setattr(plans.subprocess, "Popen", lambda _, **more: popen([sys.executable, "-c", next(ends)], **more))
    with pytest.raises(RuntimeError) as e: plans.train_side_by_side([Run(configure("st", "vgg11", "smoke", seed=s)) for s in (1, 2)])
    assert sorted(str(e.value).splitlines()) == ["Diverged: one", "Diverged: two"]

def test_a_stop_before_the_first_epoch_says_that_nothing_is_saved(monkeypatch):
    "As it is: there is no state, and the next call begins anew."
    run = Run(configure("st", "vgg11", "smoke"))
    def interrupted(*args, **more): raise InterruptedError
    monkeypatch.setattr(runs, "train_epoch", interrupted)
    with pytest.raises(runs.Stopped, match="stopped after 0 of 2 epochs .*; the same command begins anew"): history(run, progress=False)
    assert not run.state_file.exists()

@pytest.mark.parametrize("argument, says", [
    ("regime=madry", "trades_frozen_bn"), ("epochs=x", "epochs"), ("regim=at", "regim"), ("at", "key=value"),
    ("max_minutes=soon", "max_minutes"), ("max_minutes=-5", "max_minutes"), ("quiet=maybe", "quiet 'maybe'; allowed: True, False")])
def test_command_line_errors_are_one_line(argument, says):
    "A wrong argument ends the program with a message, not a traceback."
    with pytest.raises(SystemExit, match=says): main([argument, "scale=smoke"])

def pictures_in(folder, level):
    from PIL import Image
    for split in ("train", "test"):
        for c in "ab":
            (folder / split / c).mkdir(parents=True, exist_ok=True)
            for i in range(3): Image.new("L", (8, 8), level + 20 * i + 90 * (c == "b")).save(folder / split / c / f"{i}.png")

def test_a_finished_run_is_not_handed_out_for_other_images(tmp_path, capsys):
    "Another folder of the same name, new, missing or broken images are noticed; a folder that is gone is not needed, which is said."
    ask = lambda where: history(Run(configure("st", "vgg11", "smoke", epochs=1, per_class=3, dataset=f"folder:{where}/set #1")),
                                progress=False)
    pictures_in(tmp_path / "a" / "set #1", 0); pictures_in(tmp_path / "b" / "set #1", 50)
    t = ask(tmp_path / "a")
    assert t.value.notna().any() and set(t.metric) > {"nc1", "accuracy"} and ask(tmp_path / "a").equals(t)
    with pytest.raises(ValueError, match="trained on other data.*move"): ask(tmp_path / "b")
    pictures_in(tmp_path / "a" / "set #1", 50)
    with pytest.raises(ValueError, match="trained on other data"): ask(tmp_path / "a")
    next(files.runs_root().glob("*set*/history.csv")).unlink()
    with pytest.raises(ValueError, match="trained on other data"): ask(tmp_path / "a")
    next((tmp_path / "a").glob("*/train/b/2.png")).unlink()
    with pytest.raises(ValueError, match="has only 2 images"): ask(tmp_path / "a")
    next((tmp_path / "a").glob("*/train/b/1.png")).write_bytes(b"no image")
    with pytest.raises(ValueError, match="1.png is not a readable image"): ask(tmp_path / "a")
    shutil.rmtree(tmp_path / "a"); (tmp_path / "a" / "set #1").mkdir(parents=True); capsys.readouterr()          # where it was mounted
    assert ask(tmp_path / "a").equals(t) and "set #1/train is not there; st-vgg11" in capsys.readouterr().out

def test_waiting_for_another_process_ends_in_time(done):
    "`max_minutes` counts while another process holds the run, too; a finished table is read without the lock."
    run, _ = done
    with runs.locked(run):
        assert len(history(Run(run.c))) > 100
        with ThreadPoolExecutor(1) as other:
            with pytest.raises(runs.Stopped, match="another process"):
                other.submit(results.extra, Run(run.c), "predicted", max_minutes=0.001).result()
            run.csv.unlink()
            with pytest.raises(runs.Stopped, match="another process"): other.submit(history, Run(run.c), 0.001).result()

@pytest.mark.parametrize("error, says", [
    (OSError(errno.ENOSPC, "No space left on device"), "progress could not be shown"),
    (RuntimeError("from the callback"), "from the callback")])
def test_a_callback_that_fails_costs_no_epoch(error, says):
    "A full or closed output, or whatever a user's `on_epoch` raises: the epochs before it are saved."
    run = Run(configure("st", "vgg11", "smoke", epochs=4))
    def fails(epoch):
        if epoch == 3: raise error
    with pytest.raises(type(error), match=says): history(run, progress=False, on_epoch=fails)
    assert run.epochs_done == 3

@pytest.mark.parametrize("change, says", [
    (lambda net: setattr(net, "blocks", torch.nn.ModuleList(b[:1] for b in net.blocks)), "no batch norm to freeze; take regime st"),
    (lambda net: setattr(net, "pool", torch.nn.Sequential(net.pool, torch.nn.Flatten())), None),
    (lambda net: setattr(type(net), "forward", lambda self, x: self.linear(2 * self.features(x) + 1)), None),
    (lambda net: setattr(type(net), "layers", {"features": net.blocks[1]}), "must be its last layer"),
    (lambda net: setattr(type(net), "forward", lambda self, x: 2 * self.linear(self.features(x))), "are not what its last layer")])
def test_a_network_of_ones_own(monkeypatch, change, says):
    "Frozen batch norm needs one, and what is measured is what the last layer takes; other networks train."
    class Own(models.VGG):
        def __init__(self, *args): super().__init__(*args); change(self)
    monkeypatch.setattr(models, "vgg11", Own)
    run = Run(configure("st_frozen_bn", "vgg11", "smoke", epochs=1))
    if not says: assert len(history(run, progress=False)) > 100; return
    with pytest.raises(ValueError, match=says): history(run, progress=False)

def test_help(capsys):
    "`--help`, or nothing, prints how to call it and trains nothing."
    for words in ([], ["--help"]):
        main(words)
        assert capsys.readouterr().out.startswith("nc-robust-run key=value")

def test_trades_is_compared_with_all_seeds_of_at_or_none(monkeypatch):
    "While AT lacks a seed, claims about TRADES against AT are not measured."
    given = dict(scale="pilot", dataset="folder:cifar10", archs="vgg11", seeds="1,2", source="published")
    figure = figures.Figure("fig4", "trades", **given)
    monkeypatch.setattr(verdicts.runs, "finished", lambda r: r.c.seed != 2)
    found = verdicts.rows(figure, figures.table(figure)).set_index("claim").verdict
    assert found[13] == found[14] == "not measured" and found[12] == "holds"

def test_tables_of_a_finished_run(done, tmp_path, monkeypatch):
    "Large maps are averaged to 4x4, published files carry no time, and what cannot be measured is said before anything is trained."
    run = done[0]
    expected = layers.measure_layers(results.network(run), run.data, run.c, pool=4)
    assert results.extra(run, "layers_pooled").value.tolist() == pytest.approx([r["value"] for r in expected], nan_ok=True)
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    assert results.publish(run).csv.read_bytes()[4:8] == bytes(4)
    monkeypatch.setattr(results, "history", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(ValueError, match="no step size"): results.extra(run_of(eps=0.0), "radii", (0.1,))

def test_an_unfinished_run_goes_on_over_no_damaged_or_foreign_table(done):
    "That is set aside, this refused by its whole path; the state says how far the run is."
    run = Run(configure("st", "vgg11", "smoke", epochs=3, seed=2))
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    run.csv.write_bytes(bad := run.csv.read_bytes()[:-9])
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    assert run.csv.with_name("history.csv.damaged").read_bytes() == bad
    run.csv.write_bytes(done[1])
    with pytest.raises(ValueError, match=rf"{re.escape(str(run.csv))} belongs to another run"): history(run, progress=False)
    assert run.csv.read_bytes() == done[1]

def test_what_is_published_is_up_to_date(done, tmp_path, monkeypatch):
    "A table that is lost or behind its state is made anew first; somebody's notes are not published."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    run, table = done
    (run.folder / "notes.csv").write_text("mine")
    runs.write_table(run, run.state() | dict(epoch=1, records=[]))
    there = results.publish(run)
    assert history(there).epoch.max() == 2 and [f.name for f in there.folder.iterdir()] == ["history.csv.gz"]

def test_publishing_waits_for_who_trains(tmp_path, monkeypatch, capsys):
    "The table of a run cut short is not remade under a process that writes it; the message names the lock."
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    run = Run(configure("st", "vgg11", "smoke", epochs=3))
    with pytest.raises(runs.Stopped): history(run, max_minutes=0, progress=False)
    runs.write_table(run, run.state() | dict(epoch=0, records=[]))                  # as a kill may leave it
    with ThreadPoolExecutor(1) as other:
        with runs.locked(run):
            job = other.submit(results.publish, Run(run.c), cut=True)
            said, until = "", time.time() + 60
            while f"remove {run.folder / '.lock'})" not in said:
                assert time.time() < until, said
                said += capsys.readouterr().out; time.sleep(0.1)
            assert not job.done()
        assert runs.length(job.result()) == "1 of 3"

def test_another_table_of_other_code_is_named(done, monkeypatch, capsys):
    run, now = done[0], machine.code()
    with monkeypatch.context() as m:
        m.setattr(machine, "code", lambda: now.replace("metrics=", "metrics=0"))
        results.extra(run, "predicted")
    plans.announce([run])
    said = capsys.readouterr().out
    assert "metrics changed since" in said and f"{run.name}/predicted.csv" in said and "/history.csv" not in said

def test_what_cannot_be_set_aside_is_said(tmp_path, monkeypatch, capsys):
    "With the ways out; where another process was quicker nothing is."
    assert files.set_aside(tmp_path / "gone", "why").name == "gone.damaged" and not capsys.readouterr().out
    def full(*_): raise OSError(errno.EROFS, "Read-only file system")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"could not write .*/f.damaged: Read-only .*NC_ROBUST_RUNS"): files.set_aside(tmp_path / "f", "why")

def test_what_is_given_goes_before_the_figures_own():
    assert figures.Figure("fig5", norm="linf").norm == "linf"
    for name in ("fig15", "fig16"):
        with pytest.raises(ValueError, match=f"{name} compares radii: fractions of eps, which must not be 0"): figures.Figure(name, eps=0)

def test_a_figure_of_several_radii():
    "Each network is trained once at each, of the regimes asked for; a step of one's own is refused only where it would go with all."
    figure = figures.Figure("fig15", regime="st", eps=0.4, scale="smoke")
    assert [(r.c.regime, r.c.arch, r.c.eps) for r in figure.runs] == [("st", a, e) for e in (0.1, 0.2, 0.4) for a in config.ARCHS]
    with pytest.raises(ValueError, match="fig15 trains at several radii, and its step_size goes with them"):
        figures.Figure("fig15", step_size=0.1)
    assert figures.Figure("fig16", step_size=0.1).runs[0].c.step_size == 0.1

def test_the_baseline_of_trades_is_at():
    "Of the same seeds, where the figure does not draw it itself; of other regimes there is none."
    at = lambda *more: {r.name for r in plans.plan("at", config.ARCHS, *more)}
    assert {r.name for r in figures.Figure("fig4", seeds="2,3").baseline} == at("2,3")
    assert figures.Figure("trades").baseline == figures.Figure("fig2", "st").baseline == []

def test_a_table_that_names_no_runs_rests_on_none(tmp_path):
    "As of claims about claims, or with no column of them."
    (tmp_path / "a.csv").write_text("claim,runs\n1,one two\n2,\n"); (tmp_path / "b.csv").write_text("claim\n1\n")
    assert [figures._rests_on(tmp_path / f) for f in ("a.csv", "b.csv")] == [{"one", "two"}, set()]

def test_figure_1_takes_two_regimes_and_says_what_it_wrote(tmp_path, capsys):
    assert len(figures.Figure("fig1").runs) == 2
    written = plots.save_figure(None, "f", pd.DataFrame([dict(value=1)]), {}, tmp_path)
    assert written == [tmp_path / "f.csv"] and capsys.readouterr().out == f"{tmp_path / 'f.csv'}\n"
