"""Trees in words and as frames."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcausal.data import Sample, Schema, beside_covariates, number_in_words

if TYPE_CHECKING:
    from jcausal.matching.trees._leaves import Leaves
    from jcausal.matching.trees._tree import Tree
    from jcausal.surfaces import Encoding

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


def conditions(tree: Tree, node: int) -> tuple[str, str]:
    """What the left and the right branch of a node ask, in words."""
    nodes = tree.nodes
    f, cut = int(np.asarray(nodes.feature)[node]), float(np.asarray(nodes.threshold)[node])
    return rule(tree, {f: (-np.inf, cut)}), rule(tree, {f: (cut, np.inf)})


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


def leaves_frame(tree: Tree, sample: Sample | None, effects: Any | None) -> pd.DataFrame:
    """One row a leaf."""
    controls, treated = np.asarray(tree.controls), np.asarray(tree.treated)
    if sample is not None:
        controls, treated = (np.asarray(tree.count(sample, treated=arm)) for arm in (False, True))
    columns: dict[str, object] = dict(
        leaf=np.arange(tree.leaves),
        rule=rules(tree),
        controls=controls,
        treated=treated,
        adjusted_r2=np.asarray(tree.adjusted_r2),
        residual_sd=np.sqrt(np.asarray(tree.sigma2)),
    )
    if effects is not None:
        matched, weight, total = sums_by_leaf(tree, effects)
        att = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
        columns |= dict(matched=matched, att=att)
    return pd.DataFrame(columns)


def counts(leaves: Leaves, at: int) -> str:
    """Units of a leaf in words: "14 controls, 2 treated"."""
    design = leaves.design
    controls, treated = (int(np.asarray(a)[at]) for a in (design.controls, design.treated))
    return f"{controls:,} control{'' if controls == 1 else 's'}, {treated:,} treated"


def units_frame(leaves: Leaves) -> pd.DataFrame:
    """The matched data with weights."""
    sample = leaves.sample
    weight = np.asarray(leaves.matched_weights())
    rows = np.flatnonzero(weight != 0)
    columns: dict[str, object] = dict(
        id=sample.id[rows], treated=np.asarray(sample.t)[rows].astype(int)
    )
    if sample.y is not None:
        columns["outcome"] = np.asarray(sample.y)[rows]
    columns |= dict(
        fold=np.asarray(leaves.fold)[rows],
        leaf=np.asarray(leaves.leaf)[rows],
        weight=weight[rows],
    )
    return beside_covariates(columns, sample.schema, sample.points[rows])


def queries_frame(leaves: Leaves) -> pd.DataFrame:
    """One row a query."""
    query, rules = np.asarray(leaves.query), np.array(leaves.rules(), object)
    leaf, matched = np.asarray(leaves.leaf)[query], np.asarray(leaves.matched)
    counts = (np.asarray(a) for a in (leaves.design.controls, leaves.design.treated))
    controls, treated = (np.where(leaf >= 0, a[leaf], 0) for a in counts)
    outside = np.asarray(leaves.outside) & matched[:, None]
    names = np.array(feature_names(leaves.trees[0].schema, leaves.trees[0].encoding), object)
    return pd.DataFrame(
        dict(
            id=leaves.sample.id[query],
            matched=matched,
            status=np.asarray(leaves.status),
            leaf=leaf,
            rule=np.where(leaf >= 0, rules[leaf], ""),
            controls_in_leaf=controls,
            treated_in_leaf=treated,
            outside=[" | ".join(names[row]) for row in outside],
        )
    )


def design_frame(leaves: Leaves) -> pd.DataFrame:
    """One row a leaf of the trees of all folds."""
    fold = np.concatenate([np.full(tree.leaves, k) for k, tree in enumerate(leaves.trees)])
    design = leaves.design
    return pd.DataFrame(
        dict(
            leaf=np.arange(fold.size),
            fold=fold,
            rule=leaves.rules(),
            controls=np.asarray(design.controls),
            treated=np.asarray(design.treated),
            rank=np.asarray(design.rank),
        )
    )


def feature_names(schema: Schema, encoding: Encoding) -> list[str]:
    """A name for every feature: the covariate's, or "covariate: level"."""
    return [
        schema.names[j] if level < 0 else f"{schema.names[j]}: {schema.levels[j][level]}"
        for j, level in zip(np.asarray(encoding.column), np.asarray(encoding.level))
    ]


def sums_by_leaf(tree: Tree, effects: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each leaf the matched treated queries, their weight, and their effects times weight."""
    query = np.asarray(effects.matching.query)
    use = np.asarray(effects.matched & effects.matching.query_treated) & (query >= 0)
    leaf = np.asarray(tree.leaf(effects.sample.x))[query[use]]
    weight = np.asarray(effects.matching.query_weight, float)[use]
    total = weight * np.asarray(effects.ite, float)[use]
    count, of = np.bincount(leaf, minlength=tree.leaves), partial(np.bincount, leaf)
    return count, of(weight, tree.leaves), of(total, tree.leaves)
