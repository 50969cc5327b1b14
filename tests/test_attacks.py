"PGD stays where it must, leaves the model alone, agrees with an independent implementation and is as strong as it claims."
import math, warnings
from types import SimpleNamespace
import pytest, torch, torch.nn as nn, torch.nn.functional as F
from hypothesis import assume, given, settings, strategies as st
from nc_robust import measure
from nc_robust.attacks import (_report, _Watch, ce_direction, gaussian, input_gradient, kl_direction, objective_value, pgd,
                               random_perturb)
from nc_robust.config import configure
from nc_robust.data import generator, pixels
from nc_robust.layers import NearestCentre, accuracy, layer_metrics
from nc_robust.measure import View, at_once, attack
from nc_robust.models import PreActBlock, folded, last_layer, representations

def rng(seed=0): return torch.Generator().manual_seed(seed)

def linear(classes=4, scale=3.0):
    m = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad(): m[1].weight.copy_(scale * torch.randn(classes, 16, generator=rng(9)))
    return m

def images(n=5, seed=0, classes=4):
    return torch.rand(n, 1, 4, 4, generator=rng(seed)), torch.randint(classes, (n,), generator=rng(seed + 1))

def distance(a, b, norm): return (a - b).flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])
attacks = dict(
    seed=st.integers(0, 99), eps=st.floats(0, 1.5), step_size=st.floats(0, 3), steps=st.integers(0, 4), restarts=st.integers(1, 3),
    targeted=st.booleans(), start=st.sampled_from(["uniform", "gaussian", "clean"]),
    gradient=st.sampled_from(["stable", "summed", "published"]), objective=st.sampled_from(["ce", "kl"]), box_first=st.booleans())

@both_norms
@given(**attacks)
@settings(max_examples=60, deadline=None)
def test_inside_ball_and_box(norm, seed, eps, step_size, steps, restarts, targeted, start, gradient, objective, box_first):
    "Whatever the options: within eps of x, within [0, 1], and the same images from the same generator."
    if norm == "linf": eps, step_size = min(eps, 1), min(step_size, 1)
    assume(step_size or not (eps and steps))                              # else it is refused
    (x, y), m = images(seed=seed), linear()
    x = (1.4 * x - 0.2).clamp(0, 1)                                       # some pixels at the walls
    warnings.simplefilter("ignore")
    go = lambda: pgd(m, x, y, eps, step_size, steps, norm, targeted and objective == "ce", restarts, objective, start,
                     gradient=gradient, box_first=box_first, generator=rng(seed))
    x_adv = go()
    assert x_adv.shape == x.shape and 0 <= x_adv.min() and x_adv.max() <= 1
    assert (distance(x_adv, x, norm) <= eps + 2e-6).all()
    assert torch.equal(x_adv, go())

@both_norms
@pytest.mark.filterwarnings("ignore:the gradient vanished")               # it does under KL from a clean start
def test_degenerate_budgets(norm):
    "eps = 0 returns x exactly; no steps returns the random start, inside the ball and not x; other seeds start elsewhere."
    (x, y), m = images(), linear()
    for more in ({}, dict(restarts=3), dict(start="gaussian"), dict(objective="kl")):
        assert torch.equal(pgd(m, x, y, 0.0, 0.1, norm=norm, **more), x)
    a, b = (pgd(m, x, y, 0.3, 0.1, 0, norm, generator=rng(s)) for s in (1, 2))
    assert not torch.equal(a, x) and not torch.equal(a, b) and (distance(a, x, norm) <= 0.3 + 1e-6).all()
    assert torch.equal(pgd(m, x, y, 0.3, 0.1, 0, norm, start="clean"), x)

@both_norms
def test_the_best_point_of_a_linear_model(norm):
    "For two classes the worst point is known: x + eps sign(w) or x + eps w/|w|; the attack is there."
    m, x, y = linear(2), torch.full((1, 1, 4, 4), 0.5), torch.tensor([1])
    w = (m[1].weight[0] - m[1].weight[1]).detach().view(1, 1, 4, 4)
    best = x + 0.2 * (w.sign() if norm == "linf" else w / w.norm())
    assert torch.allclose(pgd(m, x, y, 0.2, 0.1, 30, norm, generator=rng()), best, atol=1e-3)
    assert torch.allclose(pgd(m, x, 1 - y, 0.2, 0.1, 30, norm, targeted=True, generator=rng()), best, atol=1e-3)

@pytest.mark.parametrize("norm", ["linf", "Linf", "inf", math.inf, "l2", "L2", 2])
def test_spellings_of_the_norm(norm):
    "The usual names of a norm mean the same attack."
    (x, y), m = images(), linear()
    plain = "l2" if "2" in str(norm) else "linf"
    assert torch.equal(pgd(m, x, y, 0.1, 0.05, norm=norm, generator=rng()), pgd(m, x, y, 0.1, 0.05, norm=plain, generator=rng()))

@both_norms
@pytest.mark.parametrize("targeted", [False, True])
def test_restarts_keep_the_worst_per_point(trained, norm, targeted):
    "With restarts every point is at least as bad as after the first alone, and as the best of each restart run by itself."
    m, (x, y) = trained[0]["vgg11"], some(trained, 200)
    eps = 0.1 if norm == "linf" else 0.6
    value = lambda a: objective_value(m(a), y, targeted=targeted)
    g = rng()
    apart = torch.stack([value(pgd(m, x, y, eps, eps / 4, 3, norm, targeted, generator=g)) for _ in range(3)])
    together = value(pgd(m, x, y, eps, eps / 4, 3, norm, targeted, restarts=3, generator=rng()))
    assert torch.allclose(together, apart.amax(0), rtol=1e-3, atol=1e-5)  # batch norm folded or not, the same three starts
    assert (together > apart[0] + 1e-3).any()

def test_restarts_never_raise_robust_accuracy():
    "A wrong answer at loss 0.8 is worth more than a right one at loss 1.6."
    wrong, right = (torch.tensor([0.45, 0.549, 0.001 / 4, 0.001 / 4, 0.001 / 4, 0.001 / 4]),
                    torch.tensor([0.2, 0.16, 0.16, 0.16, 0.16, 0.16]))
    model = lambda x: torch.where(x.flatten(1)[:, :1] < 0.5, wrong, right).log() + 0 * x.flatten(1).sum(1, keepdim=True)
    x, y = torch.full((200, 1, 1, 1), 0.5), torch.zeros(200).long()
    hits = [(model(pgd(model, x, y, 0.5, 0.0, 1, restarts=k, generator=rng(), check=False)).argmax(1) == y).sum() for k in (1, 5)]
    assert hits[1] <= hits[0]

def some(trained, n, split="train"):
    s = getattr(trained[1], split)
    rows = torch.randperm(len(s.y), generator=rng())[:n]
    return pixels(s.x[rows]), s.y[rows]

def robust(m, x, y, eps, norm, batch=512, **more):
    "Robust accuracy in percent; the step is eps/4."
    g = rng()
    parts = [pgd(m, xi, yi, eps, eps / 4, norm=norm, generator=g, **more) for xi, yi in zip(x.split(batch), y.split(batch))]
    return 100 * (m(torch.cat(parts)).argmax(1) == y).double().mean().item()

@pytest.mark.parametrize("arch", ["preact_resnet18", "vgg11"])
@pytest.mark.parametrize("norm, eps", [("linf", 0.05), ("l2", 0.4)])
def test_agrees_with_foolbox(trained, arch, norm, eps):
    "The same ball, steps and model: robust accuracy within 0.5 points of foolbox on 1,300 training images, and well below clean accuracy."
    fb = pytest.importorskip("foolbox")
    m, (x, y) = trained[0][arch], some(trained, 1300)
    # Random l2 starts are distributed otherwise there.
    attack, begin = {"linf": (fb.attacks.LinfPGD, "uniform"), "l2": (fb.attacks.L2PGD, "clean")}[norm]
    theirs = attack(abs_stepsize=eps / 4, steps=10, random_start=begin == "uniform")
    torch.manual_seed(0)
    hit = torch.cat([theirs(fb.PyTorchModel(m, bounds=(0, 1)), xi.contiguous(), yi, epsilons=eps)[2]
                     for xi, yi in zip(x.split(512), y.split(512))])
    ours, clean = robust(m, x, y, eps, norm, start=begin), robust(m, x, y, 0.0, norm, steps=0)
    assert abs(ours - 100 * (1 - hit.double().mean().item())) <= 0.5
    assert ours < clean - 3

@pytest.mark.parametrize("arch", ["preact_resnet18", "vgg11"])
@pytest.mark.parametrize("norm, eps", [("linf", 0.05), ("l2", 0.2)])
def test_ten_steps_are_enough(trained, arch, norm, eps):
    "50 steps with 2 restarts leave at most 3 points less than 10 steps with one, and at most 1 more, two of the 200 images."
    m, (x, y) = trained[0][arch], some(trained, 200)
    plain, strong = robust(m, x, y, eps, norm), robust(m, x, y, eps, norm, steps=50, restarts=2)
    assert strong - 1 <= plain <= strong + 3

@pytest.mark.parametrize("arch", ["preact_resnet18", "vgg11"])
@pytest.mark.parametrize("norm, radii", [("linf", (0.0, 0.02, 0.05, 0.1, 0.8)), ("l2", (0.0, 0.2, 0.4, 0.8, 8.0))])
def test_strength_follows_the_radius(trained, arch, norm, radii):
    "The loss rises with eps, and a ball that holds other classes' images leaves 0 %."
    m, (x, y) = trained[0][arch], some(trained, 200)
    adv = [pgd(m, x, y, eps, eps / 4, 20, norm, generator=rng()) for eps in radii]
    loss = [F.cross_entropy(m(a), y).item() for a in adv]
    assert all(a < b for a, b in zip(loss, loss[1:])), loss
    assert (m(adv[-1]).argmax(1) == y).sum() == 0

def test_targeted_reaches_its_target(trained):
    "Towards (y + 1) mod 10 in a large ball, nearly every image is taken for its target."
    m, (x, y) = trained[0]["preact_resnet18"], some(trained, 200)
    target = (y + 1) % 10
    assert (m(pgd(m, x, target, 0.5, 0.05, 30, targeted=True, generator=rng())).argmax(1) == target).double().mean() > 0.9

@both_norms
@pytest.mark.parametrize("restarts", [1, 3])
def test_targeted_with_nothing_left_to_gain(norm, restarts):
    "A loss of exactly 0 towards the target neither crashes nor leaves the ball."
    m, (x, _) = linear(scale=1e4), images()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = m(x).argmax(1)
        assert objective_value(m(x), y).max() == 0
        x_adv = pgd(m, x, y, 0.01, 0.005, norm=norm, targeted=True, restarts=restarts, generator=rng())
    assert (m(x_adv).argmax(1) == y).all() and (distance(x_adv, x, norm) <= 0.01 + 1e-6).all()

@both_norms
@pytest.mark.parametrize("margin", [20, 200, 1e4])
def test_confident_models_are_still_attacked(norm, margin):
    "Where cross-entropy's gradient underflows, the stable one moves every image the whole way; the published one is reported as vanished."
    m, (x, _) = linear(), images(20)
    with torch.no_grad(): m[1].weight *= margin; m[1].bias *= margin
    y = m(x).argmax(1)
    x_adv, info = pgd(m, x, y, 0.5, 0.1, norm=norm, start="clean", generator=rng(), info=True)
    assert info["zero_gradient"] == 0
    lead = lambda z: z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -math.inf).amax(1)
    assert (lead(m(x_adv)) < lead(m(x))).all()
    if margin == 1e4:
        with pytest.warns(UserWarning, match="gradient vanished"):
            _, info = pgd(m, x, y, 0.5, 0.1, norm=norm, gradient="published", start="clean", info=True)
        assert info["zero_gradient"] > 0.5

def test_what_the_published_form_loses_is_reported():
    "Its l2 step divides by the norm plus 1e-10, with either objective."
    m, (x, y) = linear().double(), images(6)
    with torch.no_grad(): m[1].weight *= 1e-13
    for objective in ("ce", "kl"):
        with pytest.warns(UserWarning, match="vanished"):
            pgd(m, x.double(), y, 0.3, norm="l2", objective=objective, gradient="published", start="gaussian")

def test_directions_are_gradients():
    "In float64 the directions in logit space are those of autograd, up to a positive factor per image."
    z, ref = (torch.randn(6, 5, generator=rng(s)).double().requires_grad_() for s in (1, 2))
    y = torch.arange(6) % 5
    unit = lambda t: t / t.norm(dim=1, keepdim=True)
    for value, direction in ((objective_value(z, y), lambda g: ce_direction(z.detach(), y, g)),
                             (objective_value(z, y, ref.detach()), lambda g: kl_direction(z.detach(), ref.detach(), g))):
        true, = torch.autograd.grad(value.sum(), z)
        assert torch.allclose(direction("summed"), true, atol=1e-12)
        assert torch.allclose(unit(direction("stable")), unit(true), atol=1e-9)

class NaNs(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :3] * math.nan

@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_nan_is_refused(norm, restarts):
    "A model that produces NaN gets no clean-looking images back."
    x, _ = images()
    with pytest.raises(ValueError, match="NaN"): pgd(NaNs(), x, torch.zeros(5).long(), 0.1, 0.05, norm=norm, restarts=restarts)

def snapshot(m): return {k: v.clone() for k, v in m.state_dict().items()}

def test_model_is_left_alone(trained):
    "In eval mode: parameters, .grad, requires_grad, batch-norm buffers and the mode of every module are as before, also after an error."
    m, (x, y) = trained[0]["preact_resnet18"], some(trained, 20)
    before, params, modules = snapshot(m), list(m.parameters()), list(m.modules())
    m.zero_grad()
    params[0].grad, params[1].requires_grad = torch.ones_like(params[0]), False
    m.train(); modules[3].eval()
    modes = [k.training for k in modules]
    def same():
        assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
        assert (params[0].grad == 1).all() and all(p.grad is None for p in params[1:])
        assert [p.requires_grad for p in params[:3]] == [True, False, True] and [k.training for k in modules] == modes
    try:
        pgd(m, x, y, 0.1, 0.05, 2, restarts=2); same()
        pgd(m, x, None, 0.1, 0.05, 2, objective="kl"); same()
        with pytest.raises(ValueError, match="expected images"): pgd(m, x[:, :, :4], y, 0.1, 0.05, 2)
        same()
        assert torch.is_grad_enabled()
    finally: m.eval(); params[0].grad = None; params[1].requires_grad = True

def test_a_callable_sees_the_steps_and_nothing_else(trained):
    "No batch beside the attack's own: a module in train mode behind a callable counts them. The KL objective knows no labels."
    m, (x, y) = trained[0]["vgg11"], some(trained, 20)
    seen = []
    def net(x): seen.append(len(x)); return m(x)
    pgd(net, x, y, 0.1, steps=3, generator=rng())
    assert seen == [20] * 3
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.9"): pgd(net, x, y + 5, 0.1)
    pgd(net, x, y + 5, 0.1, objective="kl", generator=rng())

@pytest.mark.parametrize("objective", ["ce", "kl"])
def test_an_outer_autocast_is_not_used(trained, objective):
    "Inside Lightning's bf16-mixed the attack is the one outside it, restarts ranked by float32, too."
    m, (x, y) = trained[0]["vgg11"], some(trained, 20)
    call = lambda: pgd(m, x, y, 0.1, steps=2, restarts=2, objective=objective, generator=rng())
    with torch.autocast("cpu", torch.bfloat16): inside = call()
    assert torch.equal(inside, call())

def test_the_first_kl_step_is_in_float32():
    "Where clean and perturbed predictions are still alike bfloat16 would only see its own rounding; the reference is in float32, too."
    types, layer = [], torch.nn.Linear(12, 3)
    def model(x): types.append((z := layer(x.flatten(1))).dtype); return z
    x, y = torch.rand(2, 3, 2, 2), torch.tensor([0, 1])
    pgd(model, x, y, 0.1, steps=3, objective="kl", dtype=torch.bfloat16)
    assert types == [torch.float] * 2 + [torch.bfloat16] * 2
    types.clear(); pgd(model, x, y, 0.1, steps=3, dtype=torch.bfloat16)
    assert types == [torch.bfloat16] * 3

def test_train_mode_updates_batch_norm(trained):
    "With bn='train' the attack is one batch per step to the running statistics, and the mode comes back."
    import copy
    m, (x, y) = copy.deepcopy(trained[0]["vgg11"]), some(trained, 20)
    before = snapshot(m)
    pgd(m, x, y, 0.1, 0.05, 3, bn="train", generator=rng())
    after = m.state_dict()
    counts = [int(after[k] - before[k]) for k in before if k.endswith("num_batches_tracked")]
    assert counts == [3] * 8 and not m.training
    assert all(not torch.equal(after[k], before[k]) for k in before if k.endswith("running_mean"))
    assert all(torch.equal(after[k], before[k]) for k in before if k.endswith(("weight", "bias")))

def test_in_train_mode_the_loss_itself_is_climbed(trained):
    "Where batch norm mixes the images each must keep its share of the gradient: unless asked otherwise, that of the summed loss."
    import copy
    m, (x, y) = copy.deepcopy(trained[0]["vgg11"]).double(), some(trained, 20)
    x = (0.1 + 0.8 * x.double()).requires_grad_()
    with torch.no_grad(): last_layer(m).weight.mul_(4)                                  # large margins: the shares differ
    g, = torch.autograd.grad(F.cross_entropy(m.train()(x), y), x)
    with warnings.catch_warnings(action="ignore"):                                      # of vanishing gradients
        one = lambda **how: pgd(m, x.detach(), y, 0.1, 0.05, 1, start="clean", bn="train", **how) - x.detach()
        assert torch.allclose(one(), 0.05 * g.sign(), atol=1e-12) and torch.equal(one(), one(gradient="summed"))
        assert not torch.allclose(one(gradient="stable"), 0.05 * g.sign())

def test_only_what_can_be_folded_is_folded():
    "A Sequential of three that begins otherwise, or whose batch norm has no statistics, is attacked as it is."
    conv, bn = lambda: nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d
    blocks = [nn.Sequential(nn.ReLU(), bn(3), conv()), nn.Sequential(nn.ConvTranspose2d(3, 3, 3, padding=1), bn(3), nn.ReLU()),
              nn.Sequential(conv(), bn(3, track_running_stats=False), nn.ReLU()),
              nn.Sequential(nn.utils.parametrizations.weight_norm(conv()), bn(3), nn.ReLU()), nn.Sequential(conv(), bn(3), nn.ReLU())]
    x = torch.randn(8, 3, 6, 6)
    for i, block in enumerate(blocks):
        m = nn.Sequential(block, nn.Flatten())
        for _ in range(3): m(x)                                      # running statistics of its own
        copied = folded(m)
        assert torch.allclose(m.eval()(x), copied(x), atol=1e-5) and isinstance(copied[0][1], nn.Identity) == (i == 4)
    for norm in (nn.GroupNorm(1, 4), bn(4, track_running_stats=False)):                                # in a block of a PreActResNet
        block = PreActBlock(3, 4); block.bn2 = norm
        assert torch.allclose(block.eval()(x), folded(block)(x), atol=1e-5)

class Residual(nn.Sequential):
    "Convolution, batch norm and a third module, not called one after the other."
    def forward(self, x): return F.relu(self[1](self[0](x) + x)) + self[2](x)

@pytest.mark.parametrize("block, itself", [(Residual, True), (nn.Sequential, False)])
def test_a_network_that_calls_its_parts_otherwise_is_attacked_itself(block, itself):
    "Folding would change it; one that keeps what it computed can be copied all the same."
    x, y = torch.rand(16, 3, 8, 8), torch.arange(16) % 4
    m = nn.Sequential(block(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()), nn.Flatten(), nn.Linear(192, 4))
    m[0].register_forward_hook(lambda module, given, out: setattr(module, "kept", out))
    m(5 * x)
    assert (measure._stand_in(m.eval(), x[:8]) is m) == itself
    c = configure("st", "vgg11", "smoke")
    found, same = attack(m, x, y, c)[0], pgd(m, x, y, c.eps, c.step_size, c.steps, generator=generator("cpu", c.seed, "evaluation"))
    assert torch.allclose(found, same, atol=1e-4)

def test_folding_batch_norm_changes_nothing(trained):
    "The folded copy that evaluation attacks gives the network's logits, and is no part of it."
    x, _ = some(trained, 50)
    for m in trained[0].values():
        before = snapshot(m)
        assert torch.allclose(folded(m)(x), m(x), atol=1e-3)
        assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())

@both_norms
def test_chunks_do_not_change_the_attack(monkeypatch, trained, norm):
    "However many images a network gets at once, a split meets the same attack: from the same random starts under linf, others under l2."
    nets, data = trained
    x, y, c = pixels(data.test.x[:96]), data.test.y[:96], configure("st", "vgg11", "smoke", norm=norm)
    found = {}
    for n in (96, 40):
        monkeypatch.setattr(measure, "at_once", lambda _: n)
        found[n] = attack(nets["vgg11"], x, y, c)[0]
        assert torch.allclose(measure.score(nets["vgg11"], x)[0], nets["vgg11"](x), atol=1e-4)
    same = (distance(found[96], found[40], norm) < 1e-3 * c.eps).double().mean()
    assert same > 0.95 if norm == "linf" else same < 0.5                  # a sign at a gradient of nearly 0 may turn
    loss = {n: F.cross_entropy(nets["vgg11"](p), y).item() for n, p in found.items()}
    assert loss[40] == pytest.approx(loss[96], rel=0.05)                         # as far as two draws differ
    assert at_once(torch.zeros(1, 3, 32, 32)) < at_once(x) == at_once(torch.zeros(1, 3, 32, 32, device="meta"))

@pytest.mark.parametrize("gigabytes, images", [(8, 512), (32, 512), (80, 2048)])
def test_a_large_gpu_takes_larger_chunks(monkeypatch, gigabytes, images):
    "How many images are attacked at once goes by the memory of the GPU."
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=gigabytes * 2**30))
    assert at_once(SimpleNamespace(is_cuda=True, device=torch.device("cuda"))) == images

@pytest.mark.parametrize("arch", ["preact_resnet18", "vgg11"])
def test_nearest_centres_as_a_network(trained, arch):
    "Its decisions are the metric's, the folded copy's too; an attack on it finds what one on the network misses."
    m, data = trained[0][arch], trained[1]
    x, y, gaps = pixels(data.test.x), data.test.y, []
    found, centres = layer_metrics(m, View(x, y))
    before, c = snapshot(m), configure("st", arch, "smoke", eps=0.1)
    fooled = attack(m, x, y, c)[0]
    for layer, s in centres.items():
        net = NearestCentre(m, layer, s)
        assert accuracy(net, x, y) == accuracy(folded(net), x, y) == pytest.approx(found[layer]["ncc_accuracy"])
        own = accuracy(net, attack(net, x, y, c)[0], y)
        gaps.append(accuracy(net, fooled, y) - own)
        assert gaps[-1] >= -0.05 and own < accuracy(net, x, y), layer        # late: as strong, up to the draw (0.043 seen)
    assert gaps[0] > 0.1 and sum(gaps) / len(gaps) > 0.05
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    assert all(p.requires_grad for p in m.parameters())
    with pytest.raises(ValueError, match="9 of 10"):
        NearestCentre(m, "features", layer_metrics(m, View(x[y > 0], y[y > 0]))[1]["features"])

@pytest.mark.parametrize("objective, bn", [("ce", "train"), ("ce", "eval"), ("kl", "eval")])
def test_weights_rounded_once_are_rounded_the_same(monkeypatch, trained, objective, bn):
    "A bfloat16 attack that rounds the weights once gives the images of one that lets autocast round them at every call, bit for bit."
    from contextlib import nullcontext
    x, y = some(trained, 30)
    for m in trained[0].values():
        before, call = snapshot(m), lambda: pgd(m, x, y, 0.1, 0.03, 4, objective=objective, bn=bn, generator=rng(), dtype=torch.bfloat16)
        found = call()
        assert all(v.dtype == before[k].dtype for k, v in m.state_dict().items()); m.load_state_dict(before)
        with monkeypatch.context() as patch:
            patch.setattr("nc_robust.attacks.cast_once", lambda *_: nullcontext())
            assert torch.equal(found, call())
        m.load_state_dict(before)

def test_a_network_is_whole_after_an_attack_that_failed_at_its_weights(trained, monkeypatch):
    "Want of memory half way through rounding them leaves none in bfloat16, and none frozen."
    m, (x, y), to = trained[0]["vgg11"], some(trained, 4), torch.Tensor.to
    before, left = snapshot(m), [1, 1, 1]                             # three weights are rounded, the fourth is not
    def out_of_memory(t, *how, **k):
        if how == (torch.bfloat16,) and not left: raise torch.OutOfMemoryError("no memory")
        if how == (torch.bfloat16,): left.pop()
        return to(t, *how, **k)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError): pgd(m, x, y, 0.1, 0.03, 1, dtype=torch.bfloat16, check=False)
    assert not left and all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in m.state_dict().items())
    assert all(p.requires_grad for p in m.parameters())

def test_a_pruned_network_in_bfloat16(trained):
    "Its pruned weights are computed, not parameters; they are left to autocast, and the images are those of the same weights for good."
    import copy
    from torch.nn.utils import prune
    m, (x, y) = copy.deepcopy(trained[0]["vgg11"]), some(trained, 4)
    prune.l1_unstructured(conv := next(c for c in m.modules() if isinstance(c, nn.Conv2d)), "weight", 0.3)
    attack = lambda: pgd(m, x, y, 0.1, 0.03, 2, dtype=torch.bfloat16, generator=rng())
    found = attack(); prune.remove(conv, "weight")
    assert torch.equal(found, attack()) and (found - x).abs().amax() > 0.05

def test_a_bfloat16_attack_leaves_hooks_on_gradients(trained):
    "After it, what hangs on a weight's gradient (DistributedDataParallel does) is called in the next backward pass."
    m, (x, y), called = trained[0]["vgg11"], some(trained, 8), []
    w = next(c.weight for c in m.modules() if isinstance(c, nn.Conv2d))
    node = w.expand_as(w).grad_fn.next_functions[0][0]
    hook = node.register_hook(lambda *_: called.append(True))
    pgd(m, x, y, 0.1, 0.03, 1, dtype=torch.bfloat16)
    m(x).sum().backward(); m.zero_grad(); hook.remove()
    assert called

def test_a_bfloat16_attack_on_a_module_that_leaves_autocast():
    "A module that computes a part of itself in float32 is attacked as it is."
    class Careful(nn.Module):
        def __init__(self): super().__init__(); self.conv = nn.Conv2d(1, 4, 4)
        def forward(self, x):
            with torch.autocast("cpu", enabled=False): return self.conv(x.float()).flatten(1)
    x, y = images()
    found = pgd(Careful(), x, y, 0.1, 0.03, 2, dtype=torch.bfloat16)
    assert distance(found, x, "linf").max() <= 0.1 + 1e-6

@both_norms
def test_gaussian_noise(norm):
    "In the box, the size asked for (eps per pixel under linf, at most eps in length under l2), x itself at eps = 0."
    x = torch.full((50, 1, 8, 8), 0.5)
    noisy = gaussian(x, 0.05, norm, rng())
    assert 0 <= noisy.min() and noisy.max() <= 1 and torch.equal(gaussian(x, 0.0, norm), x)
    if norm == "linf": assert (noisy - x).std().item() == pytest.approx(0.05, rel=0.05)
    else: assert distance(noisy, x, "l2").max() <= 0.05 + 1e-6 and distance(noisy, x, "l2").min() > 0.04

def test_linf_starts_anywhere_in_the_ball():
    "The random start of each pixel is uniform in [-eps, eps]."
    delta = random_perturb(torch.full((2000, 1, 2, 2), 0.5), 0.1, "linf", rng()) - 0.5
    assert delta.abs().max().item() == pytest.approx(0.1, rel=0.01) and delta.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)

def test_l2_starts_at_every_distance():
    "The length of the random start is uniform in [0, eps], as in the paper's code, not that of a point uniform in the ball."
    x = torch.full((2000, 1, 2, 2), 0.5)
    r = (random_perturb(x, 0.1, "l2", rng()) - x).flatten(1).norm(dim=1)
    assert r.mean().item() == pytest.approx(0.05, rel=0.05) and r.std().item() == pytest.approx(0.1 / 12**0.5, rel=0.05)

@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16, torch.half])
def test_probabilities_are_noticed_in_every_precision(dtype):
    (x, y), m = images(50), linear()
    with pytest.warns(UserWarning, match="gives probabilities"): pgd(lambda x: m(x).softmax(1).to(dtype), x, y, 0.1)

def test_restarts_with_classes_that_are_ruled_out():
    "A logit of minus infinity is as one of minus a billion: it has no part in the KL."
    (x, _), m = images(50), linear()
    def found(out, restarts):
        model = lambda x: torch.cat([m(x)[:, :3], torch.full((len(x), 1), out)], 1)
        return pgd(model, x, None, 0.3, steps=1, objective="kl", restarts=restarts, generator=rng())
    assert objective_value(torch.rand(2, 3), None, torch.tensor([[math.nan, 1, 2], [-math.inf, 1, 2]])).isnan().tolist() == [True, False]
    assert torch.equal(found(-1e9, 5), found(-math.inf, 5)) and not torch.equal(found(-math.inf, 5), found(-math.inf, 1))

def test_a_model_cut_off_from_its_input_is_said():
    (x, y), m = images(), linear()
    with pytest.raises(ValueError, match="do not depend on x"): pgd(lambda x: m(x.detach()), x, y, 0.1)

def test_distances_to_centres_are_never_rounded_to_bfloat16(trained):
    "An attack in bfloat16 runs the network so, not the distances."
    m, x = trained[0]["vgg11"], pixels(trained[1].test.x)
    with torch.autocast("cpu", torch.bfloat16):
        centres = layer_metrics(m, View(x, trained[1].test.y))[1]["features"]
        net = NearestCentre(m, "features", centres)
        d, h = net(x), representations(m, x)[1]["features"].float()
    z = (h - centres.center.float()) @ centres.basis.float().T
    assert d.dtype == torch.float and torch.allclose(d, -(z[:, None] - centres.vertices.float()).square().sum(2), rtol=1e-6)

def test_directions_are_taken_in_float32():
    seen = []
    input_gradient(lambda x: x.flatten(1).bfloat16(), torch.rand(2, 1, 2, 2), lambda z: seen.append(z.dtype) or z)
    assert seen == [torch.float]

def test_a_target_that_is_hit_comes_first():
    "Between restarts: before one that misses with a smaller loss."
    p = torch.tensor([[0.4, 0.3, 0.3], [0.45, 0.549, 0.001]])
    assert objective_value(p.log(), torch.zeros(2).long(), targeted=True).argmax() == 0

@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_nan_at_any_step_is_kept(bad):
    watch = _Watch(torch.zeros(2, 2)); watch(torch.full((2, 2), bad)); watch(torch.ones(2, 2))
    with pytest.raises(ValueError, match="for 2 of 2 images"): _report(watch)

def test_what_counts_as_vanished():
    "One image in twenty is said; no steps are no share; only the published l2 form has a floor; KL of a double model is exact."
    share, (x, y) = lambda *a, **k: pgd(*a, check=False, info=True, **k)[1]["zero_gradient"], images(20)
    assert share(linear(), x, y, 0.1, steps=0) == 0
    m = linear().double()
    assert share(m, x.double(), None, 0.3, steps=1, objective="kl", start="clean") == 1
    with torch.no_grad(): m[1].weight *= 1e-13
    assert share(m, x.double(), y, 0.3, gradient="published") == 0
    x[0, ..., -1, -1], x[1:, ..., -1, -1], m = 0, 1, linear()
    with pytest.warns(UserWarning, match="vanished for 5%"): pgd(lambda x: m(x) * (x[:, 0, -1, -1:] > 0.5), x, y, 0.1)

def test_parameters_are_frozen_meanwhile():
    "Gradients with respect to them would cost a third of the attack."
    (x, y), m, seen = images(), linear(), []
    m.register_forward_hook(lambda *_: seen.append(m[1].weight.requires_grad))
    pgd(m, x, y, 0.1, steps=1)
    assert seen == [False]
