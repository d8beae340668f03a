"""One treated unit, arms without overlap, folds that cannot be: what is told, and what to do."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.data import FoldError

N = 40
SURFACE = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0] + 2], 1))
X = np.random.default_rng(0).normal(size=(N, 2))


def with_treated(count):
    t = np.isin(np.arange(N), np.argsort(np.abs(X).max(1))[:count])  # in the midst of the others
    return jc.Sample(X, t, X[:, 0] + 2 * t)


def apart():
    """Every treated unit lies 9 above the controls in x0; the other covariate overlaps."""
    t = np.arange(N) % 2 == 1
    x = X + 9 * np.stack([t, np.zeros(N)], 1)
    return jc.Sample(x, t, x[:, 0] + 2 * t)


def test_one_treated_unit_has_its_effect():
    sample = with_treated(1)
    effects = jc.estimate(sample, jc.AHB(outcome=SURFACE), folds=1)
    assert float(effects.att) == pytest.approx(2, abs=1e-5)
    assert "ATT (matched 1 of 1): 2" in effects.summary()
    with pytest.raises(ValueError, match="there is 1 treated unit, .*: give more treated units[.]"):
        jc.interval(effects, jc.AbadieImbens())


@pytest.mark.parametrize("folds", [2, 3])
@pytest.mark.parametrize("verb", ["AHB", "AIPW", "EffectKMeans"])
def test_folds_that_cannot_be_are_refused_without_a_circle(verb, folds):
    """Fewer folds are no advice where two cannot be, since one is refused for want of a second."""
    sample, model = with_treated(1), jc.Ridge()
    calls = {
        "AHB": lambda: jc.estimate(sample, jc.AHB(outcome=model), folds=folds, key=0),
        "AIPW": lambda: jc.estimate(sample, jc.AIPW(outcome=model), folds=folds, key=0),
        "EffectKMeans": lambda: jc.allocation.group(
            sample, jc.allocation.EffectKMeans(model, 4, folds=folds), key=0
        ),
    }
    with pytest.raises(jc.DataError, match="there is 1 in all: .* on other rows") as told:
        calls[verb]()
    assert "fewer folds" not in str(told.value) and "at most" not in str(told.value)


def test_the_number_of_folds_that_can_be_is_told():
    sample, method = with_treated(3), jc.AHB(outcome=jc.Ridge())
    with pytest.raises(jc.DataError, match="fold 4 of 5 holds .* 0 treated .*: use at most 3 fold"):
        jc.estimate(sample, method, folds=5, key=0)
    assert jc.estimate(sample, method, folds=3, key=0).share_matched == 1
    with pytest.raises(jc.HonestyError, match="at least 2 folds, or a surface trained on other"):
        jc.estimate(sample, method, folds=1, key=0)
    words = "there are no treated outside .*there is 1 in all: give more rows of that arm[.]$"
    with pytest.raises(jc.DataError, match=words):
        jc.allocation.group(with_treated(1), jc.allocation.PropensityStrata(), key=0)


def test_clusters_that_leave_a_fold_without_an_arm_are_not_blamed_on_their_number():
    sample = draw_sample(0, n=40)
    t, cluster = np.arange(40) < 20, np.arange(40) // 20
    sample = jc.Sample(sample.points, t, np.asarray(sample.y), cluster=cluster)
    words = "in one cluster, which is never divided, so that no key helps: give smaller clusters"
    with pytest.raises(jc.DataError, match=words):
        jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    with pytest.raises(jc.DataError, match=words):
        jc.split(sample, key=0)
    for folds, advice in (
        (2, "try another key, or give smaller clusters"),
        (5, "use at most 3 folds"),
    ):
        assert str(FoldError("no", 20, folds, clusters=3)) == f"no: {advice}."


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (lambda t: np.where(t, "new", "old"), "'school' is one label for all treated and one for"),
        (lambda t: np.full(t.size, "north"), "'school' is 'north' in all 20 rows: a cluster is"),
    ],
)
def test_a_column_that_deals_no_folds_is_named(label, words):
    rng = np.random.default_rng(0)
    t = np.arange(20) % 2
    frame = pd.DataFrame(dict(t=t, y=rng.normal(size=20), a=rng.normal(size=20), school=label(t)))
    with pytest.raises(jc.DataError, match=f"{words}.*no key deals"):
        jc.Sample.from_frame(frame, treatment="t", outcome="y", cluster="school")


@pytest.mark.parametrize("method", [jc.AHB, pytest.param(jc.FastAHB, marks=pytest.mark.extended)])
@pytest.mark.parametrize("adjust", ["auto", pytest.param(jc.Ridge(), marks=pytest.mark.extended)])
def test_chosen_rows_may_be_of_both_arms(method, adjust):
    """Rows of the other arm get the effects that they have when both arms are asked for."""
    sample = draw_sample(1, n=60)
    mask = np.arange(60) % 3 == 0
    assert np.unique(np.asarray(sample.t)[mask]).size == 2
    mixed = jc.estimate(sample, method(outcome=jc.Ridge()), key=0, query=mask, adjust=adjust)
    every = jc.estimate(
        sample, method(outcome=jc.Ridge()), key=0, query=mask, adjust=adjust, estimand="ate"
    )
    assert bool(np.asarray(mixed.matching.matched).all())
    np.testing.assert_allclose(mixed.ite, every.ite, rtol=1e-5)


def test_an_average_over_an_arm_that_was_not_asked_for_says_so():
    sample = draw_sample(1, n=60)
    controls = np.flatnonzero(~np.asarray(sample.t))
    found = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0, query=controls)
    with pytest.raises(ValueError, match="none was asked for: .*treated rows in query="):
        _ = found.average


def test_a_split_that_cannot_be_says_so():
    with pytest.raises(jc.DataError, match="there is one in all; train a surface on other rows"):
        jc.split(with_treated(1), key=0)
    with pytest.raises(jc.DataError, match="another train_size than 0.01"):
        jc.split(with_treated(4), train_size=0.01, key=0)


@pytest.mark.parametrize("as_matching", [False, pytest.param(True, marks=pytest.mark.extended)])
def test_arms_without_overlap_are_told(as_matching):
    sample = apart()
    words = "no overlap: all 20 matched treated lie outside the values of 'x0' that .* model alone"
    method, options = jc.AHB(outcome=SURFACE), dict(folds=1)
    if as_matching:
        method, options = jc.match(sample, jc.AHB(), surface=SURFACE), dict(adjust=SURFACE)
    with pytest.warns(UserWarning, match=words):
        effects = jc.estimate(sample, method, **options)
    said = effects.summary()
    c = np.asarray(effects.contributions, float)[~np.asarray(sample.t)]
    size = c.sum() ** 2 / (c @ c)
    assert size < 20
    arm = "control" if size < 1.5 else "controls"
    assert f"ATT (matched 20 of 20 to {size:.0f} effective {arm}): 2" in said
    assert "20 treated lie outside" in said
    assert "nobody is left to compare on common support" in said and "leaves them out" not in said


def test_a_common_support_of_nobody_is_refused():
    with pytest.raises(jc.MatchError, match="none of the 20 queries has a match: left out by supp"):
        jc.estimate(apart(), jc.AHB(outcome=SURFACE), folds=1, support="common")
    matching = jc.match(apart(), jc.AHB(), surface=SURFACE)
    with pytest.raises(jc.MatchError, match="none of the 20 queries"):
        jc.estimate(apart(), matching, support="common")


@pytest.mark.extended
@pytest.mark.filterwarnings("error:no overlap")
def test_arms_that_overlap_are_not_warned_of():
    sample = with_treated(12)
    said = jc.estimate(sample, jc.AHB(outcome=SURFACE), folds=1).summary()
    assert "no overlap" not in said


def test_no_message_of_the_library_speaks_of_the_command():
    """A panel's text treatment is told in the words of the library."""
    frame = dict(u=list("aabb"), w=[1, 2, 1, 2], y=[1.0, 2.0, 3.0, 5.0], law=["no"] * 3 + ["yes"])
    import pandas

    roles = dict(unit="u", time="w", outcome="y", treatment="law")
    with pytest.raises(jc.DataError, match="treatment 'law'") as told:
        jc.Panel.from_frame(pandas.DataFrame(frame), **roles)
    assert "--treated" not in str(told.value)
