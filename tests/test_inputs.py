"Wrong input is one clear `ValueError` before any work: what is accepted is usable, what is not is named."
import math, re
from fractions import Fraction
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from nc_robust import machine
from nc_robust.attacks import gaussian, pgd, project, random_perturb
from nc_robust.checks import logits_of
from nc_robust.config import ARCHS, Config, REGIMES, configure, listed, parameters, run_name
from nc_robust.figures import Figure
from nc_robust.layers import NearestCentre, accuracy, layer_metrics
from nc_robust.measure import View
from nc_robust.metrics import class_means, neural_collapse, neural_collapse_batches, simplex_similarity
from nc_robust.models import vgg11
from nc_robust.plans import plan
from nc_robust.data import load, statistics
from nc_robust.runs import Run, threads

junk = st.one_of(st.none(), st.booleans(), st.integers(-10**9, 10**9), st.floats(), st.text(max_size=5), st.binary(max_size=3),
                 st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
                 st.sampled_from(["1", "0.1", "nan", -0.1, 10**18]))
WHOLE = ("epochs", "batch_size", "width", "measure_every", "steps", "seed", "per_class")
NUMBERS = ("eps", "step_size", "lr", "momentum", "weight_decay", "beta")
NAMES = ("regime", "arch", "dataset", "norm", "precision", "decay_on")

@given(name=st.sampled_from(WHOLE + NUMBERS + NAMES), value=junk)
@settings(max_examples=300, deadline=None)
def test_config(name, value):
    "Any value of any type is refused with the field's name, or leaves a whole, finite, non-negative field and a folder name."
    try: c = Config(**{name: value})
    except ValueError as e: assert name in str(e); return
    kept = getattr(c, name)
    if name in WHOLE: assert kept is None and name == "per_class" or type(kept) is int and kept >= 0
    elif name in NUMBERS: assert type(kept) in (int, float) and 0 <= kept < math.inf
    else: assert isinstance(kept, str)
    assert run_name(c)

@given(name=st.sampled_from(("regime", "arch", "scale", "norm") + WHOLE + NUMBERS[1:]), value=junk)
@settings(max_examples=200, deadline=None)
def test_configure(name, value):
    "The same through `configure`, where None means the default."
    given = dict(regime="at", arch="vgg11", scale="smoke") | {name: value}
    try: c = configure(**given)
    except ValueError as e: assert name in str(e); return
    assert value is None or getattr(c, name, value) == value or name == "norm"

@pytest.mark.parametrize("field, value, says", [
    ("regime", "madry", "st, at, trades, st_frozen_bn, at_frozen_bn, trades_frozen_bn"), ("arch", "resnet50", "preact_resnet18, vgg11"),
    ("norm", "l1", "linf, l2"), ("dataset", "mnist", "digits100, cifar10"),
    ("scale", "tiny", "smoke, quick, pilot, subset, paper"), ("precision", "fp16", "fp32, bf16"),
    ("decay_on", "first", "all, last, body")])
def test_unknown_names_list_the_known(field, value, says):
    "A message about a name holds the value given and everything that is allowed."
    with pytest.raises(ValueError, match=says) as e: configure(**dict(regime="st", arch="vgg11", scale="smoke") | {field: value})
    assert repr(value) in str(e.value) and field in str(e.value)

@pytest.mark.parametrize("given", [
    dict(eps=-0.1), dict(eps=math.nan), dict(eps=math.inf), dict(eps="0.1"), dict(steps=1.0), dict(steps=True),
    dict(milestones=(0.5, 1.5)), dict(milestones=(math.nan,)), dict(milestones=5), dict(milestones=("a",)), dict(epoch=5),
    dict(eps=10**400), dict(beta=10**400), dict(dataset=5), dict(seed=2**70), dict(classes="100"), dict(eps=True),
    dict(step_size=0), dict(momentum=2), dict(milestones="0.5,0.75"), dict(classes=100, dataset="cifar10")],
    ids=lambda g: next(iter(g)))
def test_configure_refuses(given):
    "Values of the wrong type, sign, size or name."
    with pytest.raises(ValueError): configure("st", "vgg11", "smoke", **given)

def test_an_attack_that_would_not_move_is_refused():
    "A step of 0 leaves the start; no radius or no steps ask for it."
    model, x, y = torch.nn.Flatten(), torch.rand(2, 1, 2, 2), torch.zeros(2).long()
    with pytest.raises(ValueError, match="step_size is 0: an attack would not move; eps/4 is usual, 0.025"):
        pgd(model, x, y, 0.1, step_size=0)
    for given in (dict(eps=0), dict(eps=0.1, steps=0)): assert pgd(model, x, y, step_size=0, start="clean", **given).equal(x)

@pytest.mark.parametrize("use", [lambda m, x, y: pgd(m, x, y, 0.1), lambda m, x, y: pgd(m, x, None, 0.1, objective="kl"),
                                 lambda m, x, y: accuracy(m, x, y)])
def test_a_model_that_changes_its_input_is_refused(use):
    "Every later view of the images would be of others."
    shifts = lambda x: x.sub_(0.1).flatten(1)
    net = torch.nn.Module(); net.forward = shifts
    with pytest.raises(ValueError, match=r"changes its input in place; give lambda x: model\(x.clone"): use(
        net, torch.rand(2, 1, 2, 2), torch.zeros(2).long())

class Counted(torch.nn.Module):
    calls = 0
    def __init__(self): super().__init__(); self.linear = torch.nn.Linear(16, 3)
    def forward(self, x): self.calls += 1; return self.linear(x.flatten(1))

X, Y = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])

@given(name=st.sampled_from(["eps", "step_size", "steps", "restarts", "norm", "objective", "start", "bn", "gradient"]), value=junk)
@settings(max_examples=200, deadline=None)
def test_pgd_arguments(name, value):
    "A wrong argument of the attack is refused by name before the model is asked once; what is accepted gives images in the box."
    if name in ("steps", "restarts") and isinstance(value, int) and value > 5: value = 5
    m = Counted()
    try: x = pgd(m, X, Y, **dict(eps=0.1, step_size=0.1, steps=1) | {name: value})
    except ValueError as e: assert name in str(e) and m.calls == 0; return
    assert 0 <= x.min() and x.max() <= 1

REFUSED = dict(                                         # images, labels, other arguments, what is said
    bytes=((255 * X).byte(), Y, {}, r"got torch.uint8; x.float\(\) / 255 makes them"), over_one=(255 * X, Y, {}, "divide by 255"),
    negative=(X - 0.5, Y, {}, r"pixels must lie in \[0, 1\]"), array=(X.numpy(), Y, {}, "got ndarray; torch.as_tensor makes a tensor"),
    nan=(torch.where(X > X.median(), math.nan, X), Y, {}, "NaN or infinite pixels in 4 of 4 images"),
    double=(X.double(), Y, {}, r"x is torch.float64, the model torch.float32; give x.to\(torch.float32\)"),
    half=(X.half(), Y, {}, "torch.float16 is too coarse"), bfloat16=(X.bfloat16(), Y, {}, "torch.bfloat16 is too coarse"),
    empty=(X[:0], Y[:0], {}, "at least one image"), flat=(X[0, 0, 0], Y, {}, r"must be a batch \(N, ...\)"),
    one_image=(X[:3, 0], Y[:1], {}, r"looks like one image; give x\[None\]"),
    few_labels=(X, Y[:3], {}, "y must hold 4"), float_labels=(X, Y.float(), {}, r"\.long\(\) makes them whole"),
    label_column=(X, Y[:, None], {}, r"\.squeeze\(1\)"), one_hot=(X, torch.eye(4), {}, r"\.argmax\(1\), if it is one-hot"),
    label_list=(X, Y.tolist(), {}, "got list; torch.as_tensor makes a tensor"), no_labels=(X, None, {}, "cross-entropy needs labels"),
    labels_from_one=(X, Y + 1, {}, "labels must lie in 0..2, got 1..3"), negative_label=(X, Y - 1, {}, "in 0..2, got -1..1"),
    huge_l2_step=(X, Y, dict(step_size=1e300, norm="l2"), "step_size must be"), true_eps=(X, Y, dict(eps=True), "eps must be .* got True"),
    huge_whole_eps=(X, Y, dict(eps=10**400), "eps must be"), huge_l2_eps=(X, Y, dict(eps=1e300, norm="l2"), "eps must be"),
    l2_eps_of_bytes=(X, Y, dict(eps=128, norm="l2"), "did you mean 128/255"), dtype_name=(X, Y, dict(dtype="bf16"), "torch.bfloat16"),
    targeted_kl=(X, Y, dict(objective="kl", targeted=True), "has no targets"))
@pytest.mark.parametrize("x, y, more, says", REFUSED.values(), ids=REFUSED)
def test_pgd_refuses(x, y, more, says):
    "Images that are no pixels, labels that are none, numbers out of range: one error that says what makes it right."
    with pytest.raises(ValueError, match=says): pgd(Counted(), x, y, **dict(eps=0.1, step_size=0.1, steps=1) | more)

def test_another_fault_of_a_coarse_model_is_said_as_it_is():
    "A model that casts its input itself, on images of another size: not its precision is to blame."
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).bfloat16()
    class Casts(torch.nn.Module):
        def __init__(self): super().__init__(); self.net = net
        def forward(self, x): return self.net(x.bfloat16())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"): pgd(Casts(), torch.rand(2, 3, 2, 1), torch.tensor([0, 1]), 0.1)

def test_want_of_memory_is_said_as_it_is():
    "Also where a model's weights are of another type than the pixels: it may round them itself."
    m = Counted().bfloat16()
    m.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory left")))
    with pytest.raises(torch.OutOfMemoryError, match="no memory left"): pgd(m, X, Y, 0.1, 0.1)

@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_whole_number_labels_of_any_width(dtype):
    "Labels of another whole-number type are the same labels."
    go = lambda y: pgd(m, X, y, 0.1, 0.1, 2, restarts=2, generator=torch.Generator().manual_seed(0))
    m = Counted()
    assert torch.equal(go(Y.to(dtype)), go(Y))

ELSEWHERE = torch.device("meta")       # stands for the other device of a machine that has two
@pytest.mark.parametrize("names, call", [
    (("y", "x"), lambda: pgd(Counted(), X, Y.to(ELSEWHERE), 0.1, 0.1)),
    (("x", "model"), lambda: pgd(Counted(), X.to(ELSEWHERE), Y.to(ELSEWHERE), 0.1, 0.1)),
    (("model",), lambda: pgd(Counted().to(ELSEWHERE), X, Y, 0.1, 0.1)),
    (("h", "y"), lambda: neural_collapse(torch.rand(4, 5), Y.to(ELSEWHERE), num_classes=3)),
    *[((name,), lambda name=name, shape=shape: neural_collapse(
        torch.rand(4, 5), Y, **dict(weight=torch.rand(3, 5)) | {name: torch.rand(shape, device=ELSEWHERE)}))
      for name, shape in dict(weight=(3, 5), bias=(3,), reference=(3, 5)).items()],
    (("quantum", "GPU"), lambda: Run(configure("st", "vgg11", "smoke"), device="quantum"))])
def test_devices(names, call):
    "Tensors on different devices are refused, each named with its place; so is a device that is none."
    with pytest.raises(ValueError, match="meta|device") as e: call()
    assert all(n in str(e.value) for n in names)

def test_gaussian_refuses():
    "The noise takes the same pixels and radii as the attack."
    for x, eps in ((255 * X, 0.1), (X, -1.0), (X, math.nan)):
        with pytest.raises(ValueError): gaussian(x, eps)

@given(h=st.one_of(junk, st.just(torch.rand(6, 4))), y=st.one_of(junk, st.just(torch.tensor([0, 1, 2, 0, 1, 2]))),
       C=st.one_of(st.none(), st.integers(-2, 5)))
@settings(max_examples=100, deadline=None)
def test_neural_collapse_arguments(h, y, C):
    "With a given number of classes, only a float matrix with its labels gives numbers."
    C = 3 if C is None else C
    try: r = neural_collapse(h, y, num_classes=C)
    except ValueError: return
    assert torch.is_tensor(h) and torch.is_tensor(y) and C >= 3 and math.isfinite(r["nc1"])

def test_parameters_of_a_notebook():
    "A name injected that the notebook does not know, and a value that is not allowed, list what is; None passes where it is listed."
    cell = "# Parameters\nregim = 'at'\n"
    with pytest.raises(ValueError, match="'regim'.*regime, seeds"):
        parameters(dict(regime="st", seeds=1, In=["", cell]), regime=REGIMES, seeds=None)
    corrected = ["# Parameters\nregim = 'at'\n", "# Parameters\nregime = 'at'\n"]                    # run again in the same kernel
    assert parameters(dict(regime="at", In=corrected), regime=REGIMES) == dict(regime="at")
    with pytest.raises(ValueError, match="'arch'.*regime, seeds"):                                   # in the notebook's own cell
        parameters(dict(regime="st", seeds=1, In=["%matplotlib", "regime='st'\nseeds=1\narch=2", "x = 1"]), regime=REGIMES, seeds=None)
    with pytest.raises(ValueError, match="'madry'.*trades_frozen_bn"): parameters(dict(regime="madry", In=[]), regime=REGIMES)
    assert parameters(dict(regime=None, seeds=[1], In=["x = 1", "# Parameters\nregime = None"]),
                      regime=(None, *REGIMES), seeds=None) == dict(regime=None, seeds=[1])

@given(value=junk)
@settings(max_examples=100, deadline=None)
def test_parameters_fuzz(value):
    "Only what is allowed comes through."
    try: assert parameters(dict(arch=value), arch=ARCHS)["arch"] in ARCHS
    except ValueError as e: assert "preact_resnet18" in str(e)

def test_lists_in_parameters():
    "A list, one value or text with commas; a wrong item anywhere in it is refused before anything is planned."
    assert listed("seeds", "1, 2", int) == listed("seeds", [1, 2], int) == [1, 2] and listed("seeds", 3, int) == [3]
    halves = ([v] for v in (1.5, np.float32(1.7), torch.tensor(1.7), Fraction(3, 2), np.True_, None))
    for wrong in ("a,b", "", [], 1.5, True, "1,1", *halves):
        with pytest.raises(ValueError, match="seeds must be whole numbers"): listed("seeds", wrong, int)
    for wrong in ("", "vgg11,", []):
        with pytest.raises(ValueError, match="archs must be names"): listed("archs", wrong)
    assert [(r.c.arch, r.c.seed) for r in plan("st", "vgg11,preact_resnet18", "1,2")] == [
        ("vgg11", 1), ("vgg11", 2), ("preact_resnet18", 1), ("preact_resnet18", 2)]
    for bad in (("st,madry", "vgg11", 1), ("st", "vgg11,vgg12", 1), ("st", "vgg11", "1,x"), ("", "vgg11", 1), ("st", "vgg11", -1)):
        with pytest.raises(ValueError): plan(*bad)

def test_regimes_and_a_rate_of_a_figure():
    "Every figure takes several regimes, in the order given, or all, and one rate for them."
    shown = lambda regime: [(r.c.regime, r.c.lr) for r in Figure("fig2", regime, archs="vgg11", scale="quick", lr=0.03).runs]
    assert shown("at,st") == shown(["at", "st"]) == [("at", 0.03), ("st", 0.03)] and len(shown("all")) == len(REGIMES)
    with pytest.raises(ValueError, match="unknown regime 'madry'; allowed: st"): shown("at,madry")

def test_numbers_of_numpy():
    "A NumPy number is a number, and the same run as the plain one."
    assert Config(seed=np.int64(3), eps=np.float64(0.1)) == Config(seed=3, eps=0.1)
    assert run_name(Config(seed=np.int64(3))) == run_name(Config(seed=3)) and type(Config(lr=np.float32(0.5)).lr) is float
    assert Config(milestones=np.array([0.5, 0.75])) == Config(milestones=(0.5, 0.75))

def test_text_of_numpy():
    "Is text, which a checkpoint can hold; an array of several is refused with the field's name."
    given = dict(regime="at", arch="vgg11", precision="fp32", norm="l2", dataset="digits", decay_on="last")
    assert {type(getattr(Config(**{k: np.str_(v) for k, v in given.items()}), k)) for k in given} == {str}
    with pytest.raises(ValueError, match="unknown regime array"): configure(np.array(["at", "st"]), "vgg11", "smoke")

def test_source():
    "A misspelt source is refused; it does not train."
    with pytest.raises(ValueError, match="source.*runs, published"): Run(configure("st", "vgg11", "smoke"), source="publishd")

@pytest.mark.parametrize("what", ["weight", "bias", "reference"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_classifier_and_reference_must_be_finite_tensors(what, bad):
    h, y = torch.randn(40, 6), torch.arange(40) % 4
    more = dict(weight=torch.randn(4, 6), bias=torch.randn(4), reference=torch.randn(4, 6))
    if bad is None: more[what] = more[what].numpy()
    else: more[what].view(-1)[0] = bad
    with pytest.raises(ValueError, match=f"{what} (must be a tensor|has NaN or infinite)"): neural_collapse(h, y, **more)

def test_models_that_return_no_logits():
    "A tuple, or one number an image, is named."
    x, y = torch.rand(3, 1, 8, 8), torch.zeros(3).long()
    for wrong in (lambda x: (x.flatten(1), x), lambda x: x.flatten(1).sum(1)):
        with pytest.raises(ValueError, match="must return logits"): pgd(wrong, x, y, 0.1, 0.1)
    with torch.inference_mode(), pytest.raises(ValueError, match="inference_mode"): pgd(lambda x: x.flatten(1), x, y, 0.1, 0.1)

def test_tensors_of_other_libraries():
    "Two subclasses of Tensor that do not know each other, as fastai's images and categories, are taken as tensors."
    image, category = (type(name, (torch.Tensor,), {}) for name in ("Image", "Category"))
    x, y, net = torch.rand(6, 1, 2, 2), torch.arange(6) % 3, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    a, b = x.as_subclass(image), y.as_subclass(category)
    with pytest.raises(TypeError): a.flatten(1) @ b.float()
    assert torch.equal(pgd(net, a, b, 0.1, start="clean"), pgd(net, x, y, 0.1, start="clean"))
    assert torch.equal(class_means(a.flatten(1), b, 3), class_means(x.flatten(1), y, 3)) and type(gaussian(a, 0.1)) is torch.Tensor
    assert not gaussian(x.requires_grad_(), 0.1).requires_grad

@pytest.mark.parametrize("given, says", [
    (dict(dtype=torch.float32), "dtype is that of autocast; None"), (dict(dtype=torch.int8), "unknown dtype torch.int8.*torch.bfloat16"),
    (dict(generator=3), r"must be a torch.Generator, got 3; torch.Generator\(x.device\)")])
def test_what_an_attack_cannot_use_is_refused(given, says):
    with pytest.raises(ValueError, match=says): pgd(torch.nn.Flatten(), X, Y, 0.1, **given)

def test_the_remedy_for_a_coarse_model_works():
    "It is said at once, and does what it says."
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(torch.bfloat16)
    x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=re.escape("give `lambda x: model(x.to(torch.bfloat16))`")): pgd(net, x, y, 0.1)
    assert (pgd(lambda x: net(x.to(torch.bfloat16)), x, y, 0.1) - x).abs().max() <= 0.1 + 1e-6

@pytest.mark.parametrize("yielded, says", [
    ([(X.flatten(1), Y, 0)], "pairs"), ([(X.flatten(1), Y), (X.flatten(1)[:, :3], Y)], "of 3 dimensions, those before it"),
    ([(X.flatten(1)[:0], Y[:0])], "no batch"), ([(X.flatten(1), Y), (X.flatten(1)[:0], Y)], "y must hold 0")])
def test_batches_that_do_not_fit(yielded, says):
    with pytest.raises(ValueError, match=says): neural_collapse_batches(lambda: yielded, 3)

def test_the_coarsest_batch_counts():
    "Wherever among the batches it stands; an empty one is passed over."
    h, y = torch.randn(12, 4), torch.arange(12) % 3
    for batches in ([(h.half(), y), (h, y)], [(h, y), (h[:0], y[:0]), (h.half(), y)]):
        with pytest.warns(UserWarning, match="float16"): neural_collapse_batches(lambda: batches, 3)

@pytest.mark.parametrize("mode, channels", [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_colour_modes(tmp_path, mode, channels):
    "Grey stays grey, also with transparency; the rest becomes RGB."
    from PIL import Image
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB" if mode == "P" else "RGBA", (8, 8), "white").convert(mode).save(tmp_path / name / "0.png")
    x = load(f"folder:{tmp_path}").train.x
    assert x.shape == (2, channels, 8, 8) and x.min() == 255

@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_images_that_are_not_8_bit(tmp_path, mode):
    "They would be clipped to white or black; the file is named instead."
    from PIL import Image
    for split in ("train", "test"):
        for c in "ab":
            (tmp_path / split / c).mkdir(parents=True)
            Image.new(mode, (8, 8), 1).save(tmp_path / split / c / "0.tif")
            (tmp_path / split / c / "._0.tif").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="0.tif.*8 bits"): load(f"folder:{tmp_path}")

def test_threads_given(monkeypatch, tmp_path):
    "The first number of OMP_NUM_THREADS counts; one that is none is named."
    large = type("D", (), dict(train=type("S", (), dict(x=torch.zeros(1, 3, 32, 32)))))
    monkeypatch.delenv("IN_TEST", raising=False); monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    with threads(large): assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    with pytest.raises(ValueError, match="OMP_NUM_THREADS.*'0'"), threads(large): pass

def test_a_device_has_one_name():
    "However the CPU is named, a run is on `cpu`."
    for given in ("cpu", "cpu:0", torch.device("cpu")): assert Run(configure("st", "vgg11", "smoke"), device=given).device == "cpu"

@pytest.mark.parametrize("eps", [-0.1, math.nan])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_parts_of_an_attack_refuse_a_bad_radius(norm, eps):
    "`project` and `random_perturb` alone would move pixels out of the ball, or make NaN of them."
    for part in (lambda: project(X, X, eps, norm), lambda: random_perturb(X, eps, norm)):
        with pytest.raises(ValueError, match="eps must be a number >= 0"): part()

def test_one_folder_is_one_run(tmp_path, monkeypatch):
    "However the path is written; and it must be written."
    (tmp_path / "mine").mkdir(); monkeypatch.chdir(tmp_path / "mine")
    names = {run_name(configure("st", "vgg11", "pilot", dataset=f"folder:{p}")) for p in (".", "../mine", tmp_path / "mine")}
    assert len(names) == 1 and "-folder_mine-" in names.pop()
    with pytest.raises(ValueError, match="names no folder"): configure("st", "vgg11", "pilot", dataset="folder:")
    with pytest.raises(ValueError, match="did you mean folder:/data/x"): configure("st", "vgg11", "pilot", dataset="/data/x")

def test_a_remedy_fits_what_is_wanted():
    "Rows are not offered to who must give images, whole numbers not to who must give means."
    for call in (lambda: statistics(torch.rand(8, 8, 1)), lambda: simplex_similarity(torch.rand(3), torch.rand(3))):
        with pytest.raises(ValueError) as e: call()
        assert "makes" not in str(e.value)

def test_statistics_of_models():
    "A deviation of 0 is refused, a tensor is taken."
    assert torch.equal(vgg11(3, 1, 8, torch.tensor([0.5]), torch.tensor([2.0])).std.flatten(), torch.tensor([2.0]))
    with pytest.raises(ValueError, match="std must be above 0"): vgg11(3, 1, 8, (0.5,), (0.0,))

def test_remedies_keep_the_layers_of_a_model():
    "A wrapper is offered to be given the `layers`, to a model that has some."
    x, around = torch.rand(2, 1, 2, 2), "a module around it that has its `layers`"
    class Net(torch.nn.Sequential): layers = {}
    for change, dtype, offered in ((lambda m, given: given[0].sub_(0.1), torch.float, True), (None, torch.bfloat16, True),
                                   (None, torch.double, False)):
        for kind in (Net, torch.nn.Sequential):
            net = kind(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(dtype)
            if change: net.register_forward_pre_hook(change)
            with pytest.raises(ValueError) as e: logits_of(net, x)
            assert (around in str(e.value)) == (offered and kind is Net)

def test_images_made_in_inference_mode():
    with torch.inference_mode(): assert accuracy(torch.nn.Flatten(), torch.eye(4).view(4, 1, 2, 2), torch.arange(4)) == 1

def test_lists_and_threads(monkeypatch):
    with pytest.raises(ValueError, match="seeds must be whole numbers"): listed("seeds", [math.inf], int)
    monkeypatch.setenv("OMP_NUM_THREADS", "²")
    with pytest.raises(ValueError, match="OMP_NUM_THREADS must be"):
        with machine.threads(None): pass

def test_simplices_that_do_not_fit():
    "Of another layer, another number of classes, or class means instead: refused by what is wanted, before anything is attacked."
    net, view = vgg11(4, width=8).eval(), View(torch.rand(8, 3, 8, 8), torch.arange(8) % 4)
    centres = layer_metrics(net, view)[1]
    five = layer_metrics(vgg11(5, width=8).eval(), View(view.x, torch.arange(8) % 5))[1]
    for wrong in (torch.zeros(4, 8), centres["features"], five["block1"]):
        with pytest.raises(ValueError, match="reference must be a Simplex of as many classes and dimensions"):
            layer_metrics(net, view, dict.fromkeys(centres, centres["features"]) | dict(block1=wrong))
    with pytest.raises(ValueError, match="centres must be a Simplex"): NearestCentre(net, "block1", torch.zeros(4, 8))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got 4\.\.7"): accuracy(net, view.x, view.y + 4)
