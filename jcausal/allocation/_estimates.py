"""Estimated effects of groups: what an allocation chooses from."""

import dataclasses
from collections.abc import Sequence
from math import inf, log
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jcausal.allocation._trial_means import half_of, mean_differences
from jcausal.data import (
    By,
    DataError,
    FrameKind,
    Sample,
    Shown,
    as_key,
    as_numbers,
    check_count,
    check_number,
    check_share,
    in_one_order,
    is_traced,
    listed,
    number_in_words,
    step_key,
)
from jcausal.effects import Effects, cate_frame, estimate, group_labels
from jcausal.inference import AbadieImbens, AverageMethod, Interval
from jcausal.inference import interval as make_interval
from jcausal.matching import Estimand, Matcher

Vector = Float[Array, " k"] | Float[np.ndarray, " k"]
Halves = Float[Array, "r 2 k"] | Float[np.ndarray, "r 2 k"]
ByArm = Float[Array, "k 2"] | Float[np.ndarray, "k 2"]
SPLITS = 20


class GroupEstimates(Shown, eqx.Module):
    """Estimated effects of k groups, with what is known of their errors.

    A group's effect is what treating it is worth: the mean effect of its units when groups cost
    the same, their sum when costs go by units. Larger is better.

    **Arguments:**

    - `value`: (k,) estimates; `std_error`: (k,) their standard errors.
    - `df`: (k,) degrees of freedom of the errors; None: they are as good as known.
    - `effective`: (k, 2) effective units by arm, controls first, for `hoeffding`.
    - `halves`: (r, 2, k) the same estimates, each from one half of the units, in r random splits.
    - `label`: the groups' names; default those of a pandas Series of values, else 0, 1, ...

    pandas objects are laid beside each other by their labels.

    **Raises:** `DataError` naming the groups that have NaN or no error.

    **Example:**

        >>> import jcausal as jc
        >>> estimates = jc.GroupEstimates([0.5, 0.1, 0.4], std_error=[0.1, 0.1, 0.2], label="abc")
        >>> estimates.groups, estimates.names([2])
        (3, "'c'")
    """

    value: Vector
    std_error: Vector | None
    df: Vector | None
    effective: ByArm | None
    halves: Halves | None
    label: tuple | None = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True)

    def __init__(
        self,
        value: Vector | Sequence[float] | pd.Series,
        *,
        std_error: Vector | Sequence[float] | pd.Series | None = None,
        df: Vector | Sequence[float] | pd.Series | None = None,
        effective: ByArm | None = None,
        halves: Halves | None = None,
        label: Sequence | np.ndarray | pd.Series | None = None,
    ) -> None:
        names = ("value", "std_error", "df", "effective", "halves")
        given = dict(zip(names, (value, std_error, df, effective, halves)))
        traced = is_traced(given)
        laid, index = in_one_order(given | dict(label=label))
        label = laid.pop("label")
        if label is None and index is not None and index.index is not None:
            label = index.index.to_numpy()
        arrays = {
            name: a if a is None else jnp.asarray(a) if traced else as_numbers(name, a)
            for name, a in laid.items()
        }
        self.value = jnp.asarray(value) if traced else as_numbers("value", laid["value"])
        self.std_error, self.df = arrays["std_error"], arrays["df"]
        self.effective, self.halves = arrays["effective"], arrays["halves"]
        self.label = None if label is None else listed("label", label)
        self.home = "pandas"
        _check_shapes(arrays, self.label)
        if not is_traced(given):
            _check_values(self, arrays)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return self.value.shape[0]

    @property
    def labels(self) -> tuple:
        """The groups' names."""
        return tuple(range(self.groups)) if self.label is None else self.label

    @property
    def index(self) -> pd.Index | None:
        """The groups' names as labels that a pandas object may have; None without names."""
        return None if self.label is None else pd.Index(self.label, tupleize_cols=False)

    def names(self, places: Sequence[int] | np.ndarray, limit: int = 5) -> str:
        """Some groups by name: "'a', 'b' and 3 more"."""
        shown = [repr(self.labels[i]) for i in list(places)[:limit]]
        more = len(places) - len(shown)
        return f"{', '.join(shown)} and {more} more" if more else ", ".join(shown)

    @classmethod
    def from_trial(
        cls,
        sample: Sample,
        *,
        by: By,
        splits: int = SPLITS,
        key: PRNGKeyArray | Array | int | None = None,
    ) -> "GroupEstimates":
        """Differences in means within each group of a randomised trial.

        value = mean of the treated - mean of the controls, by sampling weight; std_error^2 the sum
        over arms of s^2 S_2 / S_1^2 (S_p the sum of weight^p; s^2 / n without weights), with the
        degrees of freedom of Welch and Satterthwaite.

        **Arguments:** `by` a covariate's name or labels (n,), as in `Effects.cate`; `key` for
        `splits` random halves of the units, by group and arm; None makes none.

        **Raises:** `DataError` for a group with fewer than two units in an arm, and without
        outcomes; ValueError for a sample with clusters.
        """
        parts = mean_differences(sample, by, _split_keys(splits, key, "a split"))
        found = cls(
            parts.value,
            std_error=parts.std_error,
            df=parts.df,
            effective=parts.effective,
            halves=parts.halves,
            label=parts.label,
        )
        return _of_kind(found, sample.home)

    @classmethod
    def from_effects(
        cls,
        effects: Effects | Interval,
        *,
        by: By | None = None,
        method: AverageMethod | None = None,
        key: PRNGKeyArray | Array | int | None = None,
    ) -> "GroupEstimates":
        """Average effects by group of any estimator, with their errors.

        **Arguments:** `effects`, and `by` and `key` as in `jc.interval`; `method` for the errors,
        default `jc.AbadieImbens()`. Or an `Interval` that was made with `by=`, alone.

        **Raises:** `DataError` for groups without a matched query or without an error; ValueError
        without `by`, and for an interval that is not by group.
        """
        if isinstance(effects, Interval):
            if by is not None or method is not None or key is not None:
                raise ValueError(
                    "an interval has its groups: by=, method= and key= are for effects."
                )
            table = effects
        elif by is None:
            raise ValueError("by= is missing: name the covariate or give the labels of the groups.")
        else:
            table = make_interval(effects, method or AbadieImbens(), by=by, key=key)
        if table.groups is None or table.target.endswith("ratio"):
            raise ValueError(
                "the interval is not of differences by group: make it with jc.interval(..., by=)."
            )
        unmatched = np.flatnonzero(np.isnan(np.asarray(table.estimate)))
        if unmatched.size:
            listed = ", ".join(repr(table.groups.label[g]) for g in unmatched[:5])
            raise DataError(
                f"{unmatched.size} of {len(table.groups.label)} groups have no matched query "
                f"(first {listed}): leave them out with query=, or merge them."
            )
        found = cls(table.estimate, std_error=table.std_error, label=table.groups.label)
        return _of_kind(found, table.home)

    @classmethod
    def from_method(
        cls,
        sample: Sample,
        method: Matcher,
        *,
        by: By,
        estimand: Estimand = "att",
        folds: int = 2,
        interval: AverageMethod | None = None,
        splits: int = 1,
        key: PRNGKeyArray | Array | int,
    ) -> "GroupEstimates":
        """Average effects by group of a matching method, and of the same method in random halves.

        **Arguments:** `method`, `estimand` and `folds` as in `jc.estimate`; `by` and `interval` as
        `by` and `method` in `from_effects`; `splits` halves the units so often, by group and arm,
        and estimates each half apart; 0 never.

        **Raises:** `DataError` for a group without a matched query, in the whole or in a half.
        """
        splits = check_count("splits", splits, least=0)
        options: dict[str, Any] = dict(estimand=estimand, folds=folds)
        effects = estimate(sample, method, key=key, **options)
        whole = cls.from_effects(effects, by=by, method=interval, key=key)
        if not splits:
            return whole
        labels = np.asarray(group_labels(sample, by))
        halves = []
        for one in _split_keys(splits, key, "a split"):
            side = half_of(sample, by, one)
            rows = [np.flatnonzero(side == half) for half in (0, 1)]
            parts = [estimate(sample.take(r), method, key=one, **options) for r in rows]
            halves.append([_averages(part, labels[r], whole) for part, r in zip(parts, rows)])
        return with_halves(whole, np.array(halves))

    @property
    def _single(self) -> bool:
        return self.value.ndim == 1

    def _said(self) -> str:
        value = np.asarray(self.value)
        low, high = number_in_words(float(value.min())), number_in_words(float(value.max()))
        best = np.argsort(-value, kind="stable")
        return (
            f"estimates of {self.groups:,} groups, {low} to {high}, "
            f"{'without' if self.std_error is None else 'with'} errors; the largest are of "
            f"{self.names(best)}"
        )

    def _shown(self) -> pd.DataFrame:
        columns: dict[str, Any] = dict(group=list(self.labels), estimate=np.asarray(self.value))
        errors = {} if self.std_error is None else dict(std_error=np.asarray(self.std_error))
        return pd.DataFrame(columns | errors)

    def hoeffding(self, width: float, *, delta: float = 0.05) -> Vector:
        """How far differences in means (k,) may be off, for `rho`, whatever the outcomes' law.

        width sqrt(ln(2 k / delta) (1 / n_0 + 1 / n_1) / 2), for outcomes from an interval of this
        width: P(|error| >= rho) <= delta / k in each group, so delta for all at once.

        **Raises:** ValueError without counts (only `from_trial` has them), for a width that is not
        positive or that the estimates exceed, delta outside (0, 1).

        **Source:** Hoeffding (1963), JASA 58(301).
        """
        if self.effective is None:
            raise ValueError("there are no counts by arm: make the estimates from a trial.")
        if not 0 < check_number("width", width) < inf:
            raise ValueError(f"width is {width}: say how long the interval of outcomes is.")
        delta = check_share("delta", delta)
        xp = self.value.__array_namespace__()
        if not is_traced(self) and bool((xp.abs(self.value) > width).any()):
            raise ValueError(f"estimates exceed {width:g}: outcomes span a wider interval.")
        return width * xp.sqrt(log(2 * self.groups / delta) * (1 / self.effective).sum(1) / 2)

    def thinned(self, *, key: PRNGKeyArray | Array | int, splits: int = SPLITS) -> "GroupEstimates":
        """The same estimates with halves drawn from their errors: value + and - std_error z.

        For normal estimates the two are independent, and each is as exact as half of the data.

        **Raises:** ValueError without errors.

        **Source:** Tian and Taylor (2018), Annals of Statistics 46(2); Rasines and Young (2023),
        Biometrika 110(3).
        """
        if self.std_error is None:
            raise ValueError("the estimates have no errors to draw halves from: give std_error=.")
        keys = jnp.stack(_split_keys(splits, key, "a thinning"))
        z = jax.vmap(lambda one: jax.random.normal(one, (self.groups,)))(keys)
        z = z if is_traced(self, z) else np.asarray(z, np.float64)
        sides = [self.value + self.std_error * z, self.value - self.std_error * z]
        halves = z.__array_namespace__().stack(sides, axis=1)
        return with_halves(self, halves)


def _of_kind(estimates: GroupEstimates, home: FrameKind) -> GroupEstimates:
    """The same estimates, of which frames are of another kind."""
    new = object.__new__(GroupEstimates)
    for field in dataclasses.fields(GroupEstimates):
        object.__setattr__(new, field.name, getattr(estimates, field.name))
    object.__setattr__(new, "home", home)
    return new


def with_halves(estimates: GroupEstimates, halves: Halves) -> GroupEstimates:
    """The same estimates with halves attached."""
    return eqx.tree_at(lambda e: e.halves, estimates, halves, is_leaf=lambda leaf: leaf is None)


def _averages(
    effects: Effects, labels: Shaped[np.ndarray, " n"], whole: GroupEstimates
) -> Float[np.ndarray, " k"]:
    """Average effects of a half, in the groups of the whole.

    **Raises:** `DataError` for groups without a matched query.
    """
    frame = cate_frame(effects, labels)
    found = dict(zip(frame["group"], frame["effect"].astype(float)))
    means = np.array([found.get(label, np.nan) for label in whole.labels])
    lost = np.flatnonzero(np.isnan(means))
    if lost.size:
        raise DataError(
            f"group {whole.names(lost)} has no matched query in a half ({lost.size} of "
            f"{whole.groups}): merge small groups, or give splits=0."
        )
    return means


def _split_keys(splits: int, key: Any, what: str) -> list[PRNGKeyArray]:
    """One key a split; none without a key."""
    splits = check_count("splits", splits)
    if key is None:
        return []
    base = step_key(as_key(key, what), "halves")
    return [jax.random.fold_in(base, r) for r in range(splits)]


def _check_shapes(arrays: dict[str, Any], label: tuple | None) -> None:
    value = arrays["value"]
    if value.ndim != 1 or not value.shape[0]:
        raise DataError(f"value has shape {value.shape}: one estimate a group is needed.")
    k = value.shape[0]
    wanted = dict(std_error=(k,), df=(k,), effective=(k, 2), halves=(None, 2, k))
    for name, shape in wanted.items():
        found = arrays[name]
        if found is None:
            continue
        same = len(found.shape) == len(shape)
        if not same or any(b not in (None, a) for a, b in zip(found.shape, shape)):
            said = str(shape).replace("None", "r")
            raise DataError(f"{name} has shape {found.shape}: {said} goes with {k} groups.")
    if label is not None and len(label) != k:
        raise DataError(f"there are {len(label)} labels for {k} groups: one a group is needed.")
    if label is not None and len(set(label)) < k:
        twice = next(one for i, one in enumerate(label) if one in label[:i])
        raise DataError(f"the label {twice!r} stands for two groups: make labels unique.")


def _check_values(estimates: GroupEstimates, arrays: dict[str, Any]) -> None:
    """Refuse NaN and infinities, and errors and counts that are none."""
    least = dict(std_error=0.0, df=0.0, effective=0.0)
    for name, found in arrays.items():
        if found is None:
            continue
        low = least.get(name, -inf)
        good = np.isfinite(found) & ((found >= low) if name == "std_error" else (found > low))
        if name == "df":  # errors that are known
            good |= found == inf
        by_group = np.moveaxis(~good, 0 if name == "effective" else -1, 0)
        places = np.flatnonzero(by_group.reshape(estimates.groups, -1).any(1))
        if places.size:
            first = float(found[~good][0])
            wanted = {"value": "finite", "halves": "finite", "std_error": "at least 0 and finite"}
            raise DataError(
                f"{name} is {'NaN' if first != first else f'{first:g}'} in group "
                f"{estimates.names(places)} ({places.size} of {estimates.groups}): it must be "
                f"{wanted.get(name, 'above 0')}; merge or leave out groups that cannot be "
                "estimated."
            )
