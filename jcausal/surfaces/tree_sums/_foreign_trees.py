"""Fitted ensembles of other libraries as arrays: scikit-learn, LightGBM and XGBoost.

Thresholds are kept as the largest float32 that goes left, so that a point goes right when its value
is above; each library's own comparison of float32 features then comes out the same.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.surfaces.tree_sums._tree_arrays import TreeArrays, octave

TINY = np.finfo(np.float32).tiny


class ForeignTree(NamedTuple):
    """One tree of k nodes as its library keeps it; the root is node 0.

    - `feature` (k,), `threshold` (k,): a point goes right where the feature is above the threshold.
    - `left`, `right` (k,): the children's nodes; `left` is -1 at a leaf.
    - `value` (k,): of each leaf.
    """

    feature: Int[np.ndarray, " k"]
    threshold: Float[np.ndarray, " k"]
    left: Int[np.ndarray, " k"]
    right: Int[np.ndarray, " k"]
    value: Float[np.ndarray, " k"]


class ForeignEnsemble(NamedTuple):
    """f(x) = offset + the sum of the leaves that a point comes to, one of each tree."""

    trees: list[ForeignTree]
    offset: float


def read_ensemble(model: Any) -> ForeignEnsemble:
    """The trees of a fitted model.

    **Raises:** ValueError for a model that is not a plain sum of trees over numbers.
    """
    package = type(model).__module__.split(".")[0]
    if package == "lightgbm":
        return _lightgbm(model)
    if package == "xgboost":
        return _xgboost(model)
    if hasattr(model, "_predictors"):
        return _histogram(model)
    if isinstance(getattr(model, "estimators_", None), np.ndarray):
        return _boosted(model)
    trees = getattr(model, "estimators_", [model])
    if not all(hasattr(tree, "tree_") for tree in trees):
        raise ValueError(f"{_name(model)} is not a fitted ensemble of trees that jcausal can read.")
    classes = getattr(model, "classes_", None)
    return ForeignEnsemble([_scikit(tree.tree_, 1 / len(trees), classes) for tree in trees], 0.0)


def _name(model: Any) -> str:
    return f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"


def _scikit(tree: Any, scale: float, classes: np.ndarray | None = None) -> ForeignTree:
    """A regression tree, or the mean of the class (0 or 1) in a classification tree."""
    value = tree.value[:, 0]
    mean = value[:, 0] if classes is None else value @ classes / value.sum(1)
    left = np.where(tree.children_left < 0, -1, tree.children_left)
    return ForeignTree(tree.feature, _down(tree.threshold), left, tree.children_right, scale * mean)


def _boosted(model: Any) -> ForeignEnsemble:
    """Gradient boosting of scikit-learn: a constant and trees times the learning rate."""
    if hasattr(model, "classes_") or model.estimators_.shape[1] > 1:
        raise ValueError(f"{_name(model)} puts a link around its sum: use the regressor.")
    start = model.init_
    constant = 0.0 if isinstance(start, str) else getattr(start, "constant_", None)
    if constant is None:
        raise ValueError(f"{_name(model)} starts from {start}: only a constant start can be read.")
    trees = [_scikit(tree.tree_, model.learning_rate) for tree in model.estimators_[:, 0]]
    return ForeignEnsemble(trees, float(np.ravel(constant)[0]))


def _histogram(model: Any) -> ForeignEnsemble:
    """Histogram gradient boosting of scikit-learn."""
    if hasattr(model, "classes_"):
        raise ValueError(f"{_name(model)} puts a link around its sum: use the regressor.")
    trees = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            raise ValueError(f"{_name(model)} splits on categories: give it numbers only.")
        leaf = nodes["is_leaf"].astype(bool)
        trees.append(
            ForeignTree(
                nodes["feature_idx"],
                _down(nodes["num_threshold"]),
                np.where(leaf, -1, nodes["left"].astype(int)),
                nodes["right"].astype(int),
                nodes["value"],
            )
        )
    return ForeignEnsemble(trees, float(np.ravel(model._baseline_prediction)[0]))


def _lightgbm(model: Any) -> ForeignEnsemble:
    """A LightGBM regressor or booster, up to its best iteration."""
    booster = getattr(model, "booster_", model)
    told = booster.dump_model(num_iteration=booster.best_iteration)
    if told["num_tree_per_iteration"] > 1:
        raise ValueError(f"{_name(model)} has several outputs: jc.Trees reads one.")
    scale = 1 / len(told["tree_info"]) if told.get("average_output") else 1.0
    trees = [_leafwise(tree["tree_structure"], model, scale) for tree in told["tree_info"]]
    return ForeignEnsemble(trees, 0.0)


def _leafwise(root: dict[str, Any], model: Any, scale: float) -> ForeignTree:
    rows, waiting = [], [(root, -1, "")]
    while waiting:
        node, parent, side = waiting.pop()
        if parent >= 0:
            rows[parent][side] = len(rows)
        if "leaf_coeff" in node:
            raise ValueError(f"{_name(model)} has linear leaves: only constant ones can be read.")
        if "split_feature" in node:
            if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
                raise ValueError(
                    f"{_name(model)} splits on categories or takes 0 as missing: give it numbers "
                    "only, and zero_as_missing=False."
                )
            own = dict(feature=node["split_feature"], threshold=node["threshold"], value=0.0)
            waiting += [(node[f"{s}_child"], len(rows), s) for s in ("left", "right")]
        else:
            own = dict(
                feature=0, threshold=0.0, value=scale * node["leaf_value"], left=-1, right=-1
            )
        rows.append(own)
    columns = {name: np.array([row[name] for row in rows]) for name in ForeignTree._fields}
    return ForeignTree(**columns | dict(threshold=_down(columns["threshold"])))


def _xgboost(model: Any) -> ForeignEnsemble:
    """An XGBoost regressor or booster, up to its best iteration."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if booster.attr("best_iteration") is not None:
        booster = booster[: int(booster.attr("best_iteration")) + 1]
    told = json.loads(booster.save_raw("json").decode())["learner"]
    if told["gradient_booster"]["name"] != "gbtree":
        raise ValueError(f"{_name(model)} is no plain sum of trees: use booster='gbtree'.")
    if int(told["learner_model_param"]["num_class"]) > 1:
        raise ValueError(f"{_name(model)} has several outputs: jc.Trees reads one.")
    trees = []
    for tree in told["gradient_booster"]["model"]["trees"]:
        left = np.array(tree["left_children"])
        condition = np.array(tree["split_conditions"], np.float32)
        if np.any(tree["split_type"]):
            raise ValueError(f"{_name(model)} splits on categories: give it numbers only.")
        below = _down(np.nextafter(condition, np.float32(-np.inf)))
        trees.append(
            ForeignTree(
                np.array(tree["split_indices"]),
                below,
                left,
                np.array(tree["right_children"]),
                np.where(left < 0, condition, 0).astype(float),
            )
        )
    offset = np.ravel(json.loads(told["learner_model_param"]["base_score"]))[0]
    return ForeignEnsemble(trees, float(offset))


def _down(threshold: np.ndarray) -> Float[np.ndarray, " k"]:
    """The largest float32 that is not above, where numbers too small to be normal count as 0."""
    near = np.asarray(threshold).astype(np.float32)
    near = np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
    return np.where(np.abs(near) < TINY, np.where(near < 0, -TINY, np.float32(0)), near)


def as_arrays(
    ensemble: ForeignEnsemble, features: int
) -> tuple[TreeArrays, Float[np.ndarray, "f c"]]:
    """The trees over bins, and the cut points of every feature, ended with +inf."""
    inner = [tree.left >= 0 for tree in ensemble.trees]
    feature = np.concatenate([t.feature[use] for t, use in zip(ensemble.trees, inner)])
    threshold = np.concatenate([t.threshold[use] for t, use in zip(ensemble.trees, inner)])
    if feature.size and feature.max() >= features:
        raise ValueError(f"the model splits on feature {feature.max()}, there are {features}.")
    points = [np.unique(threshold[feature == f]) for f in range(features)]
    width = max(1, *(len(p) for p in points))
    cuts = np.stack([np.pad(p, (0, width - len(p)), constant_values=np.inf) for p in points])
    slots = 1 + octave(max(len(tree.left) for tree in ensemble.trees))
    columns = TreeArrays(
        *(np.zeros((len(ensemble.trees), slots), d) for d in (int, int, int, float))
    )
    for k, tree in enumerate(ensemble.trees):
        for node, slot, child in _levels(tree):
            at = tree.left[node] >= 0
            columns.var[k, slot[at]] = tree.feature[node[at]]
            columns.child[k, slot] = child
            columns.value[k, slot] = np.where(at, 0, tree.value[node])
            for f in np.unique(tree.feature[node[at]]):
                mine = at & (tree.feature[node] == f)
                place = np.searchsorted(points[f], tree.threshold[node[mine]])
                columns.cut[k, slot[mine]] = place + 1
    return columns, cuts


def _levels(tree: ForeignTree) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Nodes, their slots and their children's first slots, one level after the other."""
    node, slot, free = np.array([0]), np.array([1]), 2
    while node.size:
        inner = tree.left[node] >= 0
        child = np.where(inner, free + 2 * (np.cumsum(inner) - 1), 0)
        yield node, slot, child
        free += 2 * int(inner.sum())
        below = node[inner]
        slot = np.stack([child[inner], child[inner] + 1], axis=1).ravel()
        node = np.stack([tree.left[below], tree.right[below]], axis=1).ravel()
