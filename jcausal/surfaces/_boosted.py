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
from jcausal.surfaces._boosted_lines import boosted_lines, boosted_points, evaluate_boosted
from jcausal.surfaces._boosted_tree import Plan
from jcausal.surfaces._boosting import Boosted, Rows, Shape, boost
from jcausal.surfaces._function import without_training
from jcausal.surfaces._quality import counted
from jcausal.surfaces._surface import (
    Arms,
    Encoding,
    Noise,
    OutcomeModel,
    ResponseSurface,
)

FEW = 2048  # rows: an arm of fewer is padded up to the other's size, so that both share a program
DENSE = 3  # points asked of a row, for each bin, from which whole lines are cheaper


class BoostedTreesSurface(ResponseSurface):
    """Boosted trees, each arm's perhaps on a line. Made by `jc.fit(sample, jc.BoostedTrees())`.

    `noise` (2,) is the mean squared residual of each arm, every row foretold by the member that
    did not see it, in squared outcome units.
    """

    arms: Boosted
    noise: Noise
    encoding: Encoding
    trained: Trained | None
    depth: int = eqx.field(static=True)
    ordered: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both outcomes at each point; NaN in the column of an arm that was not fitted."""
        return _evaluate(self.arms, self.encoding, x, self.depth, self.ordered)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """Few points tree by tree, many from a table of all bins of each covariate."""
        bins = self.arms.cuts.shape[-1] + 1
        dense = at.shape[1] * at.shape[2] >= DENSE * bins
        return _lines(self.arms, self.encoding, centre, j, at, self.depth, self.ordered, dense)

    def lean(self) -> "BoostedTreesSurface":
        """Without the training rows."""
        return without_training(self)  # type: ignore[return-value]


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
        encoding, plan = Encoding(sample.schema), self._plan(sample.x.dtype)
        shape = Shape(self.ensemble, self.rounds, self.depth, self.bins)
        use = counted(sample)
        fold, draw = _dealt(sample.with_valid(use), key, self.ensemble)
        raw = Rows(sample.x, sample.y, sample.weight, fold, draw, sample.row)
        if is_traced(raw, use, sample.t, plan):
            raw = lax.stop_gradient(raw)
            fitted = _traced(encoding, raw, use, sample.t, wanted, key, plan, shape)
            kept = trained_on(sample, None)
        else:
            used, treated = np.asarray(use), np.asarray(sample.t)
            rows = {arm: np.flatnonzero(used & (treated == bool(arm))) for arm in wanted}
            fitted = _concrete(encoding, raw, rows, key, plan, shape)
            kept = trained_on(sample, np.sort(np.concatenate(list(rows.values()))))
        return BoostedTreesSurface(
            arms=fitted,
            noise=fitted.noise,
            encoding=encoding,
            trained=kept,
            depth=self.depth,
            ordered=len(sample.schema.ordered),
        )

    def _plan(self, dtype: jnp.dtype) -> Plan:
        return Plan(
            in_dtype(self.learning_rate, dtype),
            in_dtype(self.penalty, dtype),
            in_dtype(self.least, dtype),
            in_dtype(self.share, dtype),
            in_dtype(self.patience, jnp.dtype(jnp.int32)),
        )


def _dealt(
    used: Sample, key: PRNGKeyArray, members: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Each row's fold and its place in a random order."""
    return deal(used, members, step_key(key, "held")), row_draws(used, step_key(key, "order"))


@eqx.filter_jit
def _core(encoding: Encoding, raw: Rows, key: PRNGKeyArray, plan: Plan, shape: Shape) -> Boosted:
    """Fit one arm on raw covariates; NaN where its rows cannot be divided."""
    fitted = boost(raw._replace(z=encoding(raw.z)), step_key(key, "boost"), plan, shape)
    use = raw.weight > 0
    first = jnp.where(use, raw.fold, shape.members).min()
    apart = (use & (raw.fold != first)).any()
    level, noise = (jnp.where(apart, a, jnp.nan) for a in (fitted.level, fitted.noise))
    return fitted._replace(level=level, noise=noise)


def _traced(
    encoding: Encoding,
    raw: Rows,
    use: Bool[Array, " n"],
    t: Bool[Array, " n"],
    wanted: tuple[int, ...],
    key: PRNGKeyArray,
    plan: Plan,
    shape: Shape,
) -> Boosted:
    """All rows of the sample, those of the other arm at weight 0."""

    def one(arm: Int[Array, ""]) -> Boosted:
        weight = jnp.where(use & (t == arm), raw.weight, 0)
        return _core(encoding, raw._replace(weight=weight), key, plan, shape)

    fitted = lax.map(one, jnp.asarray(wanted))
    if len(wanted) == 2:
        return fitted
    return jax.tree.map(lambda a: a[jnp.zeros(2, jnp.int32)], fitted)._replace(
        **{
            name: jnp.where(jnp.arange(2) == wanted[0], getattr(fitted, name)[0], blank)
            for name, blank in dict(level=jnp.nan, noise=jnp.nan, grown=0).items()
        }
    )


def _concrete(
    encoding: Encoding,
    raw: Rows,
    rows: dict[int, np.ndarray],
    key: PRNGKeyArray,
    plan: Plan,
    shape: Shape,
) -> Boosted:
    """The rows of each arm alone, in bucketed shapes; room for all trees, so folds share traces."""
    fold = np.asarray(raw.fold)
    together = min(bucket(max(map(len, rows.values()))), FEW)
    found = {}
    for arm, index in rows.items():
        _check_rows(fold[index], arm)
        size = max(bucket(len(index)), together)
        part = Rows(*(pad_rows(np.asarray(a)[index], size) for a in raw))
        found[arm] = jax.tree.map(np.asarray, _core(encoding, part, key, plan, shape))
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
def _evaluate(
    arms: Boosted, encoding: Encoding, x: Float[Array, "m p"], depth: int, ordered: int
) -> Float[Array, "m 2"]:
    return evaluate_boosted(arms, encoding(x), depth, ordered).astype(x.dtype)


@eqx.filter_jit
def _lines(
    arms: Boosted,
    encoding: Encoding,
    centre: Float[Array, "m p"],
    j: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    depth: int,
    ordered: int,
    dense: bool,
) -> Float[Array, "m k g 2"]:
    feature = jnp.asarray(encoding.feature)[j]
    lines = boosted_lines if dense else boosted_points
    return lines(arms, encoding(centre), feature, at, depth, ordered).astype(at.dtype)
