"""Covariates in float64 on the host: read off the ladders once and kept beside their codes."""

import weakref

import numpy as np
from jaxtyping import Array, Float, Int

from jcausal_kernels import MISSING

_KEPT: dict[int, Float[np.ndarray, "n p"]] = {}  # by the identity of codes that are alive


def read_off(
    codes: Int[np.ndarray, "m p"], ladder: Float[np.ndarray, "p l"] | Float[Array, "p l"]
) -> Float[np.ndarray, "m p"]:
    """The ladders' values at some codes; NaN where a value is missing."""
    gap = codes == MISSING
    values = np.take_along_axis(np.asarray(ladder, np.float64), np.where(gap, 0, codes).T, 1).T
    return np.where(gap, np.nan, values)


def kept_points(
    codes: Int[Array, "n p"] | Int[np.ndarray, "n p"],
    ladder: Float[np.ndarray, "p l"] | Float[Array, "p l"],
) -> Float[np.ndarray, "n p"]:
    """All of them, not to be written to; kept as long as the codes are.

    They stand beside the sample, since what a Module carries beside its fields enters the keys of
    traces.
    """
    found = _KEPT.get(id(codes))
    if found is None:
        found = _KEPT[id(codes)] = read_off(np.asarray(codes), ladder)
        found.flags.writeable = False
        weakref.finalize(codes, _KEPT.pop, id(codes), None)
    return found
