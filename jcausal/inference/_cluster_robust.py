"""Weighted least squares with errors that are robust to clusters, few ones included (host)."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Correction = Literal["CR0", "CR1", "CR2"]
CUT = 1e-9  # of the largest: singular values below are 0
DIRECT = 64  # units of a cluster whose matrix is taken apart as it is


class WeightedDesign(NamedTuple):
    """Rows of a weighted regression whose columns are orthonormal: x' W x = 1.

    `x` (m, p), `weight` (m,), `cluster` (m,) codes from 0; `turn` (c, p) leads from the columns
    that were given to these: a contrast l of the coefficients given is l @ turn of those here.
    """

    x: Float[np.ndarray, "m p"]
    weight: Float[np.ndarray, " m"]
    cluster: Int[np.ndarray, " m"]
    turn: Float[np.ndarray, "c p"]

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self.cluster.max()) + 1

    def coefficients(self, y: Float[np.ndarray, " m"]) -> Float[np.ndarray, " p"]:
        """Weighted least squares."""
        return self.x.T @ (self.weight * y)

    def by_cluster(self, rows: Float[np.ndarray, "m *k"]) -> Float[np.ndarray, "g *k"]:
        """Sums over the rows of each cluster."""
        out = np.zeros((self.clusters, *rows.shape[1:]))
        np.add.at(out, self.cluster, rows)
        return out


def orthonormal(
    columns: Float[np.ndarray, "m c"],
    weight: Float[np.ndarray, " m"],
    cluster: Int[np.ndarray, " m"],
) -> WeightedDesign:
    """The design of some columns; columns that others make are no trouble."""
    _, size, turned = np.linalg.svd(np.sqrt(weight)[:, None] * columns, full_matrices=False)
    kept = size > CUT * size[0]
    turn = turned[kept].T / size[kept]
    code = np.unique(cluster, return_inverse=True)[1].ravel()
    return WeightedDesign(columns @ turn, weight, code, turn)


def lifted(
    design: WeightedDesign, residual: Float[np.ndarray, " m"], correction: Correction
) -> Float[np.ndarray, " m"]:
    """Residuals, each as large as the noise is expected to be.

    "CR0" as they are; "CR1" by sqrt(G / (G - 1) (m - 1) / (m - p)); "CR2" within each cluster by
    the inverse symmetric root of what the fit leaves of independent noise of equal variance.

    **Source:** Bell and McCaffrey (2002), Survey Methodology 28(2); with weights: Pustejovsky and
    Tipton (2018), JBES 36(4), the working covariance the identity.
    """
    if correction == "CR0":
        return residual
    if correction == "CR1":
        g, (m, p) = design.clusters, design.x.shape
        return residual * np.sqrt(g / (g - 1) * (m - 1) / max(m - p, 1))
    return _through_roots(design, residual)


def _through_roots(
    design: WeightedDesign, values: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """A_g values_g of every cluster, clusters of one size at once."""
    out = np.zeros_like(values)
    order = np.argsort(design.cluster, kind="stable")
    sizes = np.bincount(design.cluster)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size in np.unique(sizes):
        some = np.flatnonzero(sizes == size)
        block = len(some) if size <= DIRECT else 1
        block = min(block, max(1, 2**22 // (int(size) * (int(size) + design.x.shape[1]))))
        for start in range(0, len(some), block):
            rows = order[first[some[start : start + block], None] + np.arange(size)]
            out[rows] = _rooted(design, rows, values[rows])
    return out


def _rooted(
    design: WeightedDesign, rows: Int[np.ndarray, "k s"], values: Float[np.ndarray, "k s"]
) -> Float[np.ndarray, "k s"]:
    """The same of k clusters of s units: M M' of a cluster is 1 + U C U', U of 2 p columns."""
    x, weight = design.x[rows], design.weight[rows][..., None]
    square = design.x.T @ (design.weight[:, None] ** 2 * design.x)
    p, s = x.shape[2], x.shape[1]
    u = np.concatenate([x, weight * x], axis=2)
    middle = np.block([[square, -np.eye(p)], [-np.eye(p), np.zeros((p, p))]])
    if s > 2 * p:
        base, small = np.linalg.qr(u)
        change = small @ middle @ np.swapaxes(small, 1, 2)
        inside = np.einsum("ksp,ks->kp", base, values)
        root = _inverse_root(np.eye(2 * p) + change) @ inside[..., None] - inside[..., None]
        return values + (base @ root)[..., 0]
    whole = np.eye(s) + u @ middle @ np.swapaxes(u, 1, 2)
    return (_inverse_root(whole) @ values[..., None])[..., 0]


def _inverse_root(matrix: Float[np.ndarray, "k s s"]) -> Float[np.ndarray, "k s s"]:
    """The symmetric root of the inverse; directions that the fit takes away are 0."""
    size, direction = np.linalg.eigh(matrix)
    kept = size > 1e-8
    root = np.where(kept, np.where(kept, size, 1) ** -0.5, 0)
    return (direction * root[:, None, :]) @ np.swapaxes(direction, 1, 2)


def satterthwaite(design: WeightedDesign, contrast: Float[np.ndarray, " p"]) -> float:
    """Degrees of freedom of a contrast's CR2 variance, under independent noise of equal variance.

    With p_g = M' A_g W_g x_g contrast, (sum |p_g|^2)^2 / sum over g, h of (p_g' p_h)^2.

    **Source:** Bell and McCaffrey (2002); Imbens and Kolesar (2016), Review of Economics and
    Statistics 98(4).
    """
    score = _through_roots(design, design.weight * (design.x @ contrast))
    own = design.by_cluster(score**2)
    plain = design.by_cluster(design.x * score[:, None])
    weighted = design.by_cluster(design.x * (design.weight * score)[:, None])
    square = design.x.T @ (design.weight[:, None] ** 2 * design.x)
    p = design.x.shape[1]
    both = np.concatenate([plain, weighted], axis=1)
    middle = np.block([[square, -np.eye(p)], [-np.eye(p), np.zeros((p, p))]])
    turned = both @ middle
    trace = own.sum() + (turned * both).sum()
    product = middle @ (both.T @ both)
    squares = (own**2).sum() + 2 * (own * (turned * both).sum(1)).sum()
    squares += np.trace(product @ product)
    return float(trace**2 / squares) if squares > 0 else float("nan")
