"""What a row holds as 64 bits, and which sample it stands in: the same in every process."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from jcausal.data._host import Values, on_host
from jcausal.data._schema import Schema
from jcausal_kernels import MISSING

BLOCK = 2**16  # rows that are worked out at a time
GAP = np.uint32(0x7FC00000)  # what stands for a missing number: the bits of NaN


def row_content(
    x: Float[Array, "n p"], codes: Int[Array, "n p"], t: Bool[Array, " n"], schema: Schema
) -> UInt32[Array, "n 2"]:
    """64 bits of each row's covariates and treatment.

    Covariates count by their names, in float32, and levels by their labels: neither the order of
    the columns nor that of the levels matters, nor what fills a gap.
    """
    return _content(x, codes, t, _salts(schema), _labels(schema))


def with_outcome(
    content: UInt32[Array, "n 2"], y: Float[Array, " n"] | None
) -> UInt32[Array, "n 2"]:
    """The same with the outcome, where there is one."""
    return content if y is None else _with_outcome(content, y)


def origin_of(
    content: UInt32[Array, "n 2"], y: Float[Array, " n"] | None, valid: Bool[Array, " n"]
) -> UInt32[Array, " 2"]:
    """64 bits of a whole sample: of what its valid rows hold, and where each stands."""
    return _origin(with_outcome(content, y), valid)


def _salts(schema: Schema) -> UInt32[np.ndarray, "p 2"]:
    return np.stack([_words(f"column {name}") for name in schema.names])


def _labels(schema: Schema) -> dict[int, UInt32[np.ndarray, " l"]]:
    """A number for each level of each category, by its label."""
    return {
        int(j): np.array([_words(label)[0] for label in schema.levels[j]], np.uint32)
        for j in schema.categories
    }


def _words(text: str) -> UInt32[np.ndarray, " 2"]:
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=8).digest(), np.uint32)


OUTCOME, ARM = _words("outcome"), _words("treatment")


def _bits(lib: Any, values: Float[Values, "..."]) -> Any:
    """The bits of numbers in float32, with one zero."""
    short = values.astype(np.float32) + np.float32(0)
    return short.view(np.uint32) if lib is np else lax.bitcast_convert_type(short, jnp.uint32)


def _mixed(word: Any) -> Any:
    """Every bit of a 32-bit number spread over all of them (the end of MurmurHash3, by Appleby)."""
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return word ^ (word >> np.uint32(16))


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


@on_host
def _content(
    lib: Any,
    x: Float[Array, "n p"],
    codes: Int[Array, "n p"],
    t: Bool[Array, " n"],
    salts: UInt32[np.ndarray, "p 2"],
    labels: dict[int, UInt32[np.ndarray, " l"]],
) -> UInt32[Array, "n 2"]:
    def some(at: slice) -> Any:
        code = codes[at]
        word = lib.where(code == MISSING, GAP, _bits(lib, x[at]))
        for j, label in labels.items():
            own = lib.asarray(label)[code[:, j]]
            here = np.arange(code.shape[1]) == j
            word = lib.where(here, own[:, None], word)
        arm = t[at].astype(np.uint32)
        columns = [
            _mixed(_mixed(word ^ salts[:, k]) + salts[:, k]).sum(1, dtype=np.uint32)
            + _mixed(arm ^ ARM[k])
            for k in range(2)
        ]
        return lib.stack([_mixed(column) for column in columns], axis=1)

    if lib is np:
        return np.concatenate([some(at) for at in _blocks(len(x))])  # type: ignore[return-value]
    return some(slice(None))


@on_host
def _with_outcome(
    lib: Any, content: UInt32[Array, "n 2"], y: Float[Array, " n"]
) -> UInt32[Array, "n 2"]:
    word = _bits(lib, y)
    return lib.stack([_mixed(content[:, k] + _mixed(word ^ OUTCOME[k])) for k in range(2)], axis=1)


@on_host
def _origin(
    lib: Any, content: UInt32[Array, "n 2"], valid: Bool[Array, " n"]
) -> UInt32[Array, " 2"]:
    place = lib.arange(content.shape[0]).astype(np.uint32)[:, None]
    each = _mixed(_mixed(content) + place * np.uint32(0x9E3779B9))
    return lib.where(valid[:, None], each, np.uint32(0)).sum(0, dtype=np.uint32)
