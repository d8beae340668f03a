"""Strata: sums, their adjoint, sizes and words against a brute force; overlapping strata too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample

import jcausal as jc
from jcausal.matching.strata._strata import strata_of

N, S = 40, 6
pytestmark = pytest.mark.x64


def random_strata(seed, overlap=False):
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 3, N).astype(float)
    sample = draw_sample(seed, n=N, p=2, id=np.arange(N) + 100, weight=np.maximum(weight, 0.5))
    rows, label = np.arange(N), rng.integers(-1, S, N)
    if overlap:  # every unit twice, in strata of its own for each time
        rows, label = np.tile(rows, 2), np.concatenate([label // 2, S // 2 + abs(label) // 2])
    fields = strata_of(label, rows, S)
    query = np.flatnonzero(sample.t)
    place = rng.integers(-1, S, query.size)
    status = np.where(place < 0, jc.matching.code(jc.RESULTS.no_stratum_partner), 0)
    return jc.matching.Strata(
        sample=sample,
        fold=jnp.zeros(N, jnp.int32),
        query=jnp.asarray(query),
        query_fold=jnp.zeros(query.size, jnp.int32),
        status=jnp.asarray(status, jnp.int32),
        place=jnp.asarray(place, jnp.int32),
        estimand="att",
        **fields,
    )


def brute(strata, power):
    """The weight of every unit in every query's group, (q, 2, n)."""
    t, weight = np.asarray(strata.sample.t), np.asarray(strata.sample.weight, float)
    out = np.zeros((len(strata.query), 2, N))
    for i, place in enumerate(np.asarray(strata.place)):
        for row, stratum in zip(np.asarray(strata.rows), np.asarray(strata.stratum)):
            if place >= 0 and stratum == place:
                out[i, int(t[row]), row] += weight[row] ** power
    return out


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_sums_and_their_adjoint(overlap, power):
    strata, rng = random_strata(1, overlap), np.random.default_rng(0)
    weight = brute(strata, power)
    values = rng.normal(size=(N, 3)).astype(strata.sample.x.dtype)
    shares = rng.normal(size=(len(strata.query), 2)).astype(strata.sample.x.dtype)
    sums, scatter = weight @ values, np.einsum("qan,qa->n", weight, shares)
    close(strata.sums(jnp.asarray(values), power), sums, rtol=1e-4, atol=1e-5)
    close(strata.scatter(jnp.asarray(shares), power), scatter, rtol=1e-4, atol=1e-5)
    traced = jax.jit(lambda s, v, c: (s.sums(v, power), s.scatter(c, power), s.sizes))
    one, two, sizes = traced(strata, values, shares)
    close(one, sums, rtol=1e-4, atol=1e-5)
    close(two, scatter, rtol=1e-4, atol=1e-5)
    count = (weight > 0).sum(2)
    assert (np.asarray(strata.sizes) == count).all() and (np.asarray(sizes) == count).all()


def test_groups_words_and_labels():
    strata = random_strata(2)
    weight = brute(strata, 1)
    for i in range(len(strata.query)):
        rows, own = strata.group(i)
        assert set(rows) == set(np.flatnonzero(weight[i].sum(0)))
        t = np.asarray(strata.sample.t)[rows]
        for arm in (False, True):
            if (t == arm).any():
                close(own[t == arm].sum(), 1)
    label = np.asarray(strata.strata)
    for row, stratum in zip(np.asarray(strata.rows), np.asarray(strata.stratum)):
        assert label[row] == stratum
    held = int(np.flatnonzero(np.asarray(strata.matched))[0])
    assert strata.describe(held).startswith(f"stratum {int(strata.place[held])}: ")
    lost = int(np.flatnonzero(~np.asarray(strata.matched))[0])
    assert "its stratum holds no unit of the other arm" in strata.describe(lost)
    frame = strata.strata_frame()
    assert frame["queries"].sum() == int(strata.matched.sum())
    with pytest.raises(ValueError, match="in several of these strata"):
        assert random_strata(1, overlap=True).strata is None


def test_the_weights_are_those_of_coarsened_exact_matching():
    strata = random_strata(3)
    found = np.asarray(strata.matched_weights())
    weight, label = np.asarray(strata.sample.weight, float), np.asarray(strata.strata)
    t, wanted = np.asarray(strata.sample.t), np.zeros(N)
    sizes = np.asarray(strata.sizes)
    for i, row in enumerate(np.asarray(strata.query)):
        if strata.matched[i]:
            wanted[row] += weight[row]
            if sizes[i, 0]:
                mine = (label == int(strata.place[i])) & ~t
                wanted[mine] += weight[row] * weight[mine] / weight[mine].sum()
    close(found, wanted, rtol=1e-4, atol=1e-5)


def test_entries_that_cannot_be_are_refused():
    strata = random_strata(4)
    fields = {name: getattr(strata, name) for name in strata.__dataclass_fields__}
    turned = fields | dict(stratum=strata.stratum[::-1])
    with pytest.raises(ValueError, match="rising order"):
        jc.matching.Strata(**turned)
    with pytest.raises(ValueError, match="beyond the last, 5"):
        jc.matching.Strata(**(fields | dict(place=strata.place + S)))
    with pytest.raises(ValueError, match="of another fold"):
        jc.matching.Strata(**(fields | dict(query_fold=strata.query_fold + 1)))
