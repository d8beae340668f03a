"""The stretch: how much each covariate counts in a metric, learnt from outcomes."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Trained,
    bucket,
    is_traced,
    number_in_words,
    pad_rows,
    row_draws,
    rows_of,
    to_device,
    trained_on,
    weighted_moments,
    whole,
)
from jcausal.matching.learned._stretch_loss import (
    CELLS,
    StretchRows,
    StretchSettings,
    kernel_means,
    learn,
    square_distances,
)
from jcausal.surfaces import (
    Arms,
    Encoding,
    EvaluatedSurface,
    Noise,
    OutcomeModel,
    counted,
    of_arms,
    without_training,
)


class StretchSurface(EvaluatedSurface):
    """Kernel averages of outcomes in a learnt metric: `jc.fit(sample, jc.Stretch(), key=0)`.

    f_a(x) = sum_k w_k exp(-d(x, x_k)^2) y_k / sum_k w_k exp(-d(x, x_k)^2) over the units of arm a
    that taught, d^2 = sum_j (M_j (x_j - x'_j) / sd_j)^2 + sum_j M_j^2 1[x_j != x'_j] over ordered
    covariates and categories.

    - `stretch` (f,): M of the covariate that each feature is of.
    - `scale` (f,): what each feature is multiplied by, M_j / sd_j or M_j / sqrt 2; `centre` (f,):
      the feature's mean.
    - `points` (r, f), `arm` (r,), `y` (r,), `weight` (r,): the units that taught;
      the arm -1 and weight 0 in padding.
    - `noise` (2,): mean squared error of each arm's units by the others; NaN for one not learnt.
    """

    stretch: Float[Array, " f"]
    scale: Float[Array, " f"]
    centre: Float[Array, " f"]
    points: Float[Array, "r f"]
    arm: Int[Array, " r"]
    y: Float[Array, " r"]
    weight: Float[Array, " r"]
    noise: Noise
    encoding: Encoding
    trained: Trained | None

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both averages at each point; NaN in the column of an arm that was not learnt."""
        z = (self.encoding(x) - self.centre) * self.scale

        def some(z: Float[Array, " f"]) -> Float[Array, " 2"]:
            square = square_distances(z[None], self.points)
            both = [
                kernel_means(square, jnp.where(self.arm == arm, self.weight, 0)[None], self.y)
                for arm in (0, 1)
            ]
            return jnp.concatenate(both)

        found = lax.map(some, z, batch_size=max(1, CELLS // max(len(self.points), 1)))
        return jnp.where(jnp.isnan(jnp.asarray(self.noise)), jnp.nan, found).astype(x.dtype)

    def embedded(self, x: Float[Array, "m p"]) -> Float[np.ndarray, "m f"]:
        """Points whose Euclidean distance is the metric's, in float64 on the host."""
        features = np.asarray(self.encoding(x), np.float64)
        return (features - np.asarray(self.centre, np.float64)) * np.asarray(self.scale, np.float64)

    def by_covariate(self, p: int) -> Float[np.ndarray, " p"]:
        """M of each of the p covariates that the surface is evaluated at."""
        column = np.asarray(self.encoding.column)
        out = np.zeros(p)
        out[column] = np.asarray(self.stretch, np.float64)
        return out

    def rules(self) -> list[str]:
        """The covariates by their stretch."""
        if self.trained is None:
            return []
        schema = self.trained.schema
        stretch = np.zeros(len(schema.names))
        stretch[Encoding(schema).column] = np.asarray(self.stretch, np.float64)
        return [
            f"{schema.names[j]}: {number_in_words(float(stretch[j]))} "
            + ("between levels" if schema.kinds[j] == "category" else "a standard deviation")
            for j in np.argsort(-stretch, kind="stable")
        ]

    def lean(self) -> "StretchSurface":
        """Without the training rows."""
        return without_training(self)


class Stretch(OutcomeModel):
    """A metric learnt so that near units foretell each other's outcomes.

    The squared distance is d^2 = sum_j (M_j (x_j - x'_j) / sd_j)^2 + sum_j M_j^2 1[x_j != x'_j]
    over ordered covariates and categories. M minimises

        sum_a mean_{i in a} ((y_i - yhat_i) / sd_a)^2 + penalty |M|

    over both arms a, where yhat_i is the mean outcome of the other units k of its arm by the
    weights exp(-d(x_i, x_k)^2): Adam's steps on batches of units in turn, from M_j = 1 / sqrt p. A
    missing number stands at its mean, and its flag is a category of its own. Means are weighted by
    sampling weights. It is a metric for `jc.MALTS`, and a response surface by kernel averages.

    Cost: each step takes `batch` x `train_rows` distances, whatever the number of units.

    **Arguments:**

    - `train_rows`: units of each fold that teach, at most; drawn at random by their ids.
    - `batch`, `steps`, `learning_rate`: of the descent.
    - `penalty`: on the length of M, which takes covariates to 0 that foretell nothing.

    **Raises:** ValueError for a hyperparameter out of its range; `DataError` for an arm with fewer
    than two units.

    **Source:** Parikh, Rudin and Volfovsky (2022), Journal of Machine Learning Research 23(240);
    here with squares of distances and of errors, so that the metric is Euclidean and smooth.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> surface = jc.fit(train, jc.Stretch(steps=20), key=0)
        >>> surface(test.x).shape
        (223, 2)
    """

    train_rows: int = eqx.field(converter=whole, static=True, default=2000)
    batch: int = eqx.field(converter=whole, static=True, default=256)
    steps: int = eqx.field(converter=whole, static=True, default=300)
    learning_rate: float = 0.05
    penalty: float = 0.01
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        for name, least in dict(train_rows=4, batch=1, steps=1).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least {least}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: it must be positive.")
        if self.penalty < 0:
            raise ValueError(f"penalty is {self.penalty}: it must not be negative.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> StretchSurface:
        """Draw the units that teach, and learn from them."""
        assert key is not None and sample.y is not None and not is_traced(sample)
        used = np.asarray(of_arms(sample.t, counted(sample), arms))
        _check_arms(np.asarray(sample.t)[used], arms)
        encoding = Encoding(sample.schema)
        taught = _Taught(sample, encoding, self._drawn(sample, used, key))
        rows = taught.padded(np.dtype(sample.x.dtype))
        dtype = np.dtype(sample.x.dtype)
        settings = StretchSettings(
            penalty=to_device(np.asarray(self.penalty, dtype)),
            learning_rate=to_device(np.asarray(self.learning_rate, dtype)),
            units=to_device(np.asarray(len(taught.y), np.int32)),
            batch=self.batch,
            steps=self.steps,
        )
        start = to_device(np.full(sample.p, 1 / np.sqrt(sample.p), dtype))
        stretch, errors = (np.asarray(a, np.float64) for a in learn(rows, start, settings))
        if not np.isfinite(stretch).all():
            raise ValueError(f"the descent diverged: lower learning_rate = {self.learning_rate}.")
        wanted = np.array([arms != "treated", arms != "control"])
        noise = np.where(wanted, errors * taught.spread**2, np.nan)
        stretch = stretch[encoding.column]
        scale = stretch * taught.unit

        size = bucket(len(taught.y))

        def put(values: np.ndarray) -> Array:
            return to_device(values.astype(dtype))

        def padded(values: np.ndarray) -> Array:
            return put(pad_rows(values, size))

        return StretchSurface(
            stretch=put(stretch),
            scale=put(scale),
            centre=put(taught.centre),
            points=padded((taught.raw - taught.centre) * scale),
            arm=to_device(pad_rows(taught.arm.astype(np.int32), size, -1)),
            y=padded(taught.y),
            weight=padded(taught.weight),
            noise=noise.astype(dtype),
            encoding=encoding,
            trained=trained_on(sample, np.flatnonzero(used)),
        )

    def _drawn(self, sample: Sample, used: np.ndarray, key: PRNGKeyArray) -> Int[np.ndarray, " r"]:
        """Rows that teach, in the order of their draws: of each arm its share, two at least."""
        draw, t = np.asarray(row_draws(sample, key)), np.asarray(sample.t)
        rows = np.flatnonzero(used)
        rows = rows[np.lexsort((*np.asarray(sample.row)[rows].T, draw[rows]))]
        if rows.size <= self.train_rows:
            return rows
        many = max(2, round(self.train_rows * t[rows].mean()))
        few = max(2, self.train_rows - many)
        place = np.where(t[rows], np.cumsum(t[rows]), np.cumsum(~t[rows]))
        return rows[place <= np.where(t[rows], many, few)]


class _Taught:
    """The units that teach, on the host in float64.

    `raw` (r, f) features, `centre` (f,) and `unit` (f,): their mean, and 1 / sd or 1 / sqrt 2;
    `spread` (2,): sd of the outcomes y by arm.
    """

    def __init__(self, sample: Sample, encoding: Encoding, rows: Int[np.ndarray, " r"]) -> None:
        assert sample.y is not None
        self.column = np.asarray(encoding.column)
        self.raw = np.asarray(encoding(rows_of(sample.x, rows)), np.float64)
        self.y = np.asarray(sample.y, np.float64)[rows]
        self.arm = np.asarray(sample.t)[rows].astype(int)
        weight = np.asarray(sample.weight, np.float64)[rows]
        self.weight = weight / weight.mean()
        self.centre, sd = weighted_moments(np, self.raw, self.weight[:, None])
        of_level = np.asarray(encoding.level) >= 0
        self.unit = np.where(
            of_level, np.sqrt(0.5), np.where(sd > 0, 1 / np.where(sd > 0, sd, 1), 0)
        )
        inside = np.stack([np.where(self.arm == arm, self.weight, 0) for arm in (0, 1)], axis=1)
        self.level, self.spread = weighted_moments(np, self.y[:, None], inside)

    def padded(self, dtype: np.dtype) -> StretchRows:
        """As the compiled program takes them."""
        size = bucket(len(self.y))
        scale = np.where(self.spread > 0, self.spread, 1)[self.arm]
        y = (self.y - self.level[self.arm]) / scale
        columns = (self.raw - self.centre) * self.unit
        return StretchRows(
            features=to_device(pad_rows(columns.astype(dtype), size)),
            column=to_device(self.column.astype(np.int32)),
            arm=to_device(pad_rows(self.arm.astype(np.int32), size, -1)),
            y=to_device(pad_rows(y.astype(dtype), size)),
            weight=to_device(pad_rows(self.weight.astype(dtype), size)),
        )


def _check_arms(treated: np.ndarray, arms: Arms) -> None:
    """Refuse an arm whose units have no others to be foretold by."""
    for arm, word in enumerate(("control", "treated")):
        count = int((treated == bool(arm)).sum())
        if arms in ("both", word) and count < 2:
            raise DataError(
                f"a stretch is learnt from units that foretell each other, and there is {count} "
                f"{word} row of positive weight: give at least 2."
            )
