"""What methods have in common that look for controls in the leaves of an M5 tree."""

from collections.abc import Sequence

import equinox as eqx

from jcausal.data import Sample, check_kind
from jcausal.matching._matcher import EffectKind, Matcher
from jcausal.matching._matching import Estimand
from jcausal.matching.trees._m5_tree import M5Tree
from jcausal.matching.trees._tree import Tree
from jcausal.surfaces import Arms, ResponseSurface


class TreeMatcher(Matcher):
    """A method that compares treated units with the controls of their leaf in an `M5Tree`."""

    tree: eqx.AbstractVar[M5Tree]
    honest: eqx.AbstractVar[bool]

    def __check_init__(self) -> None:
        where = f"{type(self).__name__}(tree=)"
        check_kind(self.tree, M5Tree, where, "such as jc.M5Tree(min_controls=50)")

    @property
    def outcome(self) -> M5Tree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The tree, as a model of the outcome."""
        return self.tree

    def arms(self, estimand: Estimand = "att", effect: EffectKind = "own") -> Arms:
        """Controls only."""
        return "control"

    @property
    def cross_fits(self) -> bool:
        """Only if honest."""
        return self.honest

    def trees_of(self, surfaces: Sequence[ResponseSurface], sample: Sample) -> tuple[Tree, ...]:
        """The surfaces, which must be trees of the sample's covariates.

        **Raises:** ValueError for other surfaces, covariates or levels.
        """
        trees: list[Tree] = []
        for surface in surfaces:
            if not isinstance(surface, Tree):
                raise ValueError(
                    f"{type(self).__name__} needs a tree, not {type(surface).__name__}: use "
                    "surface=jc.fit(train, jc.M5Tree())."
                )
            surface.check(sample)
            trees.append(surface)
        return tuple(trees)
