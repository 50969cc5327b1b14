"Verdicts follow from the tables, stay while other networks are judged, and are none where a table cannot say."
from pathlib import Path
import numpy as np, pandas as pd, pytest
from nc_robust import figures, plots, verdicts
from nc_robust.claims import CLAIMS, Evidence, Missing, judge
from nc_robust.files import out_folder
from nc_robust.metrics import etf_angle
from nc_robust.verdicts import TEXT

FIGURES = Path(__file__).resolve().parent.parent / "figures"

def drawn(**more):
    "Figure 2 on published digits, judged; its file of claims."
    figure = figures.Figure("fig2", scale="quick", source="published", **more)
    verdicts.report(figure, figures.table(figure))
    return pd.read_csv(out_folder() / "fig2_digits_claims.csv")

@pytest.mark.parametrize("more", [dict(archs="vgg11", regime="st"), dict(archs="vgg11"), dict(regime="at"), dict(regime="trades")])
def test_verdicts_of_what_is_not_drawn_stay(more):
    "Drawing one network or one regime again, or a regime without claims there, leaves the other verdicts in the file."
    before = drawn()
    assert len(before) > 10
    key = ["claim", "regime", "arch"]
    assert drawn(**more).sort_values(key, ignore_index=True).equals(before.sort_values(key, ignore_index=True))

@pytest.mark.parametrize("more", [dict(seeds=2), dict(archs="vgg11", seeds=2)])
def test_verdicts_of_other_runs_go(more, capsys):
    "A file never mixes seeds, and says what it loses."
    drawn(); capsys.readouterr()
    assert set(drawn(**more).seeds) == {2}
    lost = "at preact_resnet18, st preact_resnet18" in capsys.readouterr().out
    assert lost == ("archs" in more)

def test_radii_of_another_regime_do_not_count():
    "Claims 22 and 23 look at the network they are about."
    grows = [dict(regime=r, view=f"eps={e}", metric=m, split="train", layer="features", seed=1, epoch=1, eps=e,
                  value=100 * e if r == "st" else 1 / e)
             for r in ("st", "at") for e in (0.1, 0.2, 0.4) for m in ("nc1", "equinorm", "equinorm_cv", "equiangular", "nc3", "nc4")]
    assert verdict(23, "st", pd.DataFrame(grows))["verdict"] == "holds" == verdict(22, "at", pd.DataFrame(grows))["verdict"]

def test_a_verdict_that_rests_on_what_is_not_drawn_stays():
    "Claim 17 sets AT beside ST: drawing AT alone measures it no more, and does not undo it."
    path = out_folder() / "fig11_digits_claims.csv"
    for more in ({}, dict(regime="at")):
        figure = figures.Figure("fig11", scale="quick", source="published", archs="vgg11", **more)
        verdicts.report(figure, figures.table(figure))
        found = pd.read_csv(path)
        assert list(found.claim) == [17, 18] and found.verdict[0] != "not measured"

def test_a_replaced_file_is_announced(capsys):
    "Whoever draws other runs over a figure is told; a picture of other regimes goes by their name."
    figure = lambda arch, **k: figures.Figure("fig11", scale="quick", source="published", archs=arch, **k)
    first, second = figure("vgg11", regime="st"), figure("preact_resnet18", regime="st")
    for f in (first, first, figure("vgg11")): figures.save(f, None, figures.table(f))
    assert "other runs" not in capsys.readouterr().out
    figures.save(second, None, figures.table(second))
    assert "fig11_st_digits.csv showed other runs until now; it is replaced" in capsys.readouterr().out
    assert (out_folder() / "fig11_digits.csv").exists()

def test_figure_1_shows_one_network():
    "Two seeds or networks, of which one would be drawn, are refused before anything is trained."
    with pytest.raises(ValueError, match="give one of archs and seeds"): figures.Figure("fig1", archs="vgg11,preact_resnet18", seeds="1,2")

def table(classes=10, **last):
    "A table in which everything collapses from epoch 1 to 3 for both regimes, but for the values in `last` at the end."
    metrics = dict(accuracy=1, loss=0.1, kl=0.1, nc1=1, equinorm=1, equinorm_cv=1, equiangular=1, nc3=1, nc4=0)
    return pd.DataFrame([dict(regime=r, view=v, metric=m, split="train", layer="features", seed=1, epoch=e,
                              value=last.get(f"{v}_{m}", x * 0.01) if e == 3 and m != "accuracy" else x)
                         for r in ("st", "at", "trades") for v in ("clean", "perturbed", "gaussian") for m, x in metrics.items()
                         for e in (1, 2, 3)])

def verdict(number, regime, t, C=10): return judge(next(c for c in CLAIMS if c.number == number), Evidence(t, C), regime)

# Every condition of every rule: {what is changed: (still holds, no longer holds)} of networks of which all claims hold.
ENDS = dict(nc1=0.01, equinorm=0.1, equinorm_cv=0.1, equiangular=0.1, nc3=0.1, nc4=0, accuracy=1, loss=0.01, kl=0.001, success=1,
            simplex_similarity=0.05, angular_distance=0.05)
NETWORKS = {"st gaussian nc1": 0.015, "st perturbed nc1": 10, "st perturbed equiangular": 0.5, "st perturbed accuracy": 0,
            "st targeted equinorm_cv": 0.2, "st targeted nc1": 0.02, "at gaussian nc1": 0.011, "at perturbed nc1": 0.05,
            "trades clean nc1": 0.1, "trades clean equiangular": 0.3}
DEEP = np.exp(-np.arange(6.0))
LAYERS = {"st clean nc1": DEEP, "at clean nc1": DEEP**0.5, "st perturbed nc1": DEEP * (1, 1, 1, 5, 10, 100),
          "st clean ncc_accuracy": 0.6, "st clean ncc_accuracy test": 0.6, "at clean ncc_accuracy": 0.6,
          "at perturbed ncc_match": (0.4, 0.4, 0.4, 0.6, 0.8, 0.9),
          **{f"{r} perturbed ncc_accuracy{s}": v for s in ("", " test") for r, v in (
              ("st", (0.5, 0.5, 0.5, 0.3, 0.1, 0.05)), ("at", (0.4, 0.4, 0.4, 0.6, 0.8, 0.9)))}}
CONDITIONS = [
    (1, "st", {"st clean nc4": (0.009, 0.011)}), (1, "st", {"st clean equinorm_cv": (0.99, 1.01)}),
    *((1, "st", {f"st clean {m}": (0.49, 0.51)}) for m in ("nc1", "equinorm", "equiangular", "nc3")),
    (2, "st", {"st gaussian nc1": (0.0101, 0.0099)}), (2, "st", {"st gaussian nc1": (0.31, 0.32)}),
    (3, "st", {"st perturbed accuracy": (0.049, 0.051)}), (3, "st", {"st perturbed nc1": (0.101, 0.099)}),
    (3, "st", {"st perturbed equiangular": (0.21, 0.19)}),
    (3, "st", {"st perturbed equinorm_cv": (0.21, 0.19), "st perturbed equiangular": (0.1, 0.1)}),
    (4, "st", {"st targeted simplex_similarity": (0.249 * etf_angle(10), 0.251 * etf_angle(10))}),
    (4, "st", {"st targeted success": (0.951, 0.949)}),
    (5, "st", {"st targeted equinorm_cv": (0.101, 0.099)}), (5, "st", {"st targeted nc1": (0.0101, 0.0099)}),
    *((7, "at", {f"at {v} accuracy": ((0.9, 0.996, 0.9), (0.9, 0.994, 0.9))}) for v in ("clean", "perturbed")),
    (8, "at", {"at perturbed nc1": (0.099, 0.101)}), (8, "at", {"at clean nc1": (0.099, 0.101)}),
    *((8, "at", {f"at {v} {m}": (0.99, 1.01)}) for v in ("clean", "perturbed") for m in ("equiangular", "nc3", "nc4")),
    (8, "at", {"at perturbed accuracy": (0.91, 0.89)}),
    (9, "at", {"at gaussian nc1": (0.0149, 0.0151)}), (9, "at", {"at gaussian nc1": (0.0099, 0.009), "at perturbed nc1": (0.011, 0.011)}),
    (9, "at", {"at perturbed nc1": (0.0101, 0.0099), "at gaussian nc1": (0.01, 0.01)}),
    *((10, "at", {f"at perturbed {m}": (0.099 * etf_angle(10), 0.101 * etf_angle(10))})
      for m in ("simplex_similarity", "angular_distance")),
    (11, "at", {"at perturbed nc4": (0.019, 0.021)}),
    (12, "trades", {"trades clean loss": (0.0499 * np.log(10), 0.0501 * np.log(10))}),
    (12, "trades", {"trades perturbed kl": (0.0499 * np.log(10) / 6, 0.0501 * np.log(10) / 6)}),
    (13, "trades", {"trades clean nc1": (0.0301, 0.0299)}), (13, "trades", {"at perturbed accuracy": (0.91, 0.89)}),
    (14, "trades", {"trades clean equiangular": (0.151, 0.149)}),
    *((14, "trades", {f"{r} perturbed accuracy": ((0.9, 0.996, 1), (0.9, 0.994, 1))}) for r in ("at", "trades")),
    (17, "at", {"at clean nc1": (DEEP**0.99, DEEP**1.01)}), (17, "at", {"at clean nc1": (DEEP**0.01, DEEP**-0.01)}),
    *((17, "at", {f"{r} clean nc1": tuple((DEEP * np.exp(a * (-1)**np.arange(6)))**k for a in (0.9, 1.1))})
      for r, k in (("st", 1), ("at", 0.5))),
    (18, "st", {"st perturbed nc1": (DEEP * (1, 1.9, 1, 5, 10, 100), DEEP * (1, 2.1, 1, 5, 10, 100))}),
    (18, "st", {"st perturbed nc1": (DEEP * (1, 1, 1, 5, 10, 10.1), DEEP * (1, 1, 1, 5, 10, 9.9))}),
    (19, "st", {"st clean ncc_accuracy test": (0.31, 0.3)}),
    *((19, "st", {f"st perturbed ncc_accuracy{s}": ((0.1, 0.31, 0.1, 0, 0, 0), (0.1, 0.29, 0.1, 0, 0, 0))}) for s in ("", " test")),
    *((19, "st", {f"st perturbed ncc_accuracy{s}": ((0.5, 0, 0, 0, 0, 0.09), (0.5, 0, 0, 0, 0, 0.11))}) for s in ("", " test")),
    *((20, "st", {f"at perturbed ncc_accuracy{s}": (0.49, 0.51)}) for s in ("", " test")),
    (21, "at", {"at perturbed ncc_match": ((0.4, 0.4, 0.4, 0.619, 0.8, 0.9), (0.4, 0.4, 0.4, 0.621, 0.8, 0.9))})]

def by_epoch(changes):
    "Records of networks after epochs 1 to 3, fit from the second on; `changes`: {regime, view, metric: value at the end, or at each}."
    views = ("clean", "perturbed", "gaussian", "targeted")
    ends = {f"{r} {v} {m}": x for r in ("st", "at", "trades") for v in views for m, x in ENDS.items()}
    for key, x in (ends | NETWORKS | changes).items():
        start = (0.9, 1) if "accuracy" in key else (1, 0.5)
        yield from ((*key.split(), "train", "features", e, v) for e, v in enumerate(x if np.ndim(x) else (*start, x), 1))

def by_layer(changes):
    "Records of networks of six layers; `changes`: {regime, view, metric[, split]: value of all, or of each layer}."
    for key, x in (LAYERS | changes).items():
        regime, view, metric, split = (*key.split(), "train")[:4]
        yield from ((regime, view, metric, split, f"layer{i}", 3, v) for i, v in enumerate(np.broadcast_to(x, 6)))

@pytest.mark.parametrize("number, regime, changed", CONDITIONS)
def test_every_condition_of_a_rule_decides(number, regime, changed):
    "On either side of its threshold, all else holding."
    columns = ["regime", "view", "metric", "split", "layer", "epoch", "value"]
    records = by_epoch if number < 17 else by_layer
    told = [judge(next(c for c in CLAIMS if c.number == number), Evidence(pd.DataFrame(
        records({k: v[side] for k, v in changed.items()}), columns=columns).assign(seed=1), 10), regime) for side in (0, 1)]
    assert told[0]["verdict"] == "holds" and told[1]["verdict"] in ("does not hold", "not reached"), told

@pytest.mark.parametrize("number, regime", [(1, "st"), (3, "st"), (8, "at"), (14, "trades")])
def test_nc2_of_two_classes_says_nothing(number, regime):
    "Two centred means of equal classes are opposite and equally long whatever the network does; such a claim is not measured."
    found = verdict(number, regime, table(), C=2)
    assert found["verdict"] == "not measured" and "two classes" in found["test"]
    assert "two classes" not in verdict(number, regime, table())["test"]

def test_a_zero_is_no_verdict():
    "The logarithm of an NC1 of 0 decides nothing."
    assert verdict(9, "at", table(gaussian_nc1=0.0, perturbed_nc1=0.05))["verdict"] == "not measured"

@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14])
def test_a_table_without_the_last_layer_is_no_verdict(number):
    "What a rule looks for and does not find is named, not an error."
    for r in next(c for c in CLAIMS if c.number == number).regimes:
        assert verdict(number, r, table().assign(layer="conv1"))["verdict"] == "not measured"

@pytest.mark.parametrize("number, regime", [(2, "st"), (8, "at"), (9, "at"), (10, "at"), (11, "at"), (13, "trades"), (14, "trades")])
def test_a_network_that_does_not_fit_at_the_end_is_not_judged(number, regime):
    "Also where it had fitted before."
    t = table()
    t.loc[(t.metric == "accuracy") & (t.epoch == 3), "value"] = 0.8
    found = verdict(number, regime, t)
    assert found["verdict"] == "not reached" and "ends at 80.00%" in found["test"] and "it had reached (100.00%)" in found["test"]

@pytest.mark.parametrize("number, regime", [(1, "st"), (14, "trades")])
def test_a_terminal_phase_has_two_measurements(number, regime):
    t = table()
    t.loc[(t.metric == "accuracy") & (t.epoch < 3), "value"] = 0.99
    assert "begins with the last measurement" in verdict(number, regime, t)["test"]

@pytest.mark.parametrize("number", [13, 14])
def test_regimes_are_compared_at_one_epoch(number):
    "TRADES cut short is not set against AT that went on."
    t = table()
    found = verdict(number, "trades", t[(t.regime != "trades") | (t.epoch < 3)])
    assert found["verdict"] == "not measured" and "2, 3 at the end" in found["test"]

def test_seeds_are_averaged_as_far_as_all_go():
    t = pd.concat([table(), table().assign(seed=2).query("epoch < 3")])
    assert Evidence(t, 10).series("at", "clean", "nc1").to_dict() == {1: 1, 2: 1}

def test_verdicts_name_the_runs_compared_with():
    "Claim 13 rests on runs of AT, which figure 4 does not draw."
    figure = figures.Figure("fig4", scale="quick", source="published", archs="vgg11", regime="trades")
    found = verdicts.rows(figure, figures.table(figure)).set_index("claim").runs.str.split()
    assert [sorted({n.split("-")[0] for n in found[k]}) for k in (12, 13)] == [["trades"], ["at", "trades"]]

def test_single_seeds_may_rest_on_more_runs():
    "Frozen TRADES does not fit on the average over seeds, but one seed does and is set against AT: AT is named."
    figure = figures.Figure("fig4", "trades_frozen_bn", archs="preact_resnet18", scale="quick", source="published", seeds="1,2,3")
    found = verdicts.rows(figure, figures.table(figure)).set_index("claim").loc[13]
    assert found.verdict == "undecided" and len(found.runs.split()) == 6

@pytest.mark.parametrize("mine, times", [(0.8, 2), (0.65, 4 / 8**0.5 / 2**0.5), (0.9, 4), (1, 4), (0.3, 0.5)])
def test_at_equal_fit_a_network_first_fitted_as_many(mine, times):
    "Of several epochs at which AT had fitted that many it is the first; at the most it ever fitted, the end."
    t = pd.DataFrame([dict(regime=r, view=v, metric=m, split="train", layer="features", seed=1, epoch=e, value=x)
                      for r, fit, nc1 in (("at", (0.5, 0.8, 0.7, 0.9, 0.9), (8, 2, 6, 3, 1)), ("trades", (mine,) * 5, (4,) * 5))
                      for e, (a, n) in enumerate(zip(fit, nc1)) for v, m, x in (("perturbed", "accuracy", a), ("clean", "nc1", n))])
    assert Evidence(t, 10).at_equal_fit("trades") == pytest.approx(times)
    by_clean = pd.concat([t, t[t.metric == "accuracy"].assign(view="clean")]).replace(dict(view={"perturbed": "gaussian"}))
    assert Evidence(by_clean, 10).at_equal_fit("trades", view="clean") == pytest.approx(times)     # and the own images are not asked

@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_mean_of_equal_shares_is_that_share(seeds):
    "Five seeds at 99.5 % fit, though their sum in floating point over five is a little less."
    one = table()
    one.loc[one.metric == "accuracy", "value"] = 0.995
    t = pd.concat([one.assign(seed=s) for s in range(seeds)])
    assert Evidence(t, 10).fitted("st") == t.epoch.min()

def test_a_fit_that_is_no_number_is_not_measured():
    t = table()
    t.loc[(t.metric == "accuracy") & (t.epoch == t.epoch.max()), "value"] = np.nan
    assert verdict(1, "st", t)["verdict"] == verdict(13, "trades", t)["verdict"] == "not measured"

def test_what_frozen_batch_norm_trains_on():
    "ST is fit on clean images with frozen batch norm, too; AT and TRADES on perturbed ones."
    t = table(perturbed_accuracy=0.5).assign(regime=lambda t: t.regime + "_frozen_bn")
    t.loc[(t["view"] == "perturbed") & (t.metric == "accuracy"), "value"] = 0.5
    assert [Evidence(t, 10).fit(f"{r}_frozen_bn").iloc[-1] for r in ("st", "at", "trades")] == [1, 0.5, 0.5]

def test_claims_about_claims_compare_like_with_like():
    "15 sets l2 beside linf on the same data, 16 a hundred classes beside ten."
    found = drawn(archs="vgg11")
    other = found.assign(dataset="folder:pets10", norm="l2")
    for name, t in (("fig2_a", found.assign(dataset="folder:pets")), ("fig2_b", other), ("fig2_c", found.assign(dataset="folder:pets100"))):
        t.to_csv(out_folder() / f"{name}_claims.csv", index=False)
    (out_folder() / "fig2_digits_claims.csv").unlink()
    merged = verdicts.merge(out_folder())
    assert 15 not in set(merged.claim) and set(merged.dataset[merged.claim == 16]) == {"folder:pets100"}

@pytest.mark.parametrize("equal, row", [("holds", (1, "holds")), ("undecided", None)])
def test_another_size_stands_in_only_for_one_that_is_missing(equal, row):
    "A pair of equal size that is undecided leaves nothing to compare; the fewest seeds of both sides are said."
    one = drawn(archs="vgg11", regime="at").query("claim == 7").assign(dataset="folder:pets100", per_class="30", seeds="1 2 3")
    ten = one.assign(dataset="folder:pets10", seeds="12345")
    for name, t in (("a", one), ("b", ten.assign(verdict=equal)), ("c", ten.assign(verdict="does not hold", per_class="500"))):
        t.assign(verdict="holds" if name == "a" else t.verdict).to_csv(out_folder() / f"fig6_{name}_claims.csv", index=False)
    (out_folder() / "fig2_digits_claims.csv").unlink()
    found = verdicts.merge(out_folder()).query("claim == 16")
    assert [(r.value, r.verdict) for r in found.itertuples()] == [row] * (row is not None) and set(found.seeds) <= {"12345"}

def test_pooled_layers_come_after_those_of_the_paper():
    "Whatever the data set is called: the verdict in README's table is that of whole layers."
    t = drawn(archs="vgg11").head(1).assign(dataset="folder:svhn")
    for name, verdict in (("fig11_pooled_svhn", "does not hold"), ("fig11_svhn", "holds")):
        t.assign(verdict=verdict).to_csv(out_folder() / f"{name}_claims.csv", index=False)
    merged = verdicts.merge(out_folder())
    assert merged[merged.dataset == "folder:svhn"].verdict.tolist() == ["holds", "does not hold"]
    both = merged[merged.dataset == "folder:svhn"].assign(seeds=["1 2", "1"])                     # pooled has fewer seeds, and is not shown
    assert "1 seed |" not in verdicts.markdown(both)

def test_the_end_that_is_written_is_that_of_the_curve():
    "Where one seed was cut short, the curve and the number written beside it end there."
    t = pd.DataFrame([dict(regime="at", arch="vgg11", view="perturbed", metric="accuracy", split="train", layer="features", seed=s, epoch=e,
                           value=v) for s, e, v in ((1, 35, 0.9), (1, 40, 0.99), (2, 35, 0.7))])
    ax = plots.by_epoch(t, ["accuracy"]).axes[0]
    assert ax.lines[0].get_xydata()[-1].tolist() == pytest.approx([35, 0.8]) and "80 %" in ax.texts[0].get_text()

def test_a_curve_goes_from_left_to_right():
    "Where a seed has nothing that the axis can show, or no row, there is no mean of seeds."
    t = pd.DataFrame([dict(seed=s, epoch=e, value=float(not (s == 1 and e == 20))) for s in (1, 2) for e in (10, 20, 30)])
    ax = plots.plt.figure().add_subplot()
    plots.curve(ax, t, "epoch", "clean", "log")
    assert ax.lines[0].get_xdata().tolist() == [10, 30] and np.isfinite(ax.lines[0].get_ydata()).all()
    plots.curve(ax, t[(t.seed == 1) | (t.epoch < 30)], "epoch", "clean")                    # seed 2 was cut short
    assert ax.lines[1].get_xdata().tolist() == [10, 20]

@pytest.mark.parametrize("path", sorted(FIGURES.glob("*_claims.csv")), ids=lambda p: p.stem)
def test_published_verdicts_are_those_of_the_rules(path):
    "Every verdict in the repository, and the words of its test, is what the rules as they are make of the runs that it names."
    kept, shown = pd.read_csv(path, dtype=TEXT), ["claim", "regime", "arch", "verdict", "agree", "test"]
    for seeds, t in kept.groupby("seeds"):
        data, per_class, name = t.dataset.iloc[0], t.per_class.iloc[0], path.stem.split("_")[0]
        epochs, archs, regime = int(t.epochs.iloc[0].split()[-1]), ",".join(t.arch.unique()), ",".join(t.regime.unique())
        given = dict(epochs=epochs, archs=archs, regime=regime, seeds=seeds.replace(" ", ","), norm=t.norm.iloc[0],
                     scale={"30": "pilot", "500": "subset", "all": "paper"}.get(per_class, "quick"))
        if path.stem.endswith("400_epochs_claims"): given |= dict(lr=0.1, milestones=(0.25, 0.375), measure_every=40)     # the paper's
        figure = figures.Figure(name, dataset=data, source="published", **given)
        found = verdicts.rows(figure, figures.table(figure))
        assert sorted(found[shown].itertuples(index=False)) == sorted(t[shown].itertuples(index=False))
        key = ["claim", "regime", "arch"]
        assert found.set_index(key).runs.str.split().map(set).to_dict() == t.set_index(key).runs.str.split().map(set).to_dict()

def test_a_seed_that_is_nan_or_infinite_is_no_number():
    "It is not averaged away, and nothing is judged by it."
    e = Evidence(pd.concat([table(), table().assign(seed=2, value=np.nan)]), 10)
    assert e.series("at", "clean", "nc1").isna().all()
    with pytest.raises(Missing, match="nan"): e.layers("at", "clean", "nc1")
    t = table(); t.loc[(t.metric == "nc1") & (t.epoch == 1), "value"] = np.inf
    assert verdict(8, "at", t)["verdict"] == "not measured"

def test_every_seed_fits_or_the_claim_fails():
    "Claim 7 looks at the worst seed, and 99.5 % are enough."
    t = pd.concat([table(), table().assign(seed=2)])
    t.loc[(t.metric == "accuracy") & (t.seed == 2), "value"] = 0.9
    assert verdict(7, "at", t)["verdict"] == "does not hold"
    t.loc[t.metric == "accuracy", "value"] = 0.995
    assert verdict(7, "at", t)["verdict"] == "holds"

PREDICTED = dict(angle=(0.1,) * 4, count=(10, 90, 10, 90), clean_norm=(1, 1.1, 1, 1.1), predicted_norm=(1, 2, 1, 2))

@pytest.mark.parametrize("changed, says", [
    ({}, "holds"), (dict(angle=(0.6,) * 4), "does not hold"), (dict(count=(50, 50, 50, 49)), "does not hold"),
    (dict(predicted_norm=(1, 1.05, 1, 1)), "does not hold"), (dict(angle=(np.nan,) * 4), "not measured")])
def test_claim_6_has_three_conditions(changed, says):
    t = pd.DataFrame([dict(regime="st", view="predicted", metric=m, split="train", layer=f"class {k}", seed=1, epoch=1, value=v)
                      for m, values in (PREDICTED | changed).items() for k, v in enumerate(values)])
    assert verdict(6, "st", t, C=4)["verdict"] == says

def test_claim_6_looks_at_each_seed():
    "Norms that are equal within every seed do not become uneven where seeds differ."
    even = dict(PREDICTED, predicted_norm=(1,) * 4, clean_norm=(1, 1.05, 1, 1.05))
    t = pd.DataFrame([dict(regime="st", view="predicted", metric=m, split="train", layer=f"class {k}", seed=s, epoch=1,
                           value=v * (20 if s == 2 and m == "predicted_norm" else 1))
                      for s in (1, 2) for m, values in even.items() for k, v in enumerate(values)])
    assert verdict(6, "st", t, C=4)["verdict"] == "does not hold"

@pytest.mark.parametrize("number, r, values, says", [
    (22, "at", (3, 2, 2), "does not hold"), (22, "at", (2, 1, 0), "holds"), (23, "st", (1, 2, 2), "does not hold"),
    (23, "st", (1, 2, 3), "holds"), (23, "st", (1, 2, np.nan), "not measured")])
def test_monotone_is_strict(number, r, values, says):
    "Over the radii of claims 22 and 23; one that was not measured leaves no verdict."
    t = pd.DataFrame([dict(regime=r, view=f"eps={e}", metric=m, split="train", layer="features", seed=1, epoch=1, eps=e, value=v)
                      for e, v in zip((0.1, 0.2, 0.4), values) for m in ("nc1", "equinorm_cv", "equiangular", "nc3", "nc4")])
    assert verdict(number, r, t)["verdict"] == says

def test_claim_21_at_its_threshold():
    "A difference of 0.02 is not less than 0.02, whatever floating point makes of 0.7 - 0.68."
    t = pd.DataFrame([dict(regime="st", view="perturbed", metric=m, split="train", layer="a", seed=1, epoch=1, value=v)
                      for m, v in (("ncc_accuracy", 0.7), ("ncc_match", 0.68))])
    assert verdict(21, "st", t)["verdict"] == "does not hold"

@pytest.mark.parametrize("together, says", [("holds", "undecided"), ("not measured", "not measured")])
def test_a_tie_of_seeds_is_undecided(monkeypatch, together, says):
    figure = figures.Figure("fig2", "at", archs="vgg11", scale="quick", seeds="1,2", source="published")
    alone = {1: "holds", 2: "does not hold"}
    monkeypatch.setattr(verdicts, "judge", lambda claim, e, r: dict(
        value=1.0, test="", verdict=together if e.t.seed.nunique() > 1 else alone[e.t.seed.iloc[0]]))
    assert set(verdicts.rows(figure, figures.table(figure)).verdict) == {says}

def test_verdicts_of_other_widths_and_sizes_stay_apart(tmp_path):
    "Rows of another width are replaced, claim 15 compares equal sizes, fewer seeds are said, a README has one table."
    drawn(archs="vgg11").assign(width=99).to_csv(out_folder() / "fig2_digits_claims.csv", index=False)
    t = drawn(archs="vgg11", regime="st")
    assert set(t.regime) == {"st"}
    t = drawn(archs="vgg11", regime="at")
    t.assign(norm="l2", per_class="500").to_csv(out_folder() / "fig6_claims.csv", index=False)
    assert 15 not in set(verdicts.merge(out_folder()).claim)
    (readme := tmp_path / "README.md").write_text(2 * "<!-- claims -->\n" + "<!-- /claims -->\n")
    with pytest.raises(ValueError, match="once each"): verdicts.write_readme(out_folder(), readme)
    row = dict(claim=7, text="t", dataset="digits", norm="linf", regime="at", per_class="30", epochs=9, value=0.5, verdict="holds", test="")
    two = pd.DataFrame([row | dict(arch="vgg11", seeds="1", agree=1), row | dict(arch="preact_resnet18", seeds="1 2 3", agree=3)])
    assert "1 seed |" in verdicts.markdown(two).splitlines()[2]

def test_the_loss_of_trades_has_the_beta_of_its_runs(monkeypatch):
    figure, seen = figures.Figure("fig4", "trades", archs="vgg11", scale="quick", source="published"), []
    for r in figure.runs: object.__setattr__(r.c, "beta", 3.0)
    monkeypatch.setattr(verdicts, "Evidence", lambda t, C, beta=None: seen.append(beta) or Evidence(t, C))
    verdicts.rows(figure, figures.table(figure))
    assert set(seen) == {3.0}

def test_a_table_of_verdicts_has_its_columns(tmp_path, monkeypatch, capsys):
    "One that lacks any of those that are asked for is damaged: named where all are needed, else set aside."
    monkeypatch.setenv("NC_ROBUST_OUT", str(tmp_path))
    figure = figures.Figure("fig2", regime="st", archs="vgg11", scale="quick", source="published")
    t, path = figures.table(figure), tmp_path / "fig2_digits_claims.csv"
    verdicts.report(figure, t); found = pd.read_csv(path)
    for lacking in ("claim", "dataset", "regime", "arch", "verdict", "runs"):
        found.drop(columns=lacking).to_csv(path, index=False)
        with pytest.raises(ValueError, match=rf"damaged \(no column {lacking}\); draw its"): verdicts.merge(tmp_path)
        verdicts.report(figure, t)
        assert f"damaged (no column {lacking}); set aside" in capsys.readouterr().out and pd.read_csv(path).equals(found)
    found.drop(columns="seeds").to_csv(path, index=False); verdicts.report(figure, t)                   # as of another version
    assert pd.read_csv(path).equals(found) and "damaged" not in capsys.readouterr().out
