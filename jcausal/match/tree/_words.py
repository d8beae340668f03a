"""Trees in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcausal.data import Sample, Schema, like, number_in_words

if TYPE_CHECKING:
    from jcausal.estimate import Effects
    from jcausal.match.tree._tree import Tree

Bounds = dict[int, tuple[float, float]]  # feature -> (above, at most)


def paths(tree: Tree) -> list[Bounds]:
    """For each leaf the interval (above, at most] of every feature that its path asks for."""
    nodes = tree.nodes
    feature, threshold = np.asarray(nodes.feature), np.asarray(nodes.threshold, float)
    left, right, leaf = (np.asarray(a) for a in (nodes.left, nodes.right, nodes.leaf))
    found: list[Bounds] = [{} for _ in range(tree.leaves)]
    stack: list[tuple[int, Bounds]] = [(0, {})]
    while stack:
        i, bounds = stack.pop()
        if feature[i] < 0:
            found[leaf[i]] = bounds
            continue
        f, cut = int(feature[i]), float(threshold[i])
        low, high = bounds.get(f, (-np.inf, np.inf))
        stack.append((int(left[i]), bounds | {f: (low, min(high, cut))}))
        stack.append((int(right[i]), bounds | {f: (max(low, cut), high)}))
    return found


def rules(tree: Tree) -> list[str]:
    """One line a leaf."""
    return [rule(tree, bounds) for bounds in paths(tree)]


def rule(tree: Tree, bounds: Bounds) -> str:
    """What the intervals of a path ask of each covariate, in the order of the covariates."""
    schema = tree.schema
    column, level = np.asarray(tree.encoding.column), np.asarray(tree.encoding.level)
    parts: list[tuple[int, str]] = []
    for f, (low, high) in bounds.items():
        if level[f] < 0:
            parts.append((int(column[f]), interval(schema, int(column[f]), low, high)))
    for j in schema.categories:
        held = {int(level[f]): low > 0 for f, (low, _) in bounds.items() if column[f] == j}
        held = {k: inside for k, inside in held.items() if k >= 0}
        if held:
            parts.append((int(j), levels(schema, int(j), held)))
    said = [words for _, words in sorted(parts)]
    return ", ".join(said) if said else "everybody"


def interval(schema: Schema, j: int, low: float, high: float) -> str:
    """An interval (low, high] of an ordered covariate."""
    name, unit = schema.names[j], schema.units[j]
    if schema.kinds[j] == "binary":
        return name if low >= 0 else f"not {name}"
    tail = f" {unit}" if unit else ""
    if low == -np.inf:
        return f"{name} at most {number_in_words(high)}{tail}"
    if high == np.inf:
        return f"{name} above {number_in_words(low)}{tail}"
    words = number_in_words(low), number_in_words(high)
    if words[0] == words[1]:
        words = f"{low:,}", f"{high:,}"
    return f"{name} above {words[0]}, at most {words[1]}{tail}"


def levels(schema: Schema, j: int, held: dict[int, bool]) -> str:
    """Which levels of a category a path lets in: `held` maps a level to whether it is asked for."""
    name, labels = schema.names[j], schema.levels[j]
    flagged = {flag: number for number, flag in schema.flag_of.items()}
    if j in flagged:
        missing = held.get(1, not held.get(0, True))
        return f"{schema.names[flagged[j]]} {'missing' if missing else 'known'}"
    inside = [labels[k] for k, asked in held.items() if asked]
    if inside:
        return f"{name} {inside[0]}"
    out = [labels[k] for k in sorted(held)]
    listed = out[0] if len(out) == 1 else f"{', '.join(out[:-1])} or {out[-1]}"
    return f"{name} not {listed}"


def leaves_frame(tree: Tree, sample: Sample | None, effects: Effects | None) -> Any:
    """One row a leaf."""
    controls, treated = np.asarray(tree.controls), np.asarray(tree.treated)
    if sample is None and effects is not None:
        sample = effects.sample
    if sample is not None:
        leaf, arm = np.asarray(tree.leaf(sample.x)), np.asarray(sample.t)
        valid = np.asarray(sample.valid)
        controls, treated = (
            np.bincount(leaf[valid & (arm == a)], minlength=tree.leaves) for a in (False, True)
        )
    columns: dict[str, object] = dict(
        leaf=np.arange(tree.leaves),
        rule=rules(tree),
        controls=controls,
        treated=treated,
        adjusted_r2=np.asarray(tree.adjusted_r2),
        residual_sd=np.sqrt(np.asarray(tree.sigma2)),
    )
    if effects is not None:
        columns |= _effects_by_leaf(tree, effects)
    return like("pandas" if sample is None else sample.home, pd.DataFrame(columns))


def _effects_by_leaf(tree: Tree, effects: Effects) -> dict[str, object]:
    """Matched treated queries and their mean effect in each leaf; NaN without any."""
    query = np.asarray(effects.matching.query)
    use = np.asarray(effects.matched & effects.matching.query_treated) & (query >= 0)
    leaf = np.asarray(tree.leaf(effects.sample.x))[query[use]]
    weight = np.asarray(effects.matching.query_weight, float)[use]
    total = np.bincount(leaf, weight, tree.leaves)
    sums = np.bincount(leaf, weight * np.asarray(effects.ite, float)[use], tree.leaves)
    att = np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)
    return dict(matched=np.bincount(leaf, minlength=tree.leaves), att=att)
