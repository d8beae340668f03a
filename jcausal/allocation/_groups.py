"""Groups of units to give a treatment to or not, and those too small to be estimated."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    DataError,
    Options,
    Sample,
    Shown,
    as_key,
    check_count,
    check_kind,
    check_number,
    check_object,
    is_traced,
    like,
    step_key,
)


class Labelled(NamedTuple):
    """A group number for each row, -1 for none, and the groups' names."""

    code: Int[np.ndarray, " n"]
    label: tuple[str, ...]


class Grouping(Shown, eqx.Module):
    """The units of a sample in k groups. Made by `jc.allocation.group`.

    `sample` holds the rows that are in a group, `code` (n,) the group of each, `label` the groups'
    names; `left_out` tells of the groups that were dropped and why. Allocate with
    `jc.GroupEstimates.from_trial(grouping.sample, by=grouping.labels)`.
    """

    sample: Sample
    code: Int[np.ndarray, " n"]
    label: tuple[str, ...] = eqx.field(static=True)
    left_out: tuple[str, ...] = eqx.field(static=True)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.label)

    @property
    def labels(self) -> np.ndarray:
        """The name of each row's group (n,)."""
        return np.array(self.label, object)[self.code]

    @property
    def counts(self) -> Int[np.ndarray, "k 2"]:
        """Controls and treated in each group."""
        return self._sums(np.ones(self.sample.n)).astype(int)

    @property
    def effects(self) -> Float[np.ndarray, " k"]:
        """Mean outcome of the treated less that of the controls in each group, by sampling weight.

        **Raises:** `DataError` without outcomes, and for groups without an arm.
        """
        if self.sample.y is None:
            raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
        weight, y = (np.asarray(a, np.float64) for a in (self.sample.weight, self.sample.y))
        mass = self._sums(weight)
        empty = np.flatnonzero((mass <= 0).any(1))
        if empty.size:
            raise DataError(
                f"group {self.label[empty[0]]!r} has no treated or no controls of positive weight "
                f"({empty.size} of {self.groups} groups): leave such groups out with .filtered()."
            )
        middle = np.average(y, weights=weight)
        means = self._sums(weight * (y - middle)) / mass
        return means[:, 1] - means[:, 0]

    def _sums(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "k 2"]:
        cell = 2 * self.code + np.asarray(self.sample.t)
        return np.bincount(cell, values, minlength=2 * self.groups).reshape(-1, 2)

    def filtered(
        self,
        *,
        min_arm: int = 3,
        treated_share: tuple[float, float] = (0.15, 0.85),
        min_size: int = 6,
    ) -> "Grouping":
        """Only the groups with enough units in each arm and in all; `left_out` names the others.

        **Arguments:** units an arm at least; smallest and largest share treated; units at least.

        **Returns:** a `Grouping` of the rows of these groups.

        **Raises:** `DataError` when no group is left.

        **Source:** the defaults are those of Casacuberta and Hardt, arXiv 2601.05597, appendix B.
        """
        min_arm = check_count("min_arm", min_arm, least=0)
        min_size = check_count("min_size", min_size, least=0)
        for share in treated_share:
            check_number("treated_share", share)
        count = self.counts
        size = count.sum(1)
        share = count[:, 1] / np.maximum(size, 1)
        small = (count < min_arm).any(1)
        uneven = (share < treated_share[0]) | (share > treated_share[1])
        keep = ~small & ~uneven & (size >= min_size)
        if not keep.any():
            raise DataError(
                f"none of {self.groups} groups has {min_arm} units in each arm, {min_size} in all "
                f"and a treated share from {treated_share[0]:g} to {treated_share[1]:g}: make "
                "fewer groups, or give other limits."
            )
        told = tuple(
            f"{self.label[g]}: {count[g, 0]} controls, {count[g, 1]} treated"
            for g in np.flatnonzero(~keep)
        )
        code = np.where(keep, np.cumsum(keep) - 1, -1)[self.code]
        label = tuple(name for name, kept in zip(self.label, keep) if kept)
        return _with_rows(self.sample, Labelled(code, label), self.left_out + told)

    def to_frame(self) -> Any:
        """One row a group: name, units, controls, treated; a frame of the sample's kind."""
        return like(self.sample.home, self._shown())

    def _said(self) -> str:
        units = self.counts.sum(1)
        least, most = units.min(), units.max()
        lines = [
            f"{self.sample.n:,} units in {self.groups:,} groups of {least:,} to {most:,} units"
        ]
        if self.left_out:
            lines.append(f"left out {len(self.left_out):,} groups: {'; '.join(self.left_out[:5])}")
        return "\n".join(lines)

    def _shown(self) -> pd.DataFrame:
        count = self.counts
        return pd.DataFrame(
            dict(
                group=list(self.label),
                units=count.sum(1),
                controls=count[:, 0],
                treated=count[:, 1],
            )
        )


class GroupingMethod(Options, eqx.Module):
    """A way to divide units into groups; holds hyperparameters only."""

    @abstractmethod
    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """A group for each row."""


def _with_rows(sample: Sample, found: Labelled, left_out: tuple[str, ...]) -> Grouping:
    """The rows that are in a group."""
    rows = np.flatnonzero((found.code >= 0) & np.asarray(sample.valid))
    kept = sample if rows.size == sample.n else sample.take(rows)
    return Grouping(kept, found.code[rows], found.label, left_out)


def group(
    sample: Sample, method: GroupingMethod, *, key: PRNGKeyArray | Array | int | None = None
) -> Grouping:
    """Divide the units of a sample into groups that are treated as a whole or not at all.

    **Arguments:**

    - `sample`: concrete.
    - `method`: `ByColumn`, `Quantiles`, `PropensityStrata`, `KMeans` or `EffectKMeans` of
      `jc.allocation`.
    - `key`: a JAX key or an int, for the methods that draw at random (the last three).

    **Returns:** `Grouping`. **Raises:** `DataError` and ValueError as the method says; ValueError
    under tracing.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> found = jc.allocation.group(men, jc.allocation.Quantiles("age", 12))
        >>> found.groups, found.filtered(min_arm=12).groups
        (12, 7)
    """
    check_kind(sample, Sample, "group", FROM_FRAME)
    check_object(method)
    if not isinstance(method, GroupingMethod):
        raise ValueError(
            f"{type(method).__name__} is no way to group such as jc.allocation.KMeans(8)."
        )
    if is_traced(sample):
        raise ValueError("groups are made of concrete samples: divide them outside of jit.")
    step = None if key is None else step_key(as_key(key, "a grouping"), "group")
    found = method.divide(sample, step)
    inside = found.code[np.asarray(sample.valid)]
    used = np.isin(np.arange(len(found.label)), inside)
    code = np.where(found.code >= 0, (np.cumsum(used) - 1)[found.code], -1)
    label = tuple(name for name, seen in zip(found.label, used) if seen)
    return _with_rows(sample, Labelled(code, label), ())
