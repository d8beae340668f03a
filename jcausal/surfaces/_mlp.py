"""A neural response surface: one trunk, two heads, an ensemble with early stopping."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Trained,
    bucket,
    hold_out,
    in_dtype,
    is_traced,
    on_host,
    pad_rows,
    rows_of,
    step_key,
    to_device,
    trained_on,
    weighted_moments,
)
from jcausal.surfaces._by_evaluation import EvaluatedSurface
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._network import (
    Network,
    NetworkRows,
    TrainingSettings,
    arm_weights,
    evaluate,
    train,
)
from jcausal.surfaces._quality import counted
from jcausal.surfaces._surface import Arms, Noise, OutcomeModel, of_arms, without_training


class Scales(eqx.Module):
    """What standardises.

    - `centre` (f,), `per_sd` (f,): mean and 1 / sd of each feature, 0 where it is constant.
    - `level` (2,), `spread` (2,): mean and sd of the outcome by arm.
    """

    centre: Float[Array, " f"]
    per_sd: Float[Array, " f"]
    level: Float[Array, " 2"]
    spread: Float[Array, " 2"]


class MLPSurface(EvaluatedSurface):
    """The mean of an ensemble of networks. Made by `jc.fit(sample, jc.MLP(), key=0)`.

    `noise` (2,) is the mean squared residual of each arm on the rows that a member held out,
    averaged over members, in squared outcome units.
    """

    networks: Network
    scales: Scales
    noise: Noise
    encoding: Encoding
    trained: Trained | None

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """The mean of the members; NaN in the column of an arm that was not fitted."""
        return self.members(x).mean(0)

    def members(self, x: Float[Array, "m p"]) -> Float[Array, "k m 2"]:
        """f0 and f1 at each point by every member of the ensemble."""
        z = (self.encoding(x) - self.scales.centre) * self.scales.per_sd
        out = jax.vmap(evaluate, in_axes=(0, None))(self.networks, z)
        return (self.scales.level + self.scales.spread * out).astype(x.dtype)

    def lean(self) -> "MLPSurface":
        """Without the training rows."""
        return without_training(self)


class MLP(OutcomeModel):
    """A neural network with a shared trunk and one linear output (head) for each arm.

    Each member of the ensemble minimises L_0 + L_1 by AdamW, where L_a is the weighted mean
    squared error of head a over the rows of arm a, in units of that arm's variance: an arm counts
    the same however small it is. Members differ in their first weights and in the rows they hold
    out; each keeps the weights with the least held-out loss. The surface is their mean. Features
    are standardised over all rows, outcomes within the arm; a category has one feature per level.
    Held-out rows follow a row's id or position (whole clusters where there are any), so neither
    row order nor padding matters. Traceable: may run under jit and vmap; a gradient takes the
    trained surface as given.

    **Arguments:**

    - `width`, `depth`: units of a hidden layer, and their number.
    - `ensemble`: number of members.
    - `epochs`: at most this many looks at the held-out rows. Between two looks the training rows
      are passed once, in at least 10 gradient steps.
    - `patience`: looks without a lower held-out loss before a member stops.
    - `held`: share of each arm held out, in (0, 1); at least one row.
    - `learning_rate`, `weight_decay`: of AdamW.
    - `batch`: rows of each arm in a gradient step. An arm that has no more enters whole, a larger
      one by draws.

    **Raises:** ValueError for a hyperparameter out of its range.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> surface = jc.fit(train, jc.MLP(width=8, ensemble=2, epochs=5), key=0)
        >>> surface(test.x).shape, surface.members(test.x).shape
        ((223, 2), (2, 223, 2))

    **Source:** Shalit, Johansson and Sontag (2017), ICML (shared trunk, a head per arm, arms
    weighted alike); Loshchilov and Hutter (2019), ICLR (AdamW); Lakshminarayanan, Pritzel and
    Blundell (2017), NeurIPS (ensembles).
    """

    width: int = eqx.field(static=True, default=32)
    depth: int = eqx.field(static=True, default=2)
    ensemble: int = eqx.field(static=True, default=4)
    epochs: int | Int[Array, ""] = 200
    patience: int | Int[Array, ""] = 10
    held: float | Float[Array, ""] = 0.2
    learning_rate: float | Float[Array, ""] = 3e-3
    weight_decay: float | Float[Array, ""] = 1e-4
    batch: int = eqx.field(static=True, default=2048)
    traceable: bool = eqx.field(static=True, init=False, default=True)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        for name in ("width", "depth", "ensemble", "epochs", "patience", "batch"):
            value = getattr(self, name)
            if not is_traced(value) and (value < 1 or not float(value).is_integer()):
                raise ValueError(f"{name} is {value}: it must be a whole number, at least 1.")
        if not is_traced(self.held) and not 0 < self.held < 1:
            raise ValueError(f"held is {self.held}: it must lie between 0 and 1.")
        if not is_traced(self.learning_rate) and not 0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}: it must be positive.")
        if not is_traced(self.weight_decay) and not 0 <= self.weight_decay < np.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}: it must not be negative.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> MLPSurface:
        """Train all members in one call; an arm that cannot be trained is NaN under tracing."""
        assert key is not None and sample.y is not None
        used = sample.with_valid(of_arms(sample.t, counted(sample), arms))
        keys = [jax.random.fold_in(key, m) for m in range(self.ensemble)]
        held = _together([hold_out(used, self.held, step_key(one, "held")) for one in keys])
        known = _divided(held, used.t, used.valid)
        _check_arms(used, known, arms)
        encoding = Encoding(sample.schema)
        settings = self._settings(len(encoding.column), sample.x.dtype)
        index, weight = _rows(used)
        x, y, t, row = (rows_of(a, index) for a in (sample.x, sample.y, sample.t, sample.row))
        networks, scales, noise, good = _core(
            encoding,
            NetworkRows(x, y, t, weight, row),
            _members_pick(held, index),
            known,
            keys,
            settings,
        )
        if not is_traced(good) and not bool(good):
            raise ValueError(
                f"the training diverged: choose a learning_rate below {self.learning_rate}."
            )
        kept = trained_on(sample, None if is_traced(used) else np.flatnonzero(used.valid))
        return MLPSurface(
            networks=networks, scales=scales, noise=noise, encoding=encoding, trained=kept
        )

    def _settings(self, features: int, dtype: jnp.dtype) -> TrainingSettings:
        return TrainingSettings(
            learning_rate=in_dtype(self.learning_rate, dtype),
            weight_decay=in_dtype(self.weight_decay, dtype),
            epochs=in_dtype(self.epochs, jnp.dtype(jnp.int32)),
            patience=in_dtype(self.patience, jnp.dtype(jnp.int32)),
            sizes=(features, *[self.width] * self.depth, 2),
            batch=self.batch,
        )


@on_host
def _together(lib: Any, held: list[Bool[Array, " n"]]) -> Bool[Array, "k n"]:
    return lib.stack(held)


@on_host
def _divided(
    lib: Any, held: Bool[Array, "k n"], t: Bool[Array, " n"], valid: Bool[Array, " n"]
) -> Bool[Array, " 2"]:
    """Which arms have both a training and a held-out row in every member."""
    arm = lib.stack([valid & ~t, valid & t], axis=1)
    apart, seen = (which[:, :, None] & arm for which in (held, ~held))
    return (apart.any(1) & seen.any(1)).all(0)


@eqx.filter_jit
def _core(
    encoding: Encoding,
    raw: NetworkRows,
    held: Bool[Array, "k r"],
    known: Bool[Array, " 2"],
    members: list[Key[Array, ""]],
    settings: TrainingSettings,
) -> tuple[Network, Scales, Float[Array, " 2"], Bool[Array, ""]]:
    """Standardise and train on raw features: networks, scales, noise, whether all is finite."""
    keys, raw = jnp.stack(members), lax.stop_gradient(raw)
    rows = raw._replace(z=encoding(raw.z))
    scales = _scales(rows)
    ordered = jnp.asarray(encoding.level) < 0
    networks, best, losses = train(_standard(rows, scales), held, keys, settings, ordered)
    good = jnp.isfinite(best).all()
    level = jnp.where(known & good, scales.level, jnp.nan)
    noise = jnp.where(known & good, losses.mean(0) * scales.spread**2, jnp.nan)
    return networks, eqx.tree_at(lambda s: s.level, scales, level), noise, good


def _check_arms(sample: Sample, known: Bool[Array, " 2"], arms: Arms) -> None:
    """Refuse an arm that cannot be divided (concrete samples only)."""
    if is_traced(known):
        return
    for arm, word in enumerate(("control", "treated")):
        if arms in ("both", word) and not np.asarray(known)[arm]:
            count = int((sample.valid & (sample.t == bool(arm))).sum())
            raise DataError(
                f"the {count} {word} rows (of positive weight) cannot be divided into a part to "
                "train on and a part to hold out: give at least 2, in several clusters if there "
                "are clusters."
            )


def _rows(used: Sample) -> tuple[Int[Array, " r"] | Int[np.ndarray, " r"], Float[Array, " r"]]:
    """The rows to train on, in a bucketed shape, and their weights; all rows under tracing."""
    if is_traced(used.valid):
        return jnp.arange(used.n), jnp.where(used.valid, used.weight, 0)
    rows = np.flatnonzero(np.asarray(used.valid))
    index = pad_rows(rows, bucket(len(rows)))
    weight = np.where(np.arange(len(index)) < len(rows), np.asarray(used.weight)[index], 0)
    return index, to_device(weight)


@on_host
def _members_pick(lib: Any, held: Bool[Array, "k n"], index: Array) -> Bool[Array, "k r"]:
    return held[:, index]


def _scales(rows: NetworkRows) -> Scales:
    """Of the features over all rows, of the outcomes within each arm (a constant has scale 1)."""
    centre, sd = weighted_moments(jnp, rows.z, rows.weight[:, None])
    level, spread = weighted_moments(jnp, rows.y[:, None], arm_weights(rows.t, rows.weight))
    per_sd = jnp.where(sd > 0, 1 / jnp.where(sd > 0, sd, 1), 0)
    return Scales(centre, per_sd, level, jnp.where(spread > 0, spread, 1))


def _standard(rows: NetworkRows, scales: Scales) -> NetworkRows:
    """Features and outcomes with mean 0 and sd 1; zeros in padding."""
    use, arm = rows.weight > 0, rows.t.astype(jnp.int32)
    z = (rows.z - scales.centre) * scales.per_sd
    y = (rows.y - scales.level[arm]) / scales.spread[arm]
    return rows._replace(z=jnp.where(use[:, None], z, 0), y=jnp.where(use, y, 0))
