"""The M5 tree: hyperparameters, and prepare / core / finish around the growth."""

import warnings
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jcausal.data import DataError, Sample, is_traced
from jcausal.match.tree._grow import Rules, grow_on_host
from jcausal.match.tree._tree import Tree, scale_of
from jcausal.outcome._surface import Arms, Encoding, OutcomeModel, trained_on

Search = Literal["best", "first_passing"]
Criterion = Literal["adjusted_r2", "residual_variance"]


class TreeWarning(UserWarning):
    """A tree stayed a single leaf."""


class M5Tree(OutcomeModel):
    """A tree of linear regressions, grown on the controls only."""

    min_controls: int | None = eqx.field(static=True, default=None)
    max_depth: int = eqx.field(static=True, default=30)
    split_search: Search = eqx.field(static=True, default="first_passing")
    criterion: Criterion = eqx.field(static=True, default="adjusted_r2")
    bins: int | None = eqx.field(static=True, default=None)
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=False)

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> Tree:
        """Grow the tree and fit its leaves."""
        assert sample.y is not None
        encoding = Encoding(sample.schema)
        features = encoding(sample.x)
        use = np.asarray(sample.valid & ~sample.t & (sample.weight > 0))
        rows = np.flatnonzero(use)
        if not rows.size:
            raise DataError("there is no control row of positive weight to grow a tree on.")
        free = int(len(sample.schema.ordered)) + sum(
            len(sample.schema.levels[j]) - 1 for j in sample.schema.categories
        )
        least = 2 * (free + 1) if self.min_controls is None else self.min_controls
        rules = Rules(least, self.max_depth, self.split_search, self.criterion, free)
        nodes, fits = grow_on_host(
            np.asarray(features, float)[rows],
            np.asarray(sample.y, float)[rows],
            np.asarray(sample.weight, float)[rows],
            rules,
            sample.x.dtype,
        )
        sigma = np.asarray(fits.sigma2, float)
        known = ~np.isnan(sigma)
        weight = np.asarray(fits.weight, float)
        pooled = np.average(sigma[known], weights=weight[known]) if known.any() else np.nan
        tree = Tree(
            nodes=nodes,
            fits=fits,
            treated=jnp.zeros(fits.level.shape[0], jnp.int32),
            scale=scale_of(features, sample.valid),
            noise=np.array([pooled, np.nan]),
            encoding=encoding,
            trained=trained_on(sample, rows),
            schema=sample.schema,
        )
        leaf = np.asarray(tree.leaf(sample.x))[np.asarray(sample.valid & sample.t)]
        treated = jnp.asarray(np.bincount(leaf, minlength=tree.leaves).astype(np.int32))
        return eqx.tree_at(lambda t: t.treated, tree, treated)
