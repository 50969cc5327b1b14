"What goes into the tables is what the pages define, computed here from the formulas alone."
import copy, math
from dataclasses import replace
import pytest, torch, torch.nn as nn, torch.nn.functional as F, torchvision
from nc_robust import layers, measure as measuring, models, runs
from nc_robust.config import ARCHS, Config, configure
from nc_robust.data import load, pixels
from nc_robust.layers import NearestCentre, accuracy, layer_metrics, measure_adaptive, measure_layers
from nc_robust.measure import View, at_once, attack, frame, make_view, measure, measure_predicted, measure_radii, score
from nc_robust.metrics import angular_distance, class_means, equiangular, neural_collapse, simplex_similarity
from nc_robust.models import folded, representations, vgg11
from nc_robust.runs import Run, history
from nc_robust.train import learning_rate, start, train_epoch

def by_hand(arch, net, x):
    "Logits of a network in eval mode, written out with its own weights."
    s = net.state_dict()
    conv = lambda x, k, stride=1, pad=1: torch.nn.functional.conv2d(x, s[f"{k}.weight"], s.get(f"{k}.bias"), stride, pad)
    def bn(x, k):
        mean, var, w, b = (s[f"{k}.{n}"].view(1, -1, 1, 1) for n in ("running_mean", "running_var", "weight", "bias"))
        return (w * (x - mean) / (var + 1e-5).sqrt() + b).clamp_min(0)
    x = (x - net.mean) / net.std
    if arch == "vgg11":
        for i in range(8):
            x = bn(conv(x, f"blocks.{i}.0"), f"blocks.{i}.1")
            if i in (0, 1, 3, 5): x = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
    else:
        x = conv(x, "conv1")
        for k, stride in zip([f"stages.{i}.{j}" for i in range(4) for j in range(2)], (1, 1, 2, 1, 2, 1, 2, 1)):
            a = bn(x, f"{k}.bn1")
            skip = conv(a, f"{k}.shortcut", stride, 0) if f"{k}.shortcut.weight" in s else x
            x = conv(bn(conv(a, f"{k}.conv1", stride), f"{k}.bn2"), f"{k}.conv2") + skip
        x = bn(x, "bn")
    return x.mean((2, 3)) @ s["linear.weight"].T + s["linear.bias"]

@pytest.mark.parametrize("arch", ARCHS)
def test_networks_are_what_they_are_called(trained, arch):
    "Normalisation, convolutions, shortcuts and pools of a trained network, in float64."
    net, x = copy.deepcopy(trained[0][arch]).double(), pixels(trained[1].test.x[:16]).double()
    assert torch.allclose(net(x), by_hand(arch, net, x), rtol=1e-9, atol=1e-9)

@pytest.fixture
def net(trained): return trained[0]["vgg11"], load("digits", 20), configure("st", "vgg11", "smoke")

def value(rows, **where): return next(r["value"] for r in rows if all(r[k] == v for k, v in where.items()))

def layer(model, x, name, pool=None): return representations(model, x, [name], pool)[1][name].detach()

def test_centres_come_from_clean_training_images(net):
    "Of every view and of both splits, by epoch and by layer."
    m, d, c = net
    by_epoch, by_layer = measure(m, d, c, 1)[0], measure_layers(m, d, c)
    for name in ("block3", "features"):
        mu = class_means(layer(m, pixels(d.train.x), name), d.train.y, 10)
        for split in ("train", "test"):
            s = getattr(d, split)
            for view in ("clean", "perturbed"):
                x = pixels(s.x) if view == "clean" else attack(m, pixels(s.x), s.y, c)[0]
                want = (torch.cdist(layer(m, x, name).double(), mu).argmin(1) == s.y).double().mean().item()
                for rows in (by_layer, by_epoch)[:1 + (name == "features")]:
                    assert value(rows, split=split, view=view, layer=name, metric="ncc_accuracy") == pytest.approx(want, abs=2e-3)

def test_kl_and_classifier(net):
    "KL(clean || view), mean per image; NC2 of the classifier's rows around their mean."
    m, d, c = net
    x, y = pixels(d.train.x), d.train.y
    p, q = (score(m, t)[0].double().softmax(1) for t in (x, attack(m, x, y, c)[0]))
    rows = measure(m, d, c, 1)[0]
    assert value(rows, split="train", view="perturbed", metric="kl") == pytest.approx((p * (p / q).log()).sum(1).mean().item(), rel=1e-3)
    W = m.linear.weight.detach().double()
    assert value(rows, view="weights", metric="equiangular") == pytest.approx(equiangular(W - W.mean(0)), rel=1e-6)

def test_predicted_means_are_centred(net):
    "At the mean of all points of the view."
    m, d, c = net
    v = make_view("predicted", m, pixels(d.train.x), d.train.y, c, 10)
    g, k = score(m, v.x)[1].double(), int(v.y.mode().values)
    h, table = score(m, pixels(d.train.x))[1].double(), measure_predicted(m, d, c)
    nu, mu = g[v.y == k].mean(0) - g.mean(0), h[d.train.y == k].mean(0) - h.mean(0)
    for metric, expected in dict(count=(v.y == k).sum(), predicted_norm=nu.norm(), clean_norm=mu.norm(),
                                 angle=(mu @ nu / mu.norm() / nu.norm()).acos()).items():
        assert value(table, layer=f"class {k}", metric=metric) == pytest.approx(expected.item(), rel=1e-5), metric

def test_views_are_what_they_are_called(net):
    "Noise has the size of the attack, the targeted view is nearer to its targets than an untargeted one, another radius scales the step."
    m, d, c = net
    x, y = pixels(d.train.x), d.train.y
    noise = make_view("gaussian", m, x, y, replace(c, eps=0.01), 10).x - x
    assert noise[(x > 0.1) & (x < 0.9)].std().item() == pytest.approx(0.01, rel=0.05)
    target = (y + 1) % 10
    hits = [(score(m, make_view(v, m, x, y, c, 10).x)[0].argmax(1) == target).double().mean() for v in ("targeted", "perturbed")]
    assert hits[0] > hits[1] + 0.05
    quarter = attack(m, x, y, replace(c, eps=c.eps / 4, step_size=c.step_size / 4))[0]
    assert torch.allclose(attack(m, x, y, c, eps=c.eps / 4)[0], quarter, atol=1e-6)

def test_vanished_gradients_stand_in_the_table(net):
    "Of a fresh attack the share of images and steps; of training's own perturbations nothing."
    m, d, c = copy.deepcopy(net[0]), net[1], net[2]
    share = lambda **how: [r["value"] for r in measure(m, d, c, 1, **how)[0] if r["metric"] == "zero_gradient" and r["split"] == "train"]
    with torch.no_grad(): m.linear.weight.zero_()
    with pytest.warns(UserWarning, match="vanished"): assert share() == [1.0] * 2      # perturbed and targeted
    m = net[0]
    assert max(share()) < 0.01
    assert len(share(crafted=pixels(d.train.x))) == 1

def test_layers_pooled_and_adaptive(net, monkeypatch):
    "Averaged to 4x4 pixels; the attack on a layer's own centres is not that on the network."
    m, d, c = net
    h = layer(m, pixels(d.train.x), "block1", 4)
    assert h.shape[1] == 16 * m.blocks[0][0].out_channels
    pooled = measure_layers(m, d, c, pool=4)
    assert value(pooled, split="train", view="clean", metric="nc1", layer=next(r["layer"] for r in pooled)) == pytest.approx(
        neural_collapse(h, d.train.y)["nc1"], rel=1e-3)
    monkeypatch.setattr(layers, "ADAPTIVE_IMAGES", 200)
    own = measure_adaptive(m, d, replace(c, eps=0.05, step_size=0.0125))
    kept = lambda view: [value(own, split="train", view=view, layer=f"block{k}", metric="ncc_accuracy") for k in range(1, 7)]
    assert sum(kept("adaptive")) < sum(kept("perturbed"))

def test_the_published_schedule(net):
    "A tenth of the rate from the batch on that completes a quarter of the training; weight decay and momentum of the paper."
    c = Config()
    at = [learning_rate(c, e, i, 391) for e, i in ((99, 389), (99, 390), (149, 389), (149, 390))]
    assert at == pytest.approx([0.1, 0.01, 0.01, 0.001])
    group, = start(replace(c, width=8), net[1])[1].param_groups
    assert (group["weight_decay"], group["momentum"]) == (5e-4, 0.9)
    group, = start(replace(c, width=8, momentum=0.3, weight_decay=0.01), net[1])[1].param_groups
    assert (group["weight_decay"], group["momentum"]) == (0.01, 0.3)

def test_perturbations_are_kept_beside_their_images(net):
    "In the order of the data, whatever the order of training."
    d, c = net[1], configure("at", "vgg11", "smoke", batch_size=32, eps=0.05)
    kept = train_epoch(*start(c, d), d, c, 0, keep=True)[1]
    assert (kept - pixels(d.train.x)).abs().max() <= c.eps + 1e-6

def test_when_a_run_is_measured():
    "After the first epoch, after every `measure_every`, and at the end."
    t = runs.history(runs.Run(configure("st", "vgg11", "smoke", epochs=5, measure_every=2)), progress=False)
    assert sorted(t[t.metric == "nc1"].epoch.unique()) == [1, 2, 4, 5]

def own_network():
    "A network from elsewhere, its layers named; an in-place ReLU follows `bn1`."
    net = torchvision.models.resnet18(num_classes=3).eval()
    torch.nn.init.normal_(net.bn1.bias)
    net.layers = dict(bn1=net.bn1, layer1=net.layer1, features=net.fc)
    return net

def test_layers_of_a_network_of_ones_own():
    "Every layer is measured as it left its module, in any memory layout, whatever overwrites it afterwards."
    net, x, y = own_network(), torch.rand(24, 3, 16, 16), torch.arange(24) % 3
    with torch.no_grad(): plain = neural_collapse(net.bn1(net.conv1(x)).flatten(1), y)
    for layout in (torch.contiguous_format, torch.channels_last):
        found, centres = layer_metrics(net, View(x.contiguous(memory_format=layout), y.int()))
        assert found["bn1"]["nc1"] == pytest.approx(plain["nc1"], rel=1e-4) and list(found) == list(centres) == list(net.layers)
    assert 0 <= found["features"]["nc4"] <= 1 and math.isfinite(found["features"]["nc3"])
    with torch.autocast("cpu", torch.bfloat16): assert layer_metrics(net, View(x.contiguous(memory_format=layout), y))[0] == found

@pytest.mark.parametrize("change, y, says", [
    (lambda n: delattr(n, "layers"), None, "ResNet names no layers; give it"),
    (lambda n: n.layers.pop("features"), None, "must be its last layer, the nn.Linear"),
    (lambda n: n.layers.update(features=n.avgpool), None, "must be its last layer, the nn.Linear"),
    (lambda n: setattr(n, "fc", torch.nn.Sequential(n.fc, torch.nn.Softplus())), None, "are not what its last layer"),
    (lambda n: n.register_forward_hook(lambda m, given, out: (out,)), None, r"lambda x: model\(x\)\[0\], or a module around it that has"),
    (lambda n: n.layers.update(relu=n.layer1[0].relu), None, "layer 'relu' runs more than once"),
    (lambda n: n.layers.update(other=torch.nn.ReLU()), None, "layer 'other' does not run"),
    (lambda n: n.layer1.register_forward_hook(lambda m, given, out: (out, out)), None, "layer 'layer1' gives a tuple"),
    (lambda n: None, torch.rand(6), r"got float32 \(6,\)"), (lambda n: None, torch.arange(6), r"lie in 0..2, got 0..5")])
def test_layers_say_what_is_wrong(change, y, says):
    "Not a raw error of PyTorch's, nor a number of something else."
    change(net := own_network())
    view = View(torch.rand(6, 3, 32, 32), torch.arange(6) % 3 if y is None else y)
    with pytest.raises(ValueError, match=says): layer_metrics(net, view)

def test_a_layer_that_moves_between_the_passes_is_refused():
    "An early one, too, that draws in eval mode."
    net = own_network()
    net.aside = torch.nn.Identity()                              # beside the way to the last layer
    net.aside.register_forward_hook(lambda m, given, out: out + 0.1 * torch.randn_like(out))
    net.layer1.register_forward_hook(lambda m, given, out: [net.aside(out)] and None)
    net.layers = dict(aside=net.aside, **net.layers)
    with pytest.raises(ValueError, match="the points moved between the two passes"):
        layer_metrics(net, View(torch.rand(6, 3, 32, 32), torch.arange(6) % 3))

def test_features_are_checked_in_every_batch(monkeypatch):
    "A network that changes its way between two batches is refused."
    for module in (measuring, layers): monkeypatch.setattr(module, "at_once", lambda x: 3)
    net, seen = own_network(), []
    net.fc.register_forward_hook(lambda m, given, out: seen.append(0) or (out + 1 if len(seen) == 3 else out))        # the second batch
    with pytest.raises(ValueError, match="are not what its last layer"):
        layer_metrics(net, View(torch.rand(6, 3, 32, 32), torch.arange(6) % 3))

@pytest.mark.parametrize("given, says", [
    (lambda v: (v.x, v.y), "view must be a View"), (lambda v: View(v.x.numpy(), v.y), "x must be a float tensor"),
    (lambda v: View(v.x[:0], v.y[:0]), "at least one image")])
def test_a_view_is_looked_at_first(given, says):
    "So are the references."
    view = View(torch.rand(6, 3, 32, 32), torch.arange(6) % 3)
    with pytest.raises(ValueError, match=says): layer_metrics(own_network(), given(view))
    with pytest.raises(ValueError, match="unknown layer of references 'features'"):
        layer_metrics(own_network(), view, references=dict(bn1=None, layer1=None))
    with pytest.raises(ValueError, match="must return logits"): accuracy(lambda x: [x], view.x, view.y)

def test_an_attack_on_a_layer_sees_that_layer():
    "Folding batch norm into the convolution before it, in blocks of a class of their own, too, leaves a named convolution as it was."
    net, x = torchvision.models.mobilenet_v2(num_classes=3).eval(), torch.rand(6, 3, 32, 32)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.running_mean.normal_(); m.running_var.uniform_(1, 2)
    net.layers = dict(conv=next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d)))
    seen = lambda m: representations(m, x, m.layers)[1]["conv"].detach()
    assert torch.allclose(seen(folded(net)), seen(net), atol=1e-5)
    assert torch.allclose(folded(net)(x), net(x), atol=1e-4)

def test_accuracy_counts_one_label_an_image(trained):
    "A column of labels would be compared with every image."
    net, x = trained[0]["vgg11"], torch.rand(8, 1, 8, 8)
    y = net(x).argmax(1)
    assert accuracy(net, x, y) == 1
    with pytest.raises(ValueError, match=r"squeeze\(1\)"): accuracy(net, x, y[:, None])

def test_a_targeted_view_by_hand(net):
    "Accuracy and loss are of the true labels, success and the geometry of the targets, the KL divergence from clean images."
    m, d, c = net
    x, y = pixels(d.train.x), d.train.y; g = (y + 1) % 10
    z, h = score(m, make_view("targeted", m, x, y, c, 10).x); clean, r = score(m, x); p = clean.double().log_softmax(1)
    share = lambda t: (z.argmax(1) == t).double().mean().item()
    mu, nu = class_means(h, g, 10), class_means(r, y, 10)
    rows, picture = measure(m, d, c, 1)
    for metric, expected in dict(accuracy=share(y), success=share(g), loss=F.cross_entropy(z.double(), y).item(),
                                 simplex_similarity=simplex_similarity(mu, nu), angular_distance=angular_distance(mu, nu),
                                 kl=(p.exp() * (p - z.double().log_softmax(1))).sum(1).mean().item()).items():
        assert value(rows, split="train", view="targeted", metric=metric) == pytest.approx(expected, rel=1e-4), metric
    assert torch.allclose(picture["targeted_means"], frame(nu[:4])(class_means(h, y, 10)[:4]), atol=1e-4)

def test_other_views_by_hand(net):
    "Predicted classes are of the attacked images, l2 noise has its length, radii refer to clean means, the bias counts."
    m, d, c = net
    x, y = pixels(d.train.x), d.train.y
    v = make_view("predicted", m, x, y, c, 10)
    assert torch.equal(v.y, score(m, v.x)[0].argmax(1))
    noise = make_view("gaussian", m, x, y, replace(c, norm="l2", eps=0.5), 10).x - x
    assert noise.flatten(1).norm(dim=1).max() <= 0.5 + 1e-6
    mu, nu = (class_means(score(m, t)[1], y, 10) for t in (x, attack(m, x, y, c)[0]))
    assert value(measure_radii(m, d, c, [c.eps]), metric="simplex_similarity") == pytest.approx(simplex_similarity(nu, mu), rel=1e-4)
    with pytest.raises(ValueError, match="no step size to scale"): attack(m, x[:4], y[:4], replace(c, eps=0), eps=0.1)
    m = copy.deepcopy(m)
    with torch.no_grad(): m.linear.bias[0] = 100
    assert value(measure(m, d, c, 1)[0], split="train", view="clean", metric="nc4") > 0.8

def test_small_images_go_in_larger_chunks():
    assert at_once(torch.zeros(1, 3, 16, 16)) == 512 and at_once(torch.zeros(1, 3, 16, 17)) == 128

def test_share_of_zero_gradients_over_chunks(monkeypatch):
    "Of four images in chunks of three and one it is a mean over images."
    x, y = torch.ones(4, 1, 2, 2), torch.zeros(4).long(); x[3] = 0
    gate = nn.Module(); gate.forward = lambda x: x.flatten(1)[:, :3] * (x.flatten(1)[:, -1:] > 0.5)
    monkeypatch.setattr(measuring, "at_once", lambda x: 3)
    with pytest.warns(UserWarning, match="vanished for 100%"): share = attack(gate, x, y, configure("st", "vgg11", "smoke", eps=0.1))[1]
    assert share == pytest.approx(0.25)

def test_the_last_layer_makes_the_logits():
    "Five percent off is noticed; how it is called is its own business."
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 3); self.layers = dict(features=self.linear)
        def forward(self, x): return 1.05 * self.linear(x.flatten(1))
    with pytest.raises(ValueError, match="are not what its last layer"): score(Scaled(), torch.rand(4, 1, 4, 4))
    Scaled.forward = lambda self, x: self.linear(input=x.flatten(1))
    assert score(Scaled(), x := torch.rand(4, 1, 4, 4))[1].equal(x.flatten(1))

def test_adaptive_by_hand(net, monkeypatch):
    "Centres of training images, the first images of each class, an attack from the clean image, and the network on the same images."
    m, d, c = net[0], net[1], replace(net[2], eps=0.05, step_size=0.0125)
    monkeypatch.setattr(layers, "ADAPTIVE_IMAGES", 100)
    own = NearestCentre(m, "block3", layer_metrics(m, View(pixels(d.train.x), d.train.y))[1]["block3"])
    some = torch.cat([(d.test.y == k).nonzero()[:10, 0] for k in range(10)])
    x, y = pixels(d.test.x[some]), d.test.y[some]
    adv, rows = attack(own, x, y, c)[0], measure_adaptive(m, d, c)
    for view, images in dict(clean=x, adaptive=adv).items():
        for metric, of in dict(ncc_accuracy=own, accuracy=m).items():
            assert value(rows, split="test", view=view, layer="block3", metric=metric) == accuracy(of, images, y), (view, metric)

def test_layers_by_hand(net):
    "The terms of NC1 add up, pooled layers are named, accuracy is that in eval mode, centres give float32 to a double network."
    m, d, c = copy.deepcopy(net[0]), net[1], net[2]
    x, y = pixels(d.test.x), d.test.y
    found, centres = layer_metrics(m, View(x, y))
    h = found["features"]
    assert sum(h[f"nc1_{k}"] for k in range(1, h["nc1_rank"] + 1)) == pytest.approx(h["nc1"])
    assert {r["layer"] for r in measure_layers(m, d, c, pool=4)} == {*(f"block{k} pooled" for k in range(1, 9)), "features"}
    before = accuracy(m, x, y)
    assert accuracy(m.train(), x, y) == before and m.training
    assert NearestCentre(m.eval().double(), "block3", centres["block3"])(x[:4].double()).dtype == torch.float

def test_a_network_as_built():
    "Means for each channel, two classes, the initial weights of the published code, pooling that never enlarges, folding that sees hooks."
    with pytest.raises(ValueError, match="mean has 2 values for 1 channels"): vgg11(3, 1, 8, (0.5, 0.5))
    with pytest.raises(ValueError, match="at least 2"): vgg11(1)
    m = vgg11(10, 3, 16)
    assert m.linear.weight.std().item() == pytest.approx(0.01, rel=0.15)
    for b in m.blocks: assert b[0].weight.std().item() == pytest.approx((2 / b[0].weight[0].numel())**0.5, rel=0.15)
    assert representations(m, torch.rand(2, 3, 32, 32), ["block8"], pool=4)[1]["block8"].shape == (2, 128 * 2 * 2)
    n = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU()), nn.Flatten())
    n[0][0].register_forward_hook(lambda m, given, out: 2 * out)
    x = torch.randn(4, 3, 6, 6)
    for _ in range(3): n(x)
    assert torch.allclose(folded(n)(x), n.eval()(x), atol=1e-5)

def test_a_head_of_ones_own(monkeypatch):
    class Own(models.VGG):
        layers = property(lambda self: {"features": self.head})
        def __init__(self, *args):
            super().__init__(*args)
            self.head = torch.nn.Linear(self.linear.in_features, 10, bias=False); del self.linear
        def forward(self, x): return self.head(self.features(x))
    monkeypatch.setattr(models, "vgg11", Own)
    found = history(Run(configure("st", "vgg11", "smoke", epochs=1)), progress=False)
    assert {"weights", "features"} <= set(found.layer) | set(found["view"]) and found.query("metric == 'nc4'").value.notna().all()

def test_what_names_no_layer_is_said():
    "A name in the place of a module; another module than the last layer."
    net, x = own_network(), torch.rand(2, 3, 32, 32)
    net.layers = dict(features="fc")
    with pytest.raises(ValueError, match="names no layers; .*features=the last nn.Linear"): representations(net, x)
    net.layers = dict(features=net.avgpool)
    with pytest.raises(ValueError, match="must be its last layer"): representations(net, x)

def test_a_last_layer_on_more_than_rows():
    "One position an image is measured as it is, whatever `pool`; a mean over several is no h."
    class Net(torch.nn.Module):
        def __init__(self): super().__init__(); self.fc = torch.nn.Linear(3, 4); self.layers = dict(features=self.fc)
        def forward(self, x): return self.fc(x.movedim(1, -1)).mean((1, 2))
    net, x = Net(), torch.rand(6, 3, 1, 1)
    assert representations(net, x, pool=1)[1]["features"].equal(x.flatten(1))
    with pytest.raises(ValueError, match="are not what its last layer"): score(net, torch.rand(6, 3, 2, 2))

@pytest.mark.parametrize("without, picture", [(2, False), (5, True)])
def test_a_class_without_training_images(net, without, picture):
    "Is measured without it; the picture needs the first four."
    m, d, c = net[0], net[1], Config("st", "vgg11", width=8)
    keep = d.train.y != without
    less = replace(d, train=replace(d.train, x=d.train.x[keep], y=d.train.y[keep]))
    with pytest.warns(UserWarning, match="only 9 of 10"): found = measure(m, less, c, 1)[1]
    assert bool(found) == picture and all(p.shape[1] > 0 for p in found.values())

def test_a_frame_scales_by_the_mean_length():
    "Four means of unequal lengths: those of their pictures have the same mean length as a tetrahedron of vertices of length 1."
    mu = torch.diag(torch.tensor([1.0, 2, 3, 4]))
    assert frame(mu)(mu).norm(dim=1).mean().item() == pytest.approx(1, rel=1e-5)

def test_classes_without_images_count():
    "C is that of the last layer."
    view = View(torch.rand(6, 3, 32, 32), torch.arange(6) % 2)
    with pytest.warns(UserWarning, match="2 of 3"): assert layer_metrics(own_network(), view)[1]["features"].num_classes == 3
