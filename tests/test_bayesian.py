"""Effects by BART and BCF: against bartz by hand, quantiles, memory, words, known effects."""

import functools
import sys

import bartz
import jax
import numpy as np
import pandas as pd
import pytest
from conftest import close, shared

import jcausal as jc
from jcausal.data import as_key, step_key
from jcausal.effects.estimators.bayesian._bart_effect import that_split_on
from jcausal.surfaces import Posterior, cut_points, evaluate_draws, split_rhats
from jcausal.surfaces._bart import nan_ended

FEW = jc.BART(trees=10, chains=2, burn=20, draws=20, thin=1)
SMALL = jc.BARTEffect(bart=FEW)
FOREST = jc.BCF(trees=10, effect_trees=5, chains=2, burn=20, draws=20, thin=1)


def units(seed=0, n=96, treated=32, **options):
    """Arms of 64 and 32: bucketed sizes, so that nothing is padded."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = rng.permutation(np.arange(n) < treated)
    y = 5 + x[:, 0] + t * (1 + x[:, 1]) + 0.3 * rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


@pytest.fixture(scope="module")
def found():
    return jc.estimate(units(), SMALL, key=0)


def test_an_interval_and_a_page_of_the_posterior(found, tmp_path, unchecked):
    with pytest.raises(ValueError, match="BARTEffect brings its own interval"):
        jc.interval(found, jc.Bootstrap(), key=0)
    page = jc.report(found, tmp_path / "report.html", method=SMALL).read_text(encoding="utf-8")
    assert "quantiles of the posterior" in page and "normal, from the influence" not in page
    assert "effective: how many" not in page and ">effective<" not in page


def chain_key():
    key = jax.random.fold_in(step_key(as_key(0, "estimate"), "estimate"), 0)
    return step_key(key, "fit")


def bartz_draws(x, y, at, key):
    """Draws of bartz at some points; the rows as they stand, outcomes standardised."""
    cuts = cut_points(np.concatenate(at).astype(np.float32), 256)
    y = np.asarray(y, np.float64)
    with jax.enable_x64(False):  # bartz refuses wider integers
        fitted = bartz.Bart(
            np.asarray(x, np.float32).T,
            ((y - y.mean()) / y.std()).astype(np.float32),
            missing=np.zeros(len(y), bool),
            binner=functools.partial(bartz.prepcovars.GivenSplitsBinner, xinfo=nan_ended(cuts)),
            num_trees=10,
            num_chains=2,
            num_chain_devices=None,
            n_burn=20,
            n_save=20,
            printevery=None,
            run_mcmc_kw=dict(inner_loop_length=100),
            seed=key,
        )
        points = [np.asarray(one, np.float32).T for one in at]
        drawn = [np.asarray(fitted.predict(one, kind="mean_samples")) for one in points]
    return [y.mean() + y.std() * one for one in drawn]


@pytest.mark.x64
def test_arms_apart_are_two_fits_of_bartz_with_their_keys(found):
    sample = units()
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    drawn = []
    for arm in (0, 1):
        rows = np.flatnonzero(t == arm)
        rows = rows[np.argsort(y[rows])]
        drawn += bartz_draws(x[rows], y[rows], [x], jax.random.fold_in(chain_key(), arm))
    tau = drawn[1] - drawn[0]
    close(found.posterior.units, tau, rtol=1e-3, atol=1e-3)
    average = tau[:, t].mean(1)
    close(found.average, average.mean(), rtol=1e-3)
    close(found.std_error, average.std(ddof=1), rtol=1e-3)
    for level in (0.5, 0.95):
        ends = [(1 - level) / 2, (1 + level) / 2]
        close(found.bounds(level), np.quantile(average, ends), rtol=1e-3, atol=1e-3)
        frame = found.units_frame(level)
        close(frame[["lower", "upper"]].to_numpy().T, np.quantile(tau, ends, axis=0), atol=2e-3)
        close(frame["ite"], tau.mean(0), atol=1e-3)


@pytest.mark.extended
@pytest.mark.x64
def test_arms_together_are_one_fit_of_bartz_with_the_treatment_as_a_covariate():
    sample = units(1)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    one = jc.estimate(sample, jc.BARTEffect(bart=FEW, arms="together"), key=0, estimand="ate")
    order = np.lexsort([y, t])
    at = [np.column_stack([x, np.full(96, arm)]) for arm in (0, 1)]
    f0, f1 = bartz_draws(np.column_stack([x, t])[order], y[order], at, chain_key())
    close(one.posterior.units, f1 - f0, rtol=1e-3, atol=1e-3)
    close(one.average, (f1 - f0).mean(), rtol=1e-3, atol=1e-4)
    alone = jc.BARTEffect(bart=FEW, arms="together")
    assert np.isfinite(jc.estimate(units(treated=1), alone, key=0).average)


def test_only_trees_that_split_on_the_treatment_are_kept():
    rng = np.random.default_rng(0)
    shape = 6, 9
    trees = Posterior(
        var=rng.integers(0, 3, (*shape, 4)).astype(np.uint8),
        cut=(rng.integers(0, 2, (*shape, 4)) * [0, 1, 1, 1]).astype(np.uint8),
        leaf=rng.normal(size=(*shape, 8)).astype(np.float32),
        cuts=np.array([[0.5, np.inf]] * 3, np.float32),
        offset=1.0,
        noise=np.ones((2, 3)),
    )
    fewer = that_split_on(trees, 2)
    assert fewer.var.shape[1] < 9
    x = rng.integers(0, 2, (20, 2))
    known = [np.column_stack([x, np.full(20, arm)]).astype(np.float32) for arm in (0, 1)]
    every, some = (
        np.subtract(*(np.asarray(evaluate_draws(one, z)) for z in known)) for one in (trees, fewer)
    )
    close(some, every, atol=1e-5)


@pytest.mark.extended
def test_averages_are_those_of_the_units_by_weight(found):
    weight = np.random.default_rng(1).uniform(0.5, 2, 96)
    for estimand, whose in (("att", 1), ("atc", 0), ("ate", None)):
        one = jc.estimate(units(weight=weight), SMALL, key=0, estimand=estimand)
        inside = weight * (np.ones(96) if whose is None else np.asarray(one.sample.t) == whose)
        drawn = np.asarray(one.posterior.units, np.float64) @ inside / inside.sum()
        close(np.asarray(one.posterior.average).ravel(), drawn, rtol=1e-5)
        close(one.average, drawn.mean(), rtol=1e-5)
    assert found.influence is None and found.effective is None
    assert (np.asarray(found.counts) == [64, 32]).all()


def test_draws_that_are_not_kept_are_made_anew_and_the_summary_says_so(found):
    lean = jc.estimate(units(), jc.BARTEffect(bart=FEW, max_bytes=5000), key=0)
    assert lean.posterior.units is None and found.posterior.units is not None
    close(lean.average, found.average, rtol=1e-5)
    close(lean.ite, found.ite, rtol=1e-5)
    one, two = (f.units_frame(0.8)[["lower", "upper"]].to_numpy() for f in (lean, found))
    close(one, two, rtol=1e-4, atol=1e-4)
    assert "are not kept (max_bytes)" in lean.summary()


@pytest.mark.parametrize("method", [SMALL, FOREST])
def test_new_points_get_the_units_own_numbers(method):
    sample = units(2)
    one = jc.estimate(sample, method, key=0)
    close(one.predict(sample.x[:5]), np.asarray(one.ite)[:5], rtol=1e-4, atol=1e-4)
    told, frame = one.predict_frame(np.asarray(sample.x)[:5], 0.8), one.units_frame(0.8)
    for here, there in (("effect", "ite"), ("lower", "lower"), ("upper", "upper")):
        close(told[here], frame[there][:5], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="runs on the host: predict outside"):
        jax.jit(lambda points: one.predict(points))(sample.x)
    with pytest.raises(jc.DataError, match="finite"):
        one.predict(np.full((1, 2), np.nan))


@pytest.mark.extended
def test_categories_gaps_padding_and_the_score():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(dict(a=rng.normal(size=96), c=rng.choice(list("uvw"), 96)))
    frame["t"] = rng.integers(0, 2, 96)
    frame["y"] = frame["a"] + (frame["c"] == "u") * frame["t"]
    frame.loc[:9, "a"] = np.nan
    read = dict(treatment="t", outcome="y", categorical=["c"], missing="indicator")
    sample = jc.Sample.from_frame(frame, **read)
    method = jc.BARTEffect(bart=FEW, arms="together", with_score=True)
    one = jc.estimate(sample, method, key=0)
    close(one.predict(frame.head(12)), np.asarray(one.ite)[:12], rtol=1e-4, atol=1e-4)
    less = sample.with_valid(jax.numpy.arange(96) < 90)
    one = jc.estimate(less, method, key=0)
    other = jc.estimate(sample.take(np.arange(90)), method, key=0)
    close(one.average, other.average, rtol=1e-4)
    assert len(one.units_frame()) == 90 and not np.asarray(one.ite)[90:].any()


def test_bad_input_is_one_sentence(found):
    sample = units()
    with pytest.raises(ValueError, match="BARTEffect draws at random: give key="):
        jc.estimate(sample, SMALL)
    one = units(treated=1)
    with pytest.raises(jc.DataError, match="there is 1 treated row to fit trees on"):
        jc.estimate(one, SMALL, key=0)
    flat = sample.with_outcome(np.ones(96))
    assert "beware: the outcome is 1 in all 96 rows" in jc.estimate(flat, SMALL, key=0).summary()
    with pytest.raises(jc.DataError, match="BCF: the outcome is 1 in all 96 rows"):
        jc.estimate(flat, FOREST, key=0)
    with pytest.raises(ValueError, match="draws is 1 in 1 chain"):
        jc.BARTEffect(bart=jc.BART(chains=1, draws=1))
    with pytest.raises(ValueError, match="effect_k is 0.0: it must be above 0"):
        jc.BCF(effect_k=0.0)
    with pytest.raises(ValueError, match="level"):
        found.units_frame(2)
    plain = jc.estimate(sample, jc.IPTW())
    with pytest.raises(ValueError, match="IPTW has no posterior and so no draws"):
        plain.to_arviz()


def test_the_summary_tells_of_the_chains(found):
    said = found.summary()
    assert "95% posterior interval" in said and "posterior of 2 chains of 20 draws: R-hat" in said
    drawn = np.asarray(found.posterior.average)
    apart = drawn + np.arange(2)[:, None] * 10 * drawn.std()
    assert float(split_rhats(apart[:, :, None])[0]) > 1.05
    mixed = jax.tree_util.tree_map(lambda a: a, found.posterior)
    object.__setattr__(mixed, "average", apart)
    assert any("the chains do not tell the same" in line for line in mixed.words())


def test_arviz_gets_the_draws(found, monkeypatch):
    arviz = pytest.importorskip("arviz")
    made = found.to_arviz().posterior
    close(made["average"], found.posterior.average)
    assert made["effect"].shape == (2, 20, 96) and made["sigma"].shape == (2, 20, 2)
    close(made["effect"].values.reshape(40, 96), found.posterior.units)
    assert hasattr(arviz, "summary")
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"jcausal\[arviz\]"):
        found.to_arviz()


def test_compare_has_a_row_of_it():
    table = jc.compare(units(), {"bart": SMALL}, key=0)
    assert table["note"][0] == "" and table["lower"][0] < table["estimate"][0] < table["upper"][0]
    assert np.isnan(table["effective_controls"][0])


@pytest.mark.extended
def test_bcf_agrees_with_the_class_of_bartz():
    from bartz.bcf import bcf

    sample = units(3, n=300, treated=120)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    score = np.asarray(jc.surfaces.propensity_scores(sample))
    theirs = bcf(x, y, t.astype(np.float32), pihat_train=score, num_trees_mu=50, num_trees_tau=20,
                 ndpost=300, nskip=300, num_chains=2, seed=0)  # fmt: skip
    tau = np.asarray(theirs.predict(x, pihat_test=score)["tau"])
    ours = jc.estimate(
        sample, jc.BCF(trees=50, effect_trees=20, chains=2, draws=300, burn=300, thin=1), key=0
    )
    sd = tau[:, t].mean(1).std()
    assert abs(float(ours.average) - tau[:, t].mean()) < 0.5 * sd
    assert 0.7 < float(ours.std_error) / sd < 1.4
    assert np.corrcoef(ours.ite, tau.mean(0))[0, 1] > 0.98
    spread = np.asarray(ours.posterior.units).std(0).mean() / tau.std(0).mean()
    assert 0.8 < spread < 1.25


@pytest.mark.extended
@pytest.mark.parametrize("method", [jc.BARTEffect(bart=jc.BART(trees=50)), jc.BCF(trees=50)])
def test_intervals_hold_the_truth_as_often_as_they_say(method):
    """20 runs: fewer than 15 of 20 happen to 95% intervals once in 40,000 times."""
    covered = []
    for seed in range(20):
        sample = units(seed, n=200, treated=80)
        x, t = np.asarray(sample.x), np.asarray(sample.t)
        low, high = jc.estimate(sample, method, key=seed).bounds()
        covered.append(float(low) <= (1 + x[t, 1]).mean() <= float(high))
    assert sum(covered) >= 15


@pytest.mark.extended
@pytest.mark.parametrize("method", [jc.BARTEffect(), jc.BCF()])
def test_ihdp(method):
    """The first six replications: errors of the average and of units, in the outcome's units."""
    files = shared("ihdp_covariates.csv"), shared("ihdp_npci_50_outcomes.csv.gz")
    errors, units_errors, covered = [], [], []
    for replication in range(1, 7):
        given = jc.datasets.ihdp(*files, replication=replication)
        one = jc.estimate(given.sample, method, key=0)
        t, truth = np.asarray(given.sample.t), np.asarray(given.ite)
        low, high = one.bounds()
        errors.append(abs(float(one.average) - truth[t].mean()))
        covered.append(float(low) <= truth[t].mean() <= float(high))
        units_errors.append(np.sqrt(np.square(np.asarray(one.ite) - truth).mean()))
    assert np.mean(errors) < 0.25 and np.mean(units_errors) < 1.2 and sum(covered) >= 4
