"""The processes of the Adaptive Hyper-Boxes paper.

y = g(x) + h(x) t + e, t ~ Bernoulli(expit(gamma x)). Paper and published scripts differ, so each
process comes in two readings. "paper": g and h as printed, gamma one fixed draw from U(-1, 1) a
covariate. "scripts": 3 g and 3 h, gamma = 0.3 times a draw from U(-1, 1) of each run, Box over
two covariates is 1{both exceed one half}, and in the supplement's tables g and h share their
covariates. The noise has variance 0.1 in both: the paper prints none.

Source: Morucci, Orlandi, Roy, Rudin and Volfovsky (UAI 2020), section 3, tables 1, 2, 5, 6, 7 and
figures 5 and 6; the authors' scripts for the second reading.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Sample, as_key, check_count, step_key
from jcausal.simulate._simulated import Simulated, draw_arms

Reading = Literal["paper", "scripts"]
Key = PRNGKeyArray | Array | int
NOISE = 0.1  # variance of the outcome around g + h t


class AHBProcess(NamedTuple):
    """Kinds of g and h, how many covariates each looks at, irrelevant ones, and their law."""

    g: str
    h: str
    confounding: int
    modifying: int
    irrelevant: int
    law: Literal["uniform", "binary", "mixed", "correlated"] = "uniform"
    shared: bool = False

    @property
    def p(self) -> int:
        """Number of covariates."""
        modifying = 0 if self.shared else self.modifying
        return self.confounding + modifying + self.irrelevant


TABLE2 = {
    "none/const": AHBProcess("none", "const", 0, 0, 2),
    "box/const": AHBProcess("box", "const", 2, 0, 0),
    "linear/const": AHBProcess("linear", "const", 2, 0, 0),
    "quad/const": AHBProcess("quad", "const", 2, 0, 0),
    "quad/const+4": AHBProcess("quad", "const", 2, 0, 4),
    "box/box": AHBProcess("box", "box", 1, 1, 0),
    "binary/const": AHBProcess("binary", "const", 1, 0, 1, "binary"),
    "binary/binary+6": AHBProcess("binary", "binary", 1, 1, 6, "binary"),
    "mixed/const": AHBProcess("linear", "const", 2, 0, 0, "mixed"),
}
TABLE6 = {
    "linear/linear": AHBProcess("linear", "linear", 4, 4, 0, "correlated"),
    "box/box": AHBProcess("box", "box", 4, 4, 0, "correlated"),
    "quad/quad": AHBProcess("quad", "quad", 4, 4, 0, "correlated"),
}
TABLE7 = {
    "2 of 20": {
        "paper": AHBProcess("linear", "linear", 1, 1, 18),
        "scripts": AHBProcess("linear", "linear", 2, 2, 18, shared=True),
    },
    "all": {
        "paper": AHBProcess("linear", "linear", 10, 10, 0),
        "scripts": AHBProcess("linear", "linear", 10, 10, 0, shared=True),
    },
}


def ahb_table2(row: str, *, key: Key, n: int = 600, reading: Reading = "paper") -> Simulated:
    """A data set of Table 2: confounding g and effect h, named "g/h" ("+k": k irrelevant ones).

    **Arguments:** `row` one of "none/const", "box/const", "linear/const", "quad/const",
    "quad/const+4", "box/box", "binary/const", "binary/binary+6", "mixed/const"; `key` a JAX key
    or an int, which may be vmapped over; `n` units; `reading` "paper" or "scripts".

    **Returns:** `Simulated`. **Raises:** ValueError for an unknown row or reading.

    **Source:** Morucci et al. (2020), tables 1 and 2.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.ahb_table2("quad/const", key=0)
        >>> data.sample.x.shape, float(data.att)
        ((600, 2), 1.0)
    """
    _check_row(row, TABLE2)
    return _draw(TABLE2[row], key, n, reading)


def ahb_table5(p: int, *, key: Key, n: int = 600, reading: Reading = "paper") -> Simulated:
    """A data set of Table 5: p binary covariates, the first confounds, the effect is constant.

    **Arguments:** `p` at least 2 (the paper has 2, 3, 5, 8, 10); the others as in `ahb_table2`.

    **Returns:** `Simulated`. **Raises:** ValueError for p below 2.

    **Source:** Morucci et al. (2020), table 5.
    """
    if p < 2:
        raise ValueError(f"p is {p}: the table starts at 2 covariates.")
    return _draw(AHBProcess("binary", "const", 1, 0, p - 1, "binary"), key, n, reading)


def ahb_table6(row: str, *, key: Key, n: int = 600, reading: Reading = "paper") -> Simulated:
    """A data set of Table 6: correlated normal covariates from two latent factors.

    Loadings have a common length and directions within an eighth of a circle, drawn with the run,
    such that the mean correlation is 0.7. Four covariates confound and four modify the effect;
    in the reading "scripts" they are the same four.

    **Arguments:** `row` one of "linear/linear", "box/box", "quad/quad"; the others as in
    `ahb_table2`.

    **Returns:** `Simulated`. **Raises:** ValueError for an unknown row or reading.

    **Source:** Morucci et al. (2020), table 6.
    """
    _check_row(row, TABLE6)
    process = TABLE6[row]._replace(shared=reading == "scripts")
    return _draw(process, key, n, reading)


def ahb_table7(row: str, *, key: Key, n: int = 600, reading: Reading = "paper") -> Simulated:
    """A data set of Table 7: linear g and h with many covariates.

    **Arguments:** `row` "2 of 20" (eighteen are irrelevant) or "all" (ten confound and ten modify
    the effect); in the reading "scripts" g and h share theirs: two of 20, or all of 10. The others
    as in `ahb_table2`.

    **Returns:** `Simulated`. **Raises:** ValueError for an unknown row or reading.

    **Source:** Morucci et al. (2020), table 7; its "(20, 20, 18)" is read with its text, in
    which two of twenty covariates matter.
    """
    _check_row(row, TABLE7)
    _check_reading(reading)
    return _draw(TABLE7[row][reading], key, n, reading)


def ahb_figure5(*, key: Key, n: int = 100) -> Simulated:
    """The data of Figure 5: y = 3 t + log(x0 + x1) + N(0, 1), x exponential with rate 2.

    **Arguments:** `key` a JAX key or an int; `n` units, half of them treated on average.

    **Returns:** `Simulated`.

    **Source:** Morucci et al. (2020), figure 5.
    """

    def law(key: PRNGKeyArray) -> Array:
        return jax.random.exponential(key, (n, 2)) / 2

    return _figure(key, law, lambda x: jnp.log(x.sum(1)))


def ahb_figure6(*, key: Key, n: int = 100) -> Simulated:
    """The data of Figure 6: y = 3 t + 1{both x in (0.3, 0.8)} + N(0, 1), x uniform.

    **Arguments:** `key` a JAX key or an int; `n` units, half of them treated on average.

    **Returns:** `Simulated`.

    **Source:** Morucci et al. (2020), figure 6.
    """

    def law(key: PRNGKeyArray) -> Array:
        return jax.random.uniform(key, (n, 2))

    return _figure(key, law, lambda x: ((x > 0.3) & (x < 0.8)).all(1).astype(x.dtype))


def _check_row(row: str, table: Mapping[str, object]) -> None:
    if row not in table:
        raise ValueError(f"there is no row {row!r}: they are {', '.join(table)}.")


def _check_reading(reading: str) -> None:
    if reading not in ("paper", "scripts"):
        raise ValueError(f"reading is {reading!r}: use 'paper' or 'scripts'.")


def _draw(process: AHBProcess, key: Key, n: int, reading: Reading) -> Simulated:
    """Covariates, arms, outcomes."""
    _check_reading(reading)
    n = check_count("n", n)
    keys = jax.random.split(step_key(as_key(key, "a simulation"), "simu"), 4)
    x = _covariates(process, n, keys[0])
    slope_key = keys[1] if reading == "scripts" else jax.random.key(0)
    slope = jax.random.uniform(slope_key, (process.p,), x.dtype, -1, 1)
    logit = x @ (0.3 * slope if reading == "scripts" else slope)
    scale = 3.0 if reading == "scripts" else 1.0
    first = 0 if process.shared else process.confounding
    joint = reading == "scripts" and not process.shared
    g = scale * _function(process.g, x[:, : process.confounding], joint)
    h = scale * _function(process.h, x[:, first : first + process.modifying], joint)
    t = draw_arms(jax.nn.sigmoid(logit), keys[2])
    noise = np.sqrt(NOISE) * jax.random.normal(keys[3], (n,), x.dtype)
    return _made(x, t, g + noise, h, _kinds(process))


def _covariates(process: AHBProcess, n: int, key: PRNGKeyArray) -> Float[Array, "n p"]:
    """Independent uniforms or coins, one of each, or normals with two common factors."""
    where, tilt = jax.random.split(key)
    shape = (n, process.p)
    if process.law == "correlated":
        wide = np.pi / 4
        cosine = 2 * (1 - np.cos(wide)) / wide**2  # mean cosine between two of the directions
        angle = jax.random.uniform(tilt, (process.p,), maxval=wide)
        loading = np.sqrt(0.7 / cosine) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        factors = jax.random.normal(jax.random.fold_in(where, 0), (n, 2))
        own = jax.random.normal(jax.random.fold_in(where, 1), shape)
        return factors @ loading + np.sqrt(1 - 0.7 / cosine) * own
    x = jax.random.uniform(where, shape)
    coins = [kind == "binary" for kind in _kinds(process)]
    return jnp.where(jnp.asarray(coins), (x < 0.5).astype(x.dtype), x)


def _kinds(process: AHBProcess) -> list[str]:
    if process.law == "mixed":
        return ["number", "binary"]
    return ["binary" if process.law == "binary" else "number"] * process.p


def _function(kind: str, x: Float[Array, "n k"], joint: bool) -> Float[Array, " n"]:
    """A column of Table 1, over the covariates that it looks at; `joint` boxes hold all of them."""
    if kind in ("none", "const"):
        return jnp.full(x.shape[0], float(kind == "const"), x.dtype)
    if kind == "box":
        above = x > 0.5
        return (above.all(1) if joint else above.sum(1)).astype(x.dtype)
    return (x**2 if kind == "quad" else x).sum(1)


def _figure(
    key: Key, law: Callable[[PRNGKeyArray], Array], g: Callable[[Array], Array]
) -> Simulated:
    keys = jax.random.split(step_key(as_key(key, "a simulation"), "simu"), 3)
    x = law(keys[0])
    half = jnp.full(x.shape[0], 0.5, x.dtype)
    noise = jax.random.normal(keys[2], half.shape, x.dtype)
    return _made(x, draw_arms(half, keys[1]), g(x) + noise, 6 * half, ["number", "number"])


def _made(x: Array, t: Array, y0: Array, h: Array, kinds: list[str]) -> Simulated:
    """Both outcomes and the one that is seen."""
    y1 = y0 + h
    return Simulated(Sample(x, t, jnp.where(t, y1, y0), kinds=kinds), h, y0, y1)
