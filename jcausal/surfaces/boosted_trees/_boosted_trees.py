"""Gradient-boosted trees as a response surface, fitted and evaluated on the device."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Trained,
    bucket,
    deal,
    in_dtype,
    is_traced,
    pad_rows,
    row_draws,
    step_key,
    to_device,
    trained_on,
)
from jcausal.surfaces._encoding import Encoding, where_known
from jcausal.surfaces._quality import counted
from jcausal.surfaces._surface import (
    Arms,
    Noise,
    OutcomeModel,
    ResponseSurface,
    without_training,
)
from jcausal.surfaces.boosted_trees._binned_tree import BoostingSettings
from jcausal.surfaces.boosted_trees._boosting import (
    BoostedArm,
    BoostingRows,
    BoostingSizes,
    boost,
)
from jcausal.surfaces.boosted_trees._evaluation import boosted_lines, evaluate_boosted, splitting
from jcausal.surfaces.boosted_trees._levels import level_values

FEW = 2048  # rows: an arm of fewer is padded up to the other's size, so that both share a program
DENSE = 3  # points asked of a row, for each bin, from which whole lines are cheaper


class BoostedTreesSurface(ResponseSurface):
    """Boosted trees, each arm's perhaps on a line. Made by `jc.fit(sample, jc.BoostedTrees())`.

    `noise` (2,) is the mean squared residual of each arm, every row foretold by the member that
    did not see it, in squared outcome units.
    """

    arms: BoostedArm
    noise: Noise
    encoding: Encoding
    trained: Trained | None
    ordered: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both outcomes at each point; NaN in the column of an arm that was not fitted."""
        return _evaluate(self.lean(), x)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """Few points tree by tree, many from a table of all bins of each covariate."""
        return _along(self.lean(), centre, j, at)

    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """From what each level adds to the trees and to the line."""
        feature = self.encoding.features_of(column, level, centre)
        every = level_values(self.arms, self.encoding, centre, self.ordered)
        value = where_known(feature, jnp.take_along_axis(every, feature[:, :, None], 1))
        value = value.astype(centre.dtype)
        return value[:, :-1] - value[:, -1:]

    def all_level_changes(
        self,
        centre: Float[Array, "m p"],
        columns: Int[np.ndarray, " c"],
        heights: Int[np.ndarray, " c"],
    ) -> Float[Array, "m c l 2"]:
        """All at once: what each level adds is the same for every category that asks."""
        c, tallest = len(columns), int(max(heights))
        level = np.minimum(np.arange(tallest), heights[:, None] - 1)
        value = level_values(self.arms, self.encoding, centre, self.ordered).astype(centre.dtype)
        feature = jnp.asarray(self.encoding.of_level)[columns]
        every = feature[jnp.arange(c)[:, None], level]
        there = where_known(every, value[:, every])
        own = feature[jnp.arange(c), centre[:, columns].astype(jnp.int32)]
        here = where_known(own, jnp.take_along_axis(value, own[:, :, None], 1))
        return there - here[:, :, None]

    def sees(self, p: int) -> Bool[Array, " p"]:
        """The covariates that any tree splits on or that a line has a slope in."""
        sloped = (self.arms.slope != 0).any(0)
        seen = sloped.at[self.arms.trees.feature].max(jax.vmap(splitting)(self.arms))
        return self.encoding.covariates_of(seen)

    def lean(self) -> "BoostedTreesSurface":
        """Without the training rows."""
        return without_training(self)


class BoostedTrees(OutcomeModel):
    """Gradient-boosted regression trees: quick, flexible, no tuning needed.

    Each arm is fitted by itself. Its rows are dealt to `ensemble` folds (whole clusters where
    there are any), and member k is boosted on the rows outside fold k: f starts at the mean or at
    a ridge regression, and every round adds learning_rate times a tree that is fitted to the
    residuals of a random part of the rows. Members grow side by side, and stop together where
    the squared error of all rows, each foretold by the member that did not see it, is least. The
    same error chooses the start (a line where the truth is nearly one, which trees would turn
    into stairs and could not extend; the mean elsewhere) and is the `noise`. The surface is the
    members' mean. Features are binned at quantiles; a category has one feature per level. Draws
    follow a row's id or position: neither row order nor padding matters. Weights count by their
    ratios. Traceable: may run under jit and vmap; a gradient takes the trained surface as given.

    **Arguments:**

    - `ensemble`: number of members, and of folds; at least 2.
    - `rounds`: trees of a member, at most.
    - `depth`: of a tree, 1 to 6: splits on the way to a leaf, so the order of interactions.
    - `learning_rate`: in (0, 1].
    - `share`: of the rows drawn for each tree, in (0, 1]. Where there are over 32,768 rows, each
      tree has the next 32,768 of them in a random order instead.
    - `least`: units in a leaf, at least (in units of the mean weight).
    - `penalty`: at least 0; pulls the values of small leaves to 0, as that many units of residual
      0 would.
    - `patience`: rounds without a lower error before growth stops.
    - `bins`: of a feature, 2 to 256.

    **Raises:** ValueError for a hyperparameter out of its range.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> surface = jc.fit(train, jc.BoostedTrees(), key=0)
        >>> surface(test.x).shape
        (223, 2)

    **Source:** Friedman (2001), Annals of Statistics 29(5) (boosting, shrinkage); Friedman (2002),
    Computational Statistics & Data Analysis 38(4) (a random part of the rows for each tree).
    """

    ensemble: int = eqx.field(static=True, default=4)
    rounds: int = eqx.field(static=True, default=400)
    depth: int = eqx.field(static=True, default=3)
    learning_rate: float | Float[Array, ""] = 0.1
    share: float | Float[Array, ""] = 0.6
    least: float | Float[Array, ""] = 5.0
    penalty: float | Float[Array, ""] = 1.0
    patience: int | Int[Array, ""] = 25
    bins: int = eqx.field(static=True, default=128)
    traceable: bool = eqx.field(static=True, init=False, default=True)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        for name, low, high in (
            ("ensemble", 2, np.inf),
            ("rounds", 1, np.inf),
            ("depth", 1, 6),
            ("patience", 1, np.inf),
            ("bins", 2, 256),
        ):
            value = getattr(self, name)
            if not is_traced(value) and not (low <= value <= high and float(value).is_integer()):
                upper = "" if high == np.inf else f" and at most {high}"
                raise ValueError(
                    f"{name} is {value}: it must be a whole number, at least {low}{upper}."
                )
        for name in ("learning_rate", "share"):
            value = getattr(self, name)
            if not is_traced(value) and not 0 < value <= 1:
                raise ValueError(f"{name} is {value}: it must be over 0 and at most 1.")
        if not is_traced(self.least) and not 0 < self.least < np.inf:
            raise ValueError(f"least is {self.least}: it must be positive.")
        if not is_traced(self.penalty) and not 0 <= self.penalty < np.inf:
            raise ValueError(f"penalty is {self.penalty}: it must not be negative.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> BoostedTreesSurface:
        """Boost each wanted arm; an arm with too few rows is NaN under tracing."""
        assert key is not None and sample.y is not None
        wanted = {"both": (0, 1), "control": (0,), "treated": (1,)}[arms]
        task = BoostingTask(
            encoding=Encoding(sample.schema),
            settings=self._settings(sample.x.dtype),
            sizes=BoostingSizes(self.ensemble, self.rounds, self.depth, self.bins),
            key=key,
        )
        use = counted(sample)
        fold, draw = _dealt(sample.with_valid(use), key, self.ensemble)
        raw = BoostingRows(sample.x, sample.y, sample.weight, fold, draw, sample.row)
        if is_traced(raw, use, sample.t, task.settings):
            raw = lax.stop_gradient(raw)
            fitted = _traced(task, raw, use, sample.t, wanted)
            kept = trained_on(sample, None)
        else:
            used, treated = np.asarray(use), np.asarray(sample.t)
            rows = {arm: np.flatnonzero(used & (treated == bool(arm))) for arm in wanted}
            fitted = _concrete(task, raw, rows)
            kept = trained_on(sample, np.sort(np.concatenate(list(rows.values()))))
        return BoostedTreesSurface(
            arms=fitted,
            noise=fitted.noise,
            encoding=task.encoding,
            trained=kept,
            ordered=len(sample.schema.ordered),
        )

    def _settings(self, dtype: jnp.dtype) -> BoostingSettings:
        return BoostingSettings(
            in_dtype(self.learning_rate, dtype),
            in_dtype(self.penalty, dtype),
            in_dtype(self.least, dtype),
            in_dtype(self.share, dtype),
            in_dtype(self.patience, jnp.dtype(jnp.int32)),
        )


class BoostingTask(eqx.Module):
    """All but the rows of what is to be fitted.

    - `encoding`: of the covariates (n, p) as features (n, f).
    - `settings`: learning rate, penalty and the like, which may be traced.
    - `sizes`: members, rounds, depth and bins.
    - `key`: of the draws.
    """

    encoding: Encoding
    settings: BoostingSettings
    sizes: BoostingSizes = eqx.field(static=True)
    key: PRNGKeyArray


def _dealt(
    used: Sample, key: PRNGKeyArray, members: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Each row's fold and its place in a random order."""
    return deal(used, members, step_key(key, "held")), row_draws(used, step_key(key, "order"))


@eqx.filter_jit
def _core(task: BoostingTask, raw: BoostingRows) -> BoostedArm:
    """Fit one arm on raw covariates; NaN where its rows cannot be divided."""
    rows = raw._replace(z=task.encoding(raw.z))
    fitted = boost(rows, step_key(task.key, "boost"), task.settings, task.sizes)
    use = raw.weight > 0
    first = jnp.where(use, raw.fold, task.sizes.members).min()
    apart = (use & (raw.fold != first)).any()
    level, noise = (jnp.where(apart, a, jnp.nan) for a in (fitted.level, fitted.noise))
    return fitted._replace(level=level, noise=noise)


def _traced(
    task: BoostingTask,
    raw: BoostingRows,
    use: Bool[Array, " n"],
    t: Bool[Array, " n"],
    wanted: tuple[int, ...],
) -> BoostedArm:
    """All rows of the sample, those of the other arm at weight 0."""

    def one(arm: Int[Array, ""]) -> BoostedArm:
        return _core(task, raw._replace(weight=jnp.where(use & (t == arm), raw.weight, 0)))

    fitted = lax.map(one, jnp.asarray(wanted))
    if len(wanted) == 2:
        return fitted
    return jax.tree.map(lambda a: a[jnp.zeros(2, jnp.int32)], fitted)._replace(
        **{
            name: jnp.where(jnp.arange(2) == wanted[0], getattr(fitted, name)[0], blank)
            for name, blank in dict(level=jnp.nan, noise=jnp.nan, grown=0).items()
        }
    )


def _concrete(task: BoostingTask, raw: BoostingRows, rows: dict[int, np.ndarray]) -> BoostedArm:
    """The rows of each arm alone, in bucketed shapes; room for all trees, so folds share traces."""
    fold = np.asarray(raw.fold)
    together = min(bucket(max(map(len, rows.values()))), FEW)
    found = {}
    for arm, index in rows.items():
        _check_rows(fold[index], arm)
        size = max(bucket(len(index)), together)
        part = BoostingRows(*(pad_rows(np.asarray(a)[index], size) for a in raw))
        found[arm] = jax.tree.map(np.asarray, _core(task, part))
    for arm in {0, 1} - set(found):
        there = found[1 - arm]
        blank = dict(level=np.nan, noise=np.nan)
        blank = {name: np.asarray(v, there.level.dtype) for name, v in blank.items()}
        found[arm] = there._replace(grown=np.zeros_like(there.grown), **blank)
    both = jax.tree.map(lambda a, b: np.stack([a, b]), found[0], found[1])
    return jax.tree.map(to_device, both)


def _check_rows(fold: np.ndarray, arm: int) -> None:
    """Refuse an arm that cannot be divided."""
    if len(np.unique(fold)) < 2:
        raise DataError(
            f"the {len(fold)} {'treated' if arm else 'control'} rows (of positive weight) cannot "
            "be divided into a part to train on and a part to hold out: give at least 2, in "
            "several clusters if there are clusters."
        )


@eqx.filter_jit
def _evaluate(surface: BoostedTreesSurface, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
    return evaluate_boosted(surface.arms, surface.encoding(x), surface.ordered).astype(x.dtype)


@eqx.filter_jit
def _along(
    surface: BoostedTreesSurface,
    centre: Float[Array, "m p"],
    j: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
) -> Float[Array, "m k g 2"]:
    arms, z = surface.arms, surface.encoding(centre)
    feature = jnp.asarray(surface.encoding.feature)[j]
    dense = at.shape[1] * at.shape[2] >= DENSE * (arms.cuts.shape[-1] + 1)
    return boosted_lines(arms, z, feature, at, surface.ordered, dense).astype(at.dtype)
