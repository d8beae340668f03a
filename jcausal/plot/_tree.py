"""A picture of an M5 tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from jcausal.data import as_pandas, check_kind, number_in_words
from jcausal.effects import Effects
from jcausal.matching import Tree
from jcausal.matching.trees import conditions, sums_by_leaf
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, LINE = "#222222", "#8c8c8c"


class _Drawn(NamedTuple):
    """What is drawn: nodes by number, place (x, -depth); those cut off stand for many leaves."""

    place: dict[int, tuple[float, int]]
    leaves: dict[int, list[int]]


def _laid_out(tree: Tree, depth: int) -> _Drawn:
    """Leaves (and nodes at the last depth drawn) evenly from left to right, parents between."""
    feature, left, right, number = (
        np.asarray(a)
        for a in (tree.nodes.feature, tree.nodes.left, tree.nodes.right, tree.nodes.leaf)
    )
    place: dict[int, tuple[float, int]] = {}
    leaves: dict[int, list[int]] = {}

    def below(i: int) -> list[int]:
        if feature[i] < 0:
            return [int(number[i])]
        return below(int(left[i])) + below(int(right[i]))

    def put(i: int, level: int) -> float:
        if feature[i] < 0 or level == depth:
            leaves[i] = below(i)
            x = float(len(leaves) - 1)
        else:
            x = (put(int(left[i]), level + 1) + put(int(right[i]), level + 1)) / 2
        place[i] = (x, -level)
        return x

    put(0, 0)
    return _Drawn(place, leaves)


def tree(
    found: Tree, *, effects: Effects | None = None, depth: int = 4, ax: Axes | None = None
) -> Axes:
    """A tree from its root down, with what each branch asks and what each leaf holds.

    **Arguments:** `found` a tree; `effects` of units in it: leaves show the mean effect on their
    treated, by colour and number; `depth` levels to draw, below which a node stands for its leaves;
    `ax`.

    **Returns:** the axes. ValueError for a depth below 1.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.fit(jc.datasets.lalonde("psid"), jc.M5Tree(min_controls=300))
        >>> jc.plot.tree(found).get_title()
        'M5 tree: 5 leaves, 2,490 controls, 185 treated'
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib import colors

    check_kind(found, Tree, "plot.tree", "pass jc.fit(sample, jc.M5Tree()) or matching.trees[0]")
    if depth < 1:
        raise ValueError(f"depth is {depth}: draw at least one level.")
    drawn = _laid_out(found, depth)
    wide, tall = len(drawn.leaves), 1 - min(y for _, y in drawn.place.values())
    if ax is None:
        size = (max(6.0, 1.35 * wide), max(3.0, 1.25 * tall))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    frame = as_pandas(found.to_frame(effects=effects))
    att = _means(found, effects, drawn) if effects is not None else {}
    most = max([abs(v) for v in att.values() if np.isfinite(v)], default=0.0) or 1.0
    colours, norm = mpl.colormaps["PuOr"], colors.Normalize(-most, most)
    for i, (x, y) in drawn.place.items():
        if i in drawn.leaves:
            words, colour = _leaf_words(frame, drawn.leaves[i], att.get(i)), "white"
            if np.isfinite(att.get(i, np.nan)):
                pale = [0.45 * part + 0.55 for part in colours(norm(att[i]))[:3]]
                colour = colors.to_hex((pale[0], pale[1], pale[2]))
            box = dict(boxstyle="round,pad=0.35", fc=colour, ec=LINE)
            ax.text(x, y, words, ha="center", va="center", fontsize=7.5, color=INK, bbox=box)
            continue
        for side, child in enumerate((int(found.nodes.left[i]), int(found.nodes.right[i]))):
            to = drawn.place[child]
            ax.plot([x, to[0]], [y, to[1]], color=LINE, lw=1, zorder=0)
            said = plain(conditions(found, i)[side], 72, wrap=True)
            far = 0.68 if side else 0.42  # siblings at two heights, so that words stay apart
            at = (x + far * (to[0] - x), y + far * (to[1] - y))
            ax.text(*at, said, ha="center", va="center", fontsize=7.5, color=INK, bbox=_PLAIN)
    ax.set_xlim(-0.6, wide - 0.4)
    ax.set_ylim(0.5 - tall, 0.4)
    ax.set_axis_off()
    counts = f"{frame['controls'].sum():,} controls, {frame['treated'].sum():,} treated"
    ax.set_title(f"M5 tree: {found.leaves:,} {'leaf' if wide == 1 else 'leaves'}, {counts}")
    return ax


_PLAIN = dict(boxstyle="round,pad=0.15", fc="white", ec="none", alpha=0.9)


def _means(found: Tree, effects: Effects, drawn: _Drawn) -> dict[int, float]:
    """The mean effect on the matched treated of each leaf that is drawn; NaN without any."""
    _, weight, total = sums_by_leaf(found, effects)
    sums = {i: (weight[held].sum(), total[held].sum()) for i, held in drawn.leaves.items()}
    return {i: float(part / mass) if mass > 0 else float("nan") for i, (mass, part) in sums.items()}


def _leaf_words(frame: pd.DataFrame, held: list[int], att: float | None) -> str:
    """What a leaf holds; for a node that is cut off how many leaves it stands for."""
    rows = frame.iloc[held]
    words = f"{rows['controls'].sum():,} controls\n{rows['treated'].sum():,} treated"
    if len(held) > 1:
        words = f"{len(held)} leaves\n{words}"
    else:
        words += f"\nadj. R2 {rows['adjusted_r2'].iloc[0]:.2f}"
    if att is not None:
        words += f"\nATT {number_in_words(att) if np.isfinite(att) else 'none'}"
    return words
