"The metrics against closed forms, the plain pinv formula, and what they must not change under."
import json, math, subprocess, sys, warnings
import pytest, torch
from hypothesis import given, settings, strategies as st
from nc_robust.metrics import *

both_dtypes = pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-10), (torch.float32, 2e-5)])

def etf(C, p, a=1.0):
    "C points of norm `a` in R^p, all pairwise cosines -1/(C-1), turned at random."
    q = torch.linalg.qr(torch.randn(p, C, generator=torch.Generator().manual_seed(0)).double())[0]
    return a * math.sqrt(C / (C - 1)) * (torch.eye(C).double() - 1 / C) @ q.T

def around(means, s, shift=0.0):
    "Points mu_c +- s sqrt(p) e_j: their within-class covariance is exactly s^2 times the identity."
    C, p = means.shape
    steps = s * math.sqrt(p) * torch.cat([torch.eye(p), -torch.eye(p)]).double()
    return (means[:, None] + steps + shift).flatten(0, 1), torch.arange(C).repeat_interleave(2 * p)

def plain_nc1(h, y):
    "Tr(pinv(Sigma_B) Sigma_W) with p x p matrices, as the paper writes it."
    h, classes = h.double(), y.unique()
    mu, mu_G = {c: h[y == c].mean(0) for c in classes.tolist()}, h.mean(0)
    B = sum(torch.outer(m - mu_G, m - mu_G) for m in mu.values()) / len(mu)
    W = sum((h[y == c] - m).T @ (h[y == c] - m) for c, m in mu.items()) / len(h)
    return torch.trace(torch.linalg.pinv(B, rtol=1e-10) @ W).item()

def blobs(seed=0, N=300, p=20, C=6, spread=0.5):
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(C), torch.randint(C, (N - C,), generator=g)])
    return 3 * torch.randn(C, p, generator=g).double()[y] + spread * torch.randn(N, p, generator=g).double() + 1, y

@both_dtypes
def test_perfect_etf_is_zero_everywhere(dtype, tol):
    "Collapsed points on an ETF with W = M: NC1 to NC4 vanish, whatever the global mean, and the centre decides every point."
    M = etf(5, 12, a=2.0)
    h, y = (M + 3).repeat_interleave(4, 0).to(dtype), torch.arange(5).repeat_interleave(4)
    r = neural_collapse(h, y, (7 * M).to(dtype), (-7 * M @ torch.full((12,), 3.0).double()).to(dtype))
    for k in ("nc1", "equinorm", "equinorm_cv", "equiangular", "nc3", "nc3_frobenius"): assert abs(r[k]) < 10 * tol, k
    assert (r["nc1_rank"], r["nc4"], r["ncc_match"], r["ncc_accuracy"]) == (4, 0, 1, 1)
    assert r["nc1_cond"] == pytest.approx(1, abs=10 * tol)

@both_dtypes
@pytest.mark.parametrize("C, p, s, a", [(4, 8, 0.1, 1.0), (10, 16, 1e-4, 2.0), (3, 40, 0.5, 3.0), (10, 9, 0.2, 5.0)])
def test_etf_with_noise(C, p, s, a, dtype, tol):
    "NC1 = s^2 (C-1)^2 / a^2 for isotropic noise of variance s^2 around an ETF of radius a, also at s = 1e-4 and at p = C - 1."
    M = etf(C, max(p, C), a)
    if p < C: M = M @ torch.linalg.svd(M, full_matrices=False)[2][:p].T
    h, y = around(M, s, shift=0.5)
    loose = tol if dtype == torch.float64 else max(tol, 2e-7 / s)        # rounding of the features themselves
    assert neural_collapse(h.to(dtype), y)["nc1"] == pytest.approx((s * (C - 1) / a) ** 2, rel=10 * loose)

@both_dtypes
@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.3, math.pi / 2, math.pi])
def test_rotation_by_a_known_angle(angle, dtype, tol):
    "A simplex turned by `angle` in its plane is `angle` away; shifting both apart changes the non-centred angle only."
    M = torch.tensor([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.double)
    R = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.double)
    turned = (M @ R.T).to(dtype)
    assert simplex_similarity(M.to(dtype), turned) == pytest.approx(angle, abs=10 * tol)
    assert angular_distance(M.to(dtype), turned) == pytest.approx(angle, abs=10 * tol)
    assert simplex_similarity(M.to(dtype), turned + 5) == pytest.approx(angle, abs=100 * tol)
    assert angular_distance(M.to(dtype) + 50, turned + 50) < 0.1

@both_dtypes
def test_twin_means(dtype, tol):
    "Two classes with one mean lose a direction and nothing else: NC1 agrees with the pinv formula instead of exploding."
    M = 2 * etf(5, 10)
    M[4] = M[3]
    h, y = around(M, 0.3, shift=1)
    r = neural_collapse(h.to(dtype), y)
    assert r["nc1_rank"] == 3
    assert r["nc1"] == pytest.approx(plain_nc1(h, y), rel=10 * tol)

@both_dtypes
def test_all_means_equal_is_nan_not_zero(dtype, tol):
    "Without any between-class direction NC1 is undefined."
    h, y = around(torch.ones(3, 8).double(), 0.5)
    r = neural_collapse(h.to(dtype), y, torch.randn(3, 8).to(dtype))
    assert r["nc1_rank"] == 0 and all(math.isnan(r[k]) for k in ("nc1", "nc1_cond", "equinorm_cv", "equiangular", "nc3", "nc3_frobenius"))

@both_dtypes
def test_one_point_per_class_and_constant_features(dtype, tol):
    "One point per class has no spread, so NC1 is 0; the same point everywhere has no geometry, so NC1 is NaN and nothing raises."
    h = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    with pytest.warns(UserWarning, match="one point a class"): r = neural_collapse(h, torch.arange(5))
    assert (r["nc1"], r["nc1_rank"], r["ncc_accuracy"]) == (0, 4, 1)
    r = neural_collapse(torch.ones(6, 4, dtype=dtype), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert r["nc1_rank"] == 0 and math.isnan(r["nc1"]) and r["equinorm"] == 0

@both_dtypes
def test_empty_class_is_left_out(dtype, tol):
    "A class without points changes nothing but the names of the others; the result is that of the remaining classes."
    h, y = blobs(C=4)
    W = torch.randn(5, h.shape[1], generator=torch.Generator().manual_seed(1)).double()
    keep = torch.tensor([0, 1, 3, 4])
    far = torch.tensor([0.0, 0, -1e9, 0, 0]).double()                     # the absent class is never decided for
    with pytest.warns(UserWarning, match="only 4 of 5 classes have points"):
        with_gap = neural_collapse(h.to(dtype), keep[y], W.to(dtype), far.to(dtype))
    without = neural_collapse(h.to(dtype), y, W[keep].to(dtype), torch.zeros(4, dtype=dtype))
    assert with_gap == pytest.approx(without, rel=1e-9)
    assert class_means(h, keep[y], 5).isnan().any(1).tolist() == [False, False, True, False, False]

@both_dtypes
def test_two_unbalanced_classes(dtype, tol):
    "C = 2 with 30 and 10 points a distance d apart: mu_G is weighted by counts, so norms are d/4 and 3d/4."
    d, s, p = 4.0, 0.5, 5
    mu = torch.zeros(2, p).double(); mu[1, 0] = d
    h, y = around(mu, s)
    h, y = torch.cat([h, h[y == 0], h[y == 0]]), torch.cat([y, y[y == 0], y[y == 0]])
    r = neural_collapse(h.to(dtype), y)
    assert r["nc1"] == pytest.approx(s**2 / (d**2 * (1 / 16 + 9 / 16) / 2), rel=10 * tol)
    assert r["equinorm"] == pytest.approx(d / 4, rel=10 * tol)
    assert r["equiangular"] == pytest.approx(0, abs=10 * tol)

@both_dtypes
def test_leaping_clusters(dtype, tol):
    "Points that leap to the next class's mean: by target they are collapsed and aligned, by true label they are arccos(-1/(C-1)) away."
    C, M = 6, etf(6, 9, a=3.0)
    y = torch.arange(C).repeat_interleave(5)
    target, reference = (y + 1) % C, (M + 2).to(dtype)
    leapt = reference[target]
    by_target, by_truth = class_means(leapt, target, C), class_means(leapt, y, C)
    assert simplex_similarity(by_target, reference) == pytest.approx(0, abs=10 * tol)
    assert simplex_similarity(by_truth, reference) == pytest.approx(math.acos(-1 / (C - 1)), abs=10 * tol)
    W, b = M.to(dtype), (-2 * M.sum(1)).to(dtype)
    r = neural_collapse(leapt, target, W, b, reference)
    assert r["nc1"] < 10 * tol and (r["nc4"], r["ncc_match"], r["ncc_accuracy"]) == (0, 1, 1)
    assert neural_collapse(leapt, y, W, b, reference)["ncc_accuracy"] == 0

def test_released_variants():
    "equinorm_cv is std(correction=1)/mean and nc3_frobenius the squared distance of Frobenius-normalised matrices."
    h, y = blobs()
    W = torch.randn(6, 20, generator=torch.Generator().manual_seed(2)).double()
    M = torch.stack([h[y == c].mean(0) for c in range(6)]) - h.mean(0)
    r, n = neural_collapse(h, y, W), M.norm(dim=1)
    assert r["equinorm_cv"] == pytest.approx((n.std() / n.mean()).item())
    assert r["equinorm"] == pytest.approx((n - n.mean()).square().mean().sqrt().item())
    assert r["nc3_frobenius"] == pytest.approx(((W / W.norm() - M / M.norm()) ** 2).sum().item())
    assert r["nc3"] == pytest.approx(((W / W.norm(dim=1, keepdim=True) - M / n[:, None]) ** 2).sum().sqrt().item())

@given(seed=st.integers(0, 1000), C=st.integers(2, 7), p=st.integers(1, 25))
@settings(max_examples=30, deadline=None)
def test_nc1_equals_the_plain_formula(seed, C, p):
    "The C x p form is the p x p pinv formula to 1e-10 in float64, for fewer and for more dimensions than classes, unbalanced."
    h, y = blobs(seed, N=60, p=p, C=C)
    assert neural_collapse(h, y)["nc1"] == pytest.approx(plain_nc1(h, y), rel=1e-10)

def test_shares_are_float64():
    "Three of five is 0.6, not 0.6000000238."
    h, y = torch.tensor([[0.0], [0.1], [5.0], [5.1], [0.2]]).double(), torch.tensor([0, 0, 1, 0, 1])
    assert neural_collapse(h, y, reference=torch.tensor([[0.0], [5.0]]))["ncc_accuracy"] == 0.6

def test_nearest_centres_by_distance():
    "The largest product with a centre less half its square is the smallest distance, with as many classes as points and far away, too."
    for C, p, far in ((2, 1, 1), (10, 64, 1), (300, 40, 1), (10, 64, 1e6)):
        g = torch.Generator().manual_seed(C)
        s, h = Simplex(torch.randn(C, p, generator=g).double() + far), torch.randn(500, p, generator=g).double() * 2 + far
        z = s.coordinates(h)
        assert torch.equal(s.nearest(z), torch.cdist(z, s.vertices, compute_mode="donot_use_mm_for_euclid_dist").argmin(1))

def test_coarse_features_of_any_layer_are_said():
    "The coarsest layer is named, if it is not the last."
    y, h = torch.arange(40) % 4, torch.randn(40, 6)
    with pytest.warns(UserWarning, match="features of layer 'body' in torch.bfloat16 carry"):
        two_passes(lambda: iter([(dict(body=h.bfloat16(), features=h), y, None)]), 4)

def test_pinv_refuses_what_its_siblings_refuse():
    y = torch.arange(40) % 4
    for h in (torch.randn(40, 6).numpy(), torch.ones(40, 6, dtype=torch.long)):
        with pytest.raises(ValueError): nc1_pinv(h, y, 4)

def test_decisions_equal_the_plain_formulas():
    "NC4, the matching rate and NCC accuracy in C-1 coordinates are those of full distances, with own and with foreign centres."
    h, y = blobs(spread=4)
    g = torch.Generator().manual_seed(3)
    W, b, S = torch.randn(6, 20, generator=g).double(), torch.randn(6, generator=g).double(), 3 * torch.randn(6, 20, generator=g).double()
    own = torch.stack([h[y == c].mean(0) for c in range(6)])
    net = (h @ W.T + b).argmax(1)
    near = lambda mu: (h[:, None] - mu).norm(dim=2).argmin(1)
    r = neural_collapse(h, y, W, b, reference=S)
    assert r["nc4"] == pytest.approx((net != near(own)).double().mean().item())
    assert r["ncc_match"] == pytest.approx((net == near(S)).double().mean().item())
    assert r["ncc_accuracy"] == pytest.approx((y == near(S)).double().mean().item())
    assert 0 < r["nc4"] < 1 and 0 < r["ncc_accuracy"] < 1

@both_dtypes
def test_nc1_is_invariant(dtype, tol):
    "Rotating, shifting and scaling the representation leaves NC1 alone; angles too, and norms scale."
    h, y = blobs()
    Q = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(4)).double())[0]
    a, b = neural_collapse(h.to(dtype), y), neural_collapse((30 * h @ Q + 7).to(dtype), y)
    assert b["nc1"] == pytest.approx(a["nc1"], rel=10 * tol)
    assert b["equiangular"] == pytest.approx(a["equiangular"], rel=10 * tol)
    assert b["equinorm"] == pytest.approx(30 * a["equinorm"], rel=10 * tol)

@both_dtypes
def test_merged_states_equal_the_whole(dtype, tol):
    "Two halves accumulated apart and merged give what one pass over everything gives; one half lacks a class."
    h, y = blobs()
    order = y.argsort()
    h, y = h[order].to(dtype), y[order]
    W, S = torch.randn(6, 20, generator=torch.Generator().manual_seed(5)).to(dtype), torch.eye(6, 20, dtype=dtype)
    halves, decide = [slice(0, 130), slice(130, None)], lambda t: (t.double() @ W.double().T).argmax(1)
    first = [Means(6).add(h[i], y[i]) for i in halves]
    m = first[0].merge(first[1])
    simplex, ref = Simplex(m.means, m.counts, dtype), Simplex(S, dtype=dtype)
    second = [SecondPass(simplex, ref).add(h[i], y[i], decide(h[i])) for i in halves]
    merged = second[0].merge(second[1])
    assert summary(merged, W) == pytest.approx(neural_collapse(h, y, W, reference=S), rel=1e-10)
    assert nc1_spectrum(merged).sum().item() == pytest.approx(summary(merged)["nc1"], rel=1e-12)
    mixed = summary(SecondPass(simplex, ref).add(h[halves[0]], y[halves[0]]).merge(second[1]))       # some points without a network
    assert math.isnan(mixed["nc4"]) and math.isnan(mixed["ncc_match"]) and math.isfinite(mixed["ncc_accuracy"])

def test_a_broken_mean_is_not_an_empty_class():
    "A row that is NaN throughout stands for a class without points; one NaN in it does not leave the class out in silence."
    mu = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).double()
    broken, empty = mu.clone(), mu.clone()
    broken[0, 0], empty[0] = math.nan, math.nan
    for angle in (simplex_similarity, angular_distance): assert math.isnan(angle(broken, mu)) and angle(empty, empty) == 0
    assert Simplex(empty).C == 4
    with pytest.raises(ValueError, match="diverged"): Simplex(broken)

@both_dtypes
def test_constant_representations(dtype, tol):
    "No structure, no spread, no drift between the passes: NC1 is not a number."
    h = torch.rand(16, generator=torch.Generator().manual_seed(0)).to(dtype).expand(60, 16)
    for noise in (0, 1e-15):
        found = neural_collapse(h + noise * torch.randn(60, 16, dtype=dtype), torch.arange(60) % 4)
        assert found["nc1_rank"] == 0 and math.isnan(found["nc1"])

@pytest.mark.parametrize("n", [300, 3000, 100_000])
def test_sums_of_many_points_round_too(n):
    "Constant float64 representations in classes of unlike sizes: what their means differ by is no structure."
    y = (torch.arange(n) % 10 != 0).long() + (torch.arange(n) % 100 == 5).long()
    found = neural_collapse(torch.full((n, 4), 0.1).double().fill_(0.1), y, torch.eye(3, 4).double())
    assert found["nc1_rank"] == 0 and all(math.isnan(found[k]) for k in ("nc1", "equinorm_cv", "equiangular", "nc3", "nc3_frobenius"))

@both_dtypes
def test_a_mean_in_the_centre_has_no_direction(dtype, tol):
    "Angles to it are not a number, instead of those of its rounding; what asks for no direction stays."
    a = torch.randn(6, generator=torch.Generator().manual_seed(0)).double()
    h, y = around(torch.stack([a, -a, 0 * a]), 0.1, shift=5)
    found = neural_collapse(h.to(dtype), y, torch.eye(3, 6).to(dtype))
    assert math.isnan(found["equiangular"]) and math.isnan(found["nc3"])
    assert found["nc1_rank"] == 1 and found["equinorm_cv"] == pytest.approx(3**0.5 / 2, rel=tol) and found["nc3_frobenius"] > 0

def test_one_class_has_no_structure():
    "Neither form of NC2, nor NC1, is 0 where there is only one mean."
    with pytest.warns(UserWarning, match="only 1 of 3"): found = neural_collapse(torch.randn(5, 4), torch.zeros(5).long(), num_classes=3)
    assert all(math.isnan(found[k]) for k in ("nc1", "equinorm", "equinorm_cv", "equiangular"))

@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features(dtype):
    "Half-precision features are taken at their values and summed in float64; the rank cut-off, 8 eps(dtype), is coarser, and says so."
    h, y = blobs()
    with pytest.warns(UserWarning, match="5 of 5 directions are resolved"): r = neural_collapse(h.to(dtype), y)
    exact = neural_collapse(h.to(dtype).double(), y)
    assert r == pytest.approx(exact, rel=1e-9, nan_ok=True)
    M = torch.zeros(3, 4); M[1, 0], M[2, 1] = 1.0, 2 * torch.finfo(dtype).eps
    points = M.repeat_interleave(2, 0)
    rank = lambda t: neural_collapse(t, torch.arange(3).repeat_interleave(2))["nc1_rank"]
    with pytest.warns(UserWarning, match="1 of 2 directions are resolved"): assert rank(points.to(dtype)) == 1
    assert rank(points) == 2

def test_memory_at_65536_dimensions():
    "C = 20, p = 65,536: the extra peak stays below 1 GB, thirty times under one p x p matrix."
    code = """
import json, resource, torch
from nc_robust.metrics import neural_collapse
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
neural_collapse(torch.randn(40, 64), torch.arange(40) % 20)
h, y = torch.randn(200, 65536), torch.arange(200) % 20
h[torch.arange(200), y] += 500
W, before = torch.randn(20, 65536), peak()
r = neural_collapse(h, y, W, torch.zeros(20), reference=h[:20])
print(json.dumps(dict(extra=peak() - before, rank=r["nc1_rank"], accuracy=r["ncc_accuracy"])))
"""
    r = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout)
    assert (r["rank"], r["accuracy"]) == (19, 1.0)
    assert r["extra"] < 1000, f"{r['extra']:.0f} MB beyond the features themselves"

H, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
def with_one(value): return H.index_put((torch.tensor(2), torch.tensor(1)), torch.tensor(value))

BAD = dict(                                             # representations, labels, other arguments, what is said
    nan=(with_one(math.nan), Y, {}, "NaN or infinite entries in 1 of 6 rows"), inf=(with_one(math.inf), Y, {}, "in 1 of 6 rows"),
    maps=(H.view(6, 2, 2), Y, {}, r"\.flatten\(1\) makes rows"), whole_numbers=(H.long(), Y, {}, "h must be a float tensor"),
    array=(H.numpy(), Y, {}, "got ndarray; torch.as_tensor makes"), float_labels=(H, Y.float(), {}, r"\.long\(\) makes them whole"),
    short_labels=(H, Y[:5], {}, "y must hold 6"), label_column=(H, Y[:, None], {}, r"\.squeeze\(1\)"),
    labels_from_one=(H, Y + 1, dict(num_classes=3), "labels must lie in 0..2, got 1..3"), negative_label=(H, Y - 1, {}, "got -1..1"),
    one_class=(H, Y * 0, {}, "at least two classes"), no_points=(H[:0], Y[:0], dict(num_classes=3), "h is empty"),
    narrow_weight=(H, Y, dict(weight=torch.zeros(3, 5)), r"weight must have shape \(C, p\) = \(3, 4\), got \(3, 5\)"),
    few_rows=(H, Y, dict(weight=torch.zeros(2, 4)), "labels must lie in 0..1, got 0..2"),
    narrow_reference=(H, Y, dict(reference=torch.zeros(3, 5)), "reference must have shape"),
    flat_reference=(H, Y, dict(reference=torch.zeros(4)), "reference must have shape"),
    broken_reference=(H, Y, dict(reference=with_one(math.inf)[:3]), "reference has NaN or infinite entries"),
    array_reference=(H, Y, dict(reference=H[:3].numpy()), "reference must be a tensor"),
    one_weight=(H, Y, dict(weight=torch.tensor(1.0)), "weight must have shape"),
    all_empty_reference=(H, Y, dict(reference=torch.full((3, 4), math.nan)), "no class has any points"),
    no_dimensions=(H[:, :0], Y, {}, r"h is empty, of shape \(6, 0\)"),
    no_points_no_classes=(H[:0], Y[:0], {}, "h is empty"), label_list=(H, Y.tolist(), {}, "got list"),
    long_bias=(H, Y, dict(weight=torch.zeros(3, 4), bias=torch.zeros(4)), r"bias must have shape \(C,\) = \(3,\), got \(4,\)"),
)
@pytest.mark.parametrize("h, y, more, says", BAD.values(), ids=BAD)
def test_bad_input_is_named(h, y, more, says):
    "Whatever does not fit is a ValueError that says so, not a number and not an error from within."
    with pytest.raises(ValueError, match=says): neural_collapse(h, y, **more)

@pytest.mark.parametrize("second", [(H[:4], Y[:4]), (H, Y.flip(0) // 2), None])
def test_a_second_pass_that_differs_is_refused(second):
    "Batches that end early, give other labels or cannot be read twice are a ValueError."
    passes = iter([[(H, Y)], [] if second is None else [second]])
    with pytest.raises(ValueError, match="the second pass gave"): neural_collapse_batches(lambda: next(passes), 3)

def test_equiangular_by_hand():
    "Three means with cosines 0 and twice -1/sqrt(2), where a simplex has -1/2."
    M = torch.tensor([[1.0, 0], [0, 1], [-1, -1]]).double()
    assert equiangular(M) == pytest.approx((0.5 + 2 * (0.5**0.5 - 0.5)) / 3, rel=1e-12)

def test_an_empty_class_is_left_out_of_angles():
    "A class that is empty in one of two sets counts in neither: not in the mean angle, not in the centre."
    mu = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).double()
    gap = mu.clone(); gap[0] = math.nan
    for angle in (simplex_similarity, angular_distance): assert angle(gap, mu) == angle(mu, gap) == 0

def test_the_reference_leaves_an_empty_class_out():
    h, y = blobs(C=6)
    assert nc1_pinv(h, y, 7) == pytest.approx(nc1_pinv(h, y, 6), rel=1e-12)

def test_what_may_be_merged():
    "Only sums around the same means, with the same reference; the drift of the points is merged, too."
    h, y = blobs()
    a, b = (Simplex(class_means(t, y, 6)) for t in (h, 2 * h))
    with pytest.raises(ValueError, match="around different means"): Spread(a).merge(Spread(b))
    with pytest.raises(ValueError, match="different centres"): SecondPass(a).merge(SecondPass(a, b))
    one, other = (Spread(a).add(h[i::2], y[i::2].contiguous()) for i in (0, 1))
    assert one.merge(other).drift.norm() < 1e-9 * h.norm()

def test_condition_is_of_the_directions_kept():
    "Smallest over largest, also where twin means lower the rank."
    M = 2 * etf(5, 10); M[4] = M[3]
    s = torch.linalg.svdvals(M - M.mean(0))
    assert neural_collapse(*around(M, 0.3))["nc1_cond"] == pytest.approx((s[2] / s[0]).item())

def test_small_sets():
    "A bias needs a weight, an angle two classes; one point in one class is no cause for a warning."
    with pytest.raises(ValueError, match="bias is given without weight"): neural_collapse(H, Y, bias=torch.zeros(3))
    with pytest.raises(ValueError, match="at least two"): etf_angle(1)
    with warnings.catch_warnings(): warnings.simplefilter("error"); neural_collapse(H[:5], Y[:5])

def test_a_classifier_of_another_shape_is_recognised():
    "One that is transposed, and logits in the place of representations."
    h, y, W = torch.randn(20, 6), torch.arange(20) % 3, torch.randn(3, 6)
    with pytest.raises(ValueError, match=r"weight must have shape .*; give weight.T$"): neural_collapse(h, y, W.T)
    with pytest.raises(ValueError, match="are these the logits"): neural_collapse(h @ W.T, y, W)
