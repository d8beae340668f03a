"""Bayesian additive regression trees (bartz), one sum of trees per arm."""

import functools
import importlib
import os
import warnings
from types import ModuleType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt

from jcausal.data import DataError, Sample, Trained, bucket, pad_rows, trained_on
from jcausal.surfaces._chains import split_rhat
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._surface import Arms, Noise, OutcomeModel, without_training
from jcausal.surfaces.tree_sums import TreeSum, TreeSumSurface, from_heaps


class Posterior(eqx.Module):
    """The kept draws of one arm: b draws of t trees as heaps of h inner slots and l leaves.

    - `var` (b, t, h), `cut` (b, t, h): feature of each slot, and the first bin that goes right.
    - `leaf` (b, t, l): values of the leaves.
    - `cuts` (f, c): cut points of each feature, ended with +inf.
    - `offset`: what is added to the trees.
    - `noise` (chains, s): the noise's standard deviation at each kept step.
    """

    var: UInt[np.ndarray, "b t h"]
    cut: UInt[np.ndarray, "b t h"]
    leaf: Float[np.ndarray, "b t l"]
    cuts: Float[np.ndarray, "f c"]
    offset: float
    noise: Float[np.ndarray, "chains s"]

    def mean(self) -> TreeSum:
        """The posterior mean as one sum of trees."""
        draws, count, slots = self.var.shape
        flat = from_heaps(
            self.var.reshape(-1, slots),
            self.cut.reshape(-1, slots),
            self.leaf.reshape(draws * count, -1) / draws,
        )
        return TreeSum(flat, self.cuts, self.offset)


class BARTSurface(TreeSumSurface):
    """Posterior means of two sums of trees. Made by `jc.fit(sample, jc.BART(), key=0)`.

    `posterior` holds the thinned draws of each arm for intervals and `rhat`; `noise` is the
    posterior mean of the noise variance by arm, in squared outcome units.
    """

    control: TreeSum | None
    treated: TreeSum | None
    noise: Noise
    posterior: tuple[Posterior | None, Posterior | None] | None
    encoding: Encoding
    trained: Trained | None

    def lean(self) -> "BARTSurface":
        """The posterior means alone."""
        without = eqx.tree_at(
            lambda s: s.posterior, self, None, is_leaf=lambda leaf: leaf is self.posterior
        )
        return without_training(without)

    @property
    def chains(self) -> int:
        """Number of Markov chains."""
        return next(p.noise.shape[0] for p in self._kept if p is not None)

    @property
    def rhat(self) -> Float[np.ndarray, " 2"]:
        """Split R-hat of the noise's standard deviation by arm (NaN where none was fitted)."""
        return np.array([np.nan if p is None else split_rhat(p.noise) for p in self._kept])

    @property
    def _kept(self) -> tuple[Posterior | None, Posterior | None]:
        if self.posterior is None:
            raise ValueError("this surface was made lean: its posterior draws are gone.")
        return self.posterior

    def draws(self, x: Float[Array, "m p"]) -> Float32[Array, "b m 2"]:
        """f0 and f1 at each point under every kept draw of the posterior.

        The draws of the two arms are independent; NaN where an arm was not fitted.
        """
        features = self.encoding(jnp.asarray(x))
        known = next(p for p in self._kept if p is not None)
        missing = jnp.full((known.var.shape[0], x.shape[0]), jnp.nan, jnp.float32)
        columns = [missing if p is None else evaluate_draws(p, features) for p in self._kept]
        return jnp.stack(columns, axis=2)


class TreeRows(NamedTuple):
    """Rows to fit trees on: `features` (r, f), outcomes `y` (r,) and sampling weights (r,)."""

    features: Float32[np.ndarray, "r f"]
    y: Float[np.ndarray, " r"]
    weight: Float[np.ndarray, " r"]


class BART(OutcomeModel):
    """Bayesian additive regression trees by bartz, f0 and f1 fitted apart.

    The surface is the posterior mean over the kept draws, evaluated exactly: trees that split
    alike are merged and added up in tables, those on three to six features by feature set.

    **Arguments:** `trees` in the sum; `chains`; `burn` steps thrown away in each chain; `draws`
    kept in each chain, one of every `thin` steps; `max_bins` cut points and one per covariate;
    `k`, `power`, `base` the prior as in the source. Sampling weights enter as precisions.

    **Source:** Chipman, George and McCulloch (2010), Annals of Applied Statistics 4(1).
    """

    trees: int = 200
    chains: int = 4
    burn: int = 250
    draws: int = 50
    thin: int = 5
    max_bins: int = 256
    k: float = 2.0
    power: float = 2.0
    base: float = 0.95
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        for name in ("trees", "chains", "draws", "thin"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.burn < 0 or not 2 <= self.max_bins <= 32_767:
            raise ValueError("burn must not be negative and max_bins lie in 2 to 32,767.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> BARTSurface:
        """Sample both posteriors, each on the rows of its arm."""
        assert key is not None
        encoding = Encoding(sample.schema)
        features = np.asarray(encoding(sample.x), np.float32)
        arm, valid = np.asarray(sample.t), np.asarray(sample.valid & (sample.weight > 0))
        wanted = {"both": (0, 1), "control": (0,), "treated": (1,)}[arms]
        columns = np.asarray(sample.y, np.float64), np.asarray(sample.weight)
        cuts = cut_points(features, self.max_bins)
        kept: list[Posterior | None] = [None, None]
        for a in wanted:
            rows = np.flatnonzero(valid & (arm == a))
            if rows.size < 2:
                raise DataError(
                    f"there are {rows.size} {'treated' if a else 'control'} rows to fit trees on: "
                    "give at least 2."
                )
            of_arm = jax.random.fold_in(key, a)
            kept[a] = self.posterior(
                TreeRows(features[rows], *(column[rows] for column in columns)), cuts, of_arm
            )
        means = [None if p is None else p.mean() for p in kept]
        used = np.flatnonzero(valid & np.isin(arm, wanted))
        noise = np.array([np.nan if p is None else np.square(p.noise).mean() for p in kept])
        return BARTSurface(
            control=means[0],
            treated=means[1],
            noise=noise,
            posterior=(kept[0], kept[1]),
            encoding=encoding,
            trained=trained_on(sample, used),
        )

    def posterior(
        self, rows: TreeRows, cuts: Float32[np.ndarray, "f c"], key: PRNGKeyArray
    ) -> Posterior:
        """Run bartz on some rows; outcomes are standardised for it and put back after.

        Rows are padded to a bucketed size with missing outcomes, so that near sizes share a trace.

        **Arguments:** `rows`; `cuts`, as `cut_points` gives them; `key`.

        **Returns:** the kept draws.
        """
        features, y, weight = rows
        centre, scale = y.mean(), y.std() or 1.0
        even, size = (weight == weight[0]).all(), bucket(y.size)
        precision = np.ones(size) if even else pad_rows(weight / weight.mean(), size, 1.0)
        with jax.enable_x64(False):  # bartz works in float32 and refuses wider integers
            fitted = bartz_module().Bart(
                pad_rows(features, size).T,
                pad_rows((y - centre) / scale, size).astype(np.float32),
                missing=np.arange(size) >= y.size,
                binner=functools.partial(
                    bartz_module().prepcovars.GivenSplitsBinner, xinfo=nan_ended(cuts)
                ),
                error_scale=None if even else (precision**-0.5).astype(np.float32),
                num_trees=self.trees,
                num_chains=self.chains,
                num_chain_devices=None,
                n_burn=self.burn,
                n_save=self.draws,
                n_skip=self.thin,
                k=self.k,
                power=self.power,
                base=self.base,
                printevery=None,
                run_mcmc_kw=dict(inner_loop_length=100),
                seed=key,
            )
            return as_posterior(fitted, cuts, centre, scale, self.chains)


def as_posterior(
    fitted: Any, cuts: np.ndarray, centre: float, scale: float, chains: int
) -> Posterior:
    """The trace of a fitted `bartz.Bart` in outcome units (its one private name is read here)."""
    noise = np.asarray(fitted.get_error_sdev()).reshape(chains, -1) * scale
    return from_trace(fitted._main_trace, noise, cuts, centre, scale)


def from_trace(
    trace: Any, noise: np.ndarray, cuts: np.ndarray, centre: float, scale: float
) -> Posterior:
    """The trees of a trace of bartz, of outcomes standardised by `centre` and `scale`."""
    shape = (-1, *trace.var_tree.shape[-2:])
    leaf = np.asarray(trace.leaf_tree, np.float32).reshape(-1, *trace.leaf_tree.shape[-2:])
    return Posterior(
        var=np.asarray(trace.var_tree).reshape(shape),
        cut=np.asarray(trace.split_tree).reshape(shape),
        leaf=leaf * np.float32(scale) * np.float32(trace.leaf_unit),
        cuts=cuts,
        offset=float(centre + scale * float(trace.offset)),
        noise=noise,
    )


def bartz_module() -> ModuleType:
    """Import bartz when first needed, also after the GPU back end has started."""
    try:
        return importlib.import_module("bartz")
    except RuntimeError as error:
        if "XLA_FLAGS" not in str(error):
            raise
    warnings.warn(
        "this jax has slow scatters on the GPU and was started before bartz could mend them: "
        "BART will be slower. Import bartz before using jax, or use another jax.",
        stacklevel=5,
    )
    os.environ["BARTZ_SKIP_XLA_WORKAROUND"] = "1"
    try:
        return importlib.import_module("bartz")
    finally:
        del os.environ["BARTZ_SKIP_XLA_WORKAROUND"]


def cut_points(features: Float32[np.ndarray, "n f"], max_bins: int) -> Float32[np.ndarray, "f c"]:
    """Midpoints of each feature's distinct values, thinned evenly, ended with +inf."""
    columns = []
    for column in features.T:
        values = np.unique(column)
        middle = values[:-1] + (values[1:] - values[:-1]) / 2
        if len(middle) >= max_bins:
            middle = middle[np.linspace(0, len(middle) - 1, max_bins - 1).round().astype(int)]
        columns.append(middle)
    width = max(1, *(len(c) for c in columns))
    return np.stack([np.pad(c, (0, width - len(c)), constant_values=np.inf) for c in columns])


def nan_ended(cuts: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(cuts), cuts, np.nan).astype(np.float32)


@eqx.filter_jit
def evaluate_draws(posterior: Posterior, features: Float[Array, "m f"]) -> Float32[Array, "b m"]:
    """Walk the trees of one draw after the other: (b, m)."""
    every = jnp.asarray(posterior.cuts, jnp.float32)
    bins = jax.vmap(functools.partial(jnp.searchsorted, side="left"), in_axes=(0, 1), out_axes=1)(
        every, features.astype(jnp.float32)
    )
    slots = posterior.var.shape[2]

    def one(draw: tuple[Array, Array, Array]) -> Array:
        var, cut, leaf = draw
        tree = jnp.arange(var.shape[0])
        at = jnp.ones((bins.shape[0], var.shape[0]), jnp.int32)
        for _ in range(slots.bit_length() - 1):
            inside = jnp.minimum(at, slots - 1)
            rule = jnp.where(at < slots, cut[tree, inside].astype(jnp.int32), 0)
            right = jnp.take_along_axis(bins, var[tree, inside].astype(jnp.int32), 1) >= rule
            at = jnp.where(rule > 0, 2 * at + right, at)
        return leaf[tree, at].sum(1)

    trees = (jnp.asarray(posterior.var), jnp.asarray(posterior.cut), jnp.asarray(posterior.leaf))
    return lax.map(one, trees) + posterior.offset
