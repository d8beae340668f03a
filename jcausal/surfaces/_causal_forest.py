"""Bayesian causal forests: bartz's chains for a prognostic and an effect forest."""

from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, PRNGKeyArray

from jcausal.surfaces._bart import Posterior, TreeRows, bartz_module, from_trace, nan_ended

DEPTH, EFFECT_DEPTH = 6, 5  # levels of a tree, its root counted
SPLITS, EFFECT_SPLITS = (0.95, 2.0), (0.25, 3.0)  # base and power of the chance to split
LEAST_LEAF = 5  # units
NOISE_DF = 3.0
STEPS_AT_ONCE = 100  # between two looks at Ctrl-C


class CausalForestAsk(NamedTuple):
    """How a causal forest is drawn.

    - `trees`, `effect_trees`: in the prognostic forest and in that of the effect.
    - `chains`; `burn` steps thrown away in each; `draws` kept in each, one of every `thin` steps.
    - `k`, `effect_k`: each forest's prior sd is half the outcome's range divided by it.
    """

    trees: int
    effect_trees: int
    chains: int
    burn: int
    draws: int
    thin: int
    k: float
    effect_k: float


class CausalForestDraws(NamedTuple):
    """Draws in the outcome's units.

    - `effect`: trees of the effect; `level` (b,): what is added to them in every draw.
    """

    effect: Posterior
    level: Float32[np.ndarray, " b"]


def sample_causal_forest(
    rows: TreeRows,
    treated: Bool[np.ndarray, " r"],
    cuts: tuple[Float32[np.ndarray, "f c"], Bool[np.ndarray, " f"]],
    ask: CausalForestAsk,
    key: PRNGKeyArray,
) -> CausalForestDraws:
    """Draw y = mu(x) + (level + tau(x)) t + noise; the weights of the rows are not used.

    **Arguments:** `cuts`: the cut points of every feature, as `cut_points` gives them, and which
    features the effect may split on.

    **Source:** Hahn, Murray and Carvalho (2020), Bayesian Analysis 15(3). The sampler is bartz's,
    of which two private modules are used: its class keeps every step and trees of ten levels.
    """
    centre, scale = rows.y.mean(), rows.y.std() or 1.0
    y = ((rows.y - centre) / scale).astype(np.float32)
    with jax.enable_x64(False):  # bartz works in float32 and refuses wider integers
        start = _start(rows.features, y, treated, cuts, ask)  # imports bartz, with its warnings
        loop = import_module("bartz.bcf._loop")
        found = import_module("bartz.mcmcloop").run_mcmc(
            key,
            start,
            ask.draws,
            n_burn=ask.burn,
            n_skip=ask.thin,
            inner_loop_length=STEPS_AT_ONCE,
            step=loop.bcf_step,
            burnin_trace_type=loop.BCFBurninTrace,
            main_trace_type=loop.BCFMainTrace,
        )
        trace = found.main_trace
        noise = scale / np.sqrt(np.asarray(trace.mu.error_cov_inv, np.float64))
        effect = from_trace(trace.tau, noise, cuts[0], 0.0, scale)
        return CausalForestDraws(effect, np.asarray(trace.tau_0).reshape(-1) * np.float32(scale))


def _start(
    features: Float32[np.ndarray, "r f"],
    y: Float32[np.ndarray, " r"],
    treated: Bool[np.ndarray, " r"],
    cuts: tuple[Float32[np.ndarray, "f c"], Bool[np.ndarray, " f"]],
    ask: CausalForestAsk,
) -> Any:
    """The state before the first step: trees without splits."""
    bartz, wishart = bartz_module(), import_module("bartz.mcmcstep").Wishart
    binner = bartz.prepcovars.GivenSplitsBinner(
        features.T, xinfo=nan_ended(cuts[0]), key=jax.random.key(0)
    )
    most = np.asarray(binner.max_split)
    effect_most = np.where(cuts[1], most, 0).astype(most.dtype)
    half = float(y.max() - y.min()) / 2
    own, of_effect = (
        count * (k / half) ** 2
        for count, k in ((ask.trees, ask.k), (ask.effect_trees, ask.effect_k))
    )
    return import_module("bartz.bcf._state").init_bcf(
        X_unified=binner.bin(features.T),
        trt=jax.device_put(treated),
        y=jax.device_put(y),
        offset=jax.device_put(np.float32(0)),
        max_split_mu=jax.device_put(most),
        max_split_tau=jax.device_put(effect_most),
        num_trees_mu=ask.trees,
        num_trees_tau=ask.effect_trees,
        p_nonterminal_mu=_splitting(DEPTH, *SPLITS),
        p_nonterminal_tau=_splitting(EFFECT_DEPTH, *EFFECT_SPLITS),
        leaf_prior_cov_inv_mu=wishart(nu=6.0, rate=2.0 / ask.trees, value=own),
        leaf_prior_cov_inv_tau=wishart(nu=None, rate=None, value=of_effect),
        min_points_per_leaf_mu=LEAST_LEAF,
        min_points_per_leaf_tau=LEAST_LEAF,
        filter_splitless_vars_mu=int((most == 0).sum()),
        filter_splitless_vars_tau=int((effect_most == 0).sum()),
        error_cov_inv=wishart(nu=NOISE_DF, rate=NOISE_DF, value=1.0),
        num_chains=ask.chains,
    )


def _splitting(depth: int, base: float, power: float) -> Float32[np.ndarray, " d"]:
    """The chance to split at each level but the last."""
    return (base / (1 + np.arange(depth - 1)) ** power).astype(np.float32)
