"""Makes `learners/`: unit effects and averages by econml and DoubleML, on folds of jcausal.

Twice: `JAX_ENABLE_X64=1 python make_learners.py units` with jcausal draws the units and deals their
folds;
`python make_learners.py effects` with econml 0.17 and DoubleML 0.11 makes the rest.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent / "learners"
X = ["x0", "x1", "x2"]


def make_units() -> None:
    """240 units, their two folds, and the two parts of the rest of each fold."""
    import jax

    import jcausal as jc
    from jcausal.data import as_key, step_key
    from jcausal.surfaces import deal_folds

    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 3)).round(3)
    t = rng.uniform(size=240) < 1 / (1 + np.exp(-0.7 * x[:, 0] + 0.3 * x[:, 1]))
    y = x[:, 0] + t * (1 + x[:, 1]) + np.sin(x[:, 2]) + rng.normal(size=240)
    frame = pd.DataFrame(x, columns=X).assign(t=t.astype(int), y=y.round(3))
    sample = jc.Sample(x, t, frame["y"].to_numpy())
    key = jax.random.fold_in(step_key(as_key(0, "estimate"), "estimate"), 0)
    fold = np.asarray(deal_folds(sample, 2, key))
    frame["fold"] = fold
    for k in range(2):
        one = step_key(jax.random.fold_in(step_key(key, "fit"), k), "inner")
        frame[f"part{k}"] = np.asarray(deal_folds(sample.with_valid(fold != k), 2, one))
    frame.to_csv(HERE / "units.csv", index=False)


def make_effects() -> None:
    """Effects of each unit by models of the other fold; averages on the two folds."""
    import doubleml
    import econml
    from sklearn.linear_model import LinearRegression

    units = pd.read_csv(HERE / "units.csv")
    made = {name: np.zeros(len(units)) for name in learners(LinearRegression, None)}
    for k in range(2):
        train, own = units[units["fold"] != k], units[units["fold"] == k]
        parts = train[f"part{k}"].to_numpy()
        splits = [(np.flatnonzero(parts != j), np.flatnonzero(parts == j)) for j in range(2)]
        for name, learner in learners(LinearRegression, splits).items():
            learner.fit(train["y"].to_numpy(), train["t"].to_numpy(), X=train[X].to_numpy())
            made[name][own.index] = learner.effect(own[X].to_numpy()).ravel()
    versions = f"# econml {econml.__version__}, DoubleML {doubleml.__version__}\n"
    write("effects", versions, pd.DataFrame(made))
    write("averages", versions, averages(units, LinearRegression))


def learners(linear: type, splits: list | None) -> dict:
    """econml's, with linear regressions (X: trees of the effect), logistic without a penalty."""
    from econml.dml import NonParamDML
    from econml.dr import DRLearner
    from econml.metalearners import SLearner, TLearner, XLearner

    return dict(
        s=SLearner(overall_model=linear()),
        t=TLearner(models=linear()),
        x=XLearner(models=linear(), cate_models=tree(), propensity_model=logistic()),
        r=NonParamDML(
            model_y=linear(),
            model_t=logistic(),
            model_final=linear(),
            discrete_treatment=True,
            cv=splits,
        ),
        dr=DRLearner(
            model_regression=by_arm(linear),
            model_propensity=logistic(),
            model_final=linear(),
            cv=splits,
            min_propensity=1e-12,
        ),
    )


def averages(units: pd.DataFrame, linear: type) -> pd.DataFrame:
    """DoubleML's: partially linear, and the ATE by scores whose weights add up to the units."""
    import doubleml as dml

    data = dml.DoubleMLData(units[[*X, "t", "y"]], "y", "t")
    fold = units["fold"].to_numpy()
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(2)]
    interactive = dict(ml_g=linear(), ml_m=logistic(), normalize_ipw=True)
    interactive |= dict(trimming_threshold=1e-12, n_folds=2)
    models = dict(
        partial_linear=dml.DoubleMLPLR(data, linear(), logistic(), n_folds=2),
        interactive_ate=dml.DoubleMLIRM(data, score="ATE", **interactive),
        interactive_att=dml.DoubleMLIRM(data, score="ATTE", **interactive),
    )
    rows = []
    for name, model in models.items():
        model.set_sample_splitting([splits])
        model.fit()
        rows.append(dict(method=name, estimate=model.coef[0], std_error=model.se[0]))
    return pd.DataFrame(rows)


def tree() -> object:
    """A small one: of linear effects the X-learner would be the T-learner."""
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(max_depth=2, random_state=0)


def logistic() -> object:
    """By maximum likelihood."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(penalty=None, tol=1e-12, max_iter=10_000)


def by_arm(linear: type) -> object:
    """A regression of each arm, of columns of which the last is the treatment."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class ByArm(RegressorMixin, BaseEstimator):
        def fit(self, features: np.ndarray, y: np.ndarray) -> object:
            arm = features[:, -1] > 0.5
            self.arms_ = [linear().fit(features[arm == a, :-1], y[arm == a]) for a in (False, True)]
            return self

        def predict(self, features: np.ndarray) -> np.ndarray:
            both = [one.predict(features[:, :-1]) for one in self.arms_]
            return np.where(features[:, -1] > 0.5, both[1], both[0])

    return ByArm()


def write(name: str, versions: str, frame: pd.DataFrame) -> None:
    """A table with the versions above it."""
    (HERE / f"{name}.csv").write_text(versions + frame.to_csv(index=False))


if __name__ == "__main__":
    {"units": make_units, "effects": make_effects}[sys.argv[1]]()
