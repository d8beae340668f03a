"""What the leaves of a tree ask of a unit, in words."""

import numpy as np

from jcausal.data import Schema, number_in_words
from jcausal.matching.trees._nodes import TreeNodes
from jcausal.surfaces import Encoding

Path = dict[int, tuple[float, float]]  # feature -> (above, at most)


def rules(nodes: TreeNodes, leaves: int, encoding: Encoding, schema: Schema) -> list[str]:
    """One line a leaf."""
    return [rule(path, encoding, schema) for path in paths(nodes, leaves)]


def paths(nodes: TreeNodes, leaves: int) -> list[Path]:
    """For each leaf the interval (above, at most] of every feature that its path asks for."""
    feature, threshold = np.asarray(nodes.feature), np.asarray(nodes.threshold, float)
    left, right, leaf = (np.asarray(a) for a in (nodes.left, nodes.right, nodes.leaf))
    found: list[Path] = [{} for _ in range(leaves)]
    stack: list[tuple[int, Path]] = [(0, {})]
    while stack:
        i, path = stack.pop()
        if feature[i] < 0:
            found[leaf[i]] = path
            continue
        f, cut = int(feature[i]), float(threshold[i])
        low, high = path.get(f, (-np.inf, np.inf))
        stack.append((int(left[i]), path | {f: (low, min(high, cut))}))
        stack.append((int(right[i]), path | {f: (max(low, cut), high)}))
    return found


def branches(nodes: TreeNodes, node: int, encoding: Encoding, schema: Schema) -> tuple[str, str]:
    """What the left and the right branch of a node ask, in words."""
    f, cut = int(np.asarray(nodes.feature)[node]), float(np.asarray(nodes.threshold)[node])
    left, right = {f: (-np.inf, cut)}, {f: (cut, np.inf)}
    return rule(left, encoding, schema), rule(right, encoding, schema)


def rule(path: Path, encoding: Encoding, schema: Schema) -> str:
    """What the intervals of a path ask of each covariate, in the order of the covariates."""
    column, level = np.asarray(encoding.column), np.asarray(encoding.level)
    parts: list[tuple[int, str]] = []
    for f, (low, high) in path.items():
        if level[f] < 0:
            parts.append((int(column[f]), interval(schema, int(column[f]), low, high)))
    for j in schema.categories:
        held = {int(level[f]): low > 0 for f, (low, _) in path.items() if column[f] == j}
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


def feature_names(schema: Schema, encoding: Encoding) -> list[str]:
    """A name for every feature: the covariate's, or "covariate: level"."""
    return [
        schema.names[j] if level < 0 else f"{schema.names[j]}: {schema.levels[j][level]}"
        for j, level in zip(np.asarray(encoding.column), np.asarray(encoding.level))
    ]
