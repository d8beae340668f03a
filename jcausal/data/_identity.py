"""What rows are told apart and kept together by: ids and clusters."""

import hashlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped, UInt32

from jcausal.data._errors import DataError
from jcausal.data._host import to_device
from jcausal.data._labels import as_labels, numbered
from jcausal.data._shapes import is_traced


def read_ids(id: Any, n: int) -> Shaped[np.ndarray, " n"]:
    """Ids as labels, one a row."""
    labels = as_labels("id", id)
    if labels.shape != (n,):
        raise DataError(f"id has shape {labels.shape} but x has {n} rows: one id a row.")
    return labels


def read_clusters(cluster: Any, n: int) -> Shaped[np.ndarray, " n"] | Array:
    """Clusters as labels, one a row; traced ones are numbers."""
    if is_traced(cluster):
        return jnp.asarray(cluster)
    labels = as_labels("cluster", cluster)
    if labels.shape != (n,):
        raise DataError(f"cluster has shape {labels.shape} but x has {n} rows: one label a row.")
    return labels


def row_words(ids: Shaped[np.ndarray, " n"] | None, n: int) -> UInt32[Array, "n 2"]:
    """64 bits that name each row in its sample: of its id, else its position."""
    if ids is None:
        position = np.arange(n, dtype=np.uint32)
        return to_device(np.stack([np.zeros_like(position), position], axis=1))
    short = hashlib.blake2b
    digests = [short(str(v).encode(), digest_size=8).digest() for v in ids.tolist()]
    return to_device(np.frombuffer(b"".join(digests), np.uint32).reshape(n, 2))


def cluster_codes(cluster: Shaped[np.ndarray, " n"] | Array) -> Int[Array, " n"]:
    """Clusters numbered 0, 1, ... in the order of their labels; traced ones are numbers already."""
    if is_traced(cluster):
        return jnp.asarray(cluster, jnp.int32)
    return to_device(numbered("cluster", np.asarray(cluster))[0].astype(np.int32))
