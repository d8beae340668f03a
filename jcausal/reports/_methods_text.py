"""How the methods section of a paper would tell of an estimate, and what it would cite."""

import sys
from typing import NamedTuple

import numpy as np

from jcausal.data import Sample
from jcausal.effects import AIPW, Average, Effects
from jcausal.reports._cautions import SMALL, unbalanced
from jcausal.reports._documentation import Described, described
from jcausal.reports._results import Results
from jcausal.reports._wording import Request, Wording

LISTED = 20  # covariates that are named
WHOSE = dict(
    att="the treated (ATT)",
    atc="the controls (ATC)",
    ate="all units (ATE)",
    ato="the overlap population (ATO)",
)


class MethodsText(NamedTuple):
    """Sentences for a paper, and its references as (what of, source)."""

    sentences: list[str]
    references: list[tuple[str, str]]


def methods_of_groups(results: Results, request: Request, second: Average | None) -> MethodsText:
    """Of effects from a matching; `second`: the second opinion, where there is one."""
    wording, method = request.wording, request.method
    effects, level = results.effects, 100 * results.average.level
    used = described(effects.matching if method is None else method)
    sentences = [_asked(effects.sample, effects.estimand, wording), *_compared(effects, used)]
    sentences += _folds(effects, method)
    sentences.append(
        f"The {level:g}% intervals are by {results.average.method} and cover the "
        f"{results.average.target}."
    )
    if second is not None:
        sentences.append(
            "As a second opinion the same average was estimated by augmented inverse probability "
            "weighting (AIPW) with the same folds and outcome models."
        )
    before, after = (len(unbalanced(results.balance, when)) for when in ("before", "after"))
    sentences.append(
        f"Of {len(results.balance)} rows of the balance table {before} had an absolute mean "
        f"difference of {SMALL:g} standard deviations or more before matching and {after} after."
    )
    cited = [used, *_models(effects, method)]
    cited += [described(Effects)._replace(name="regression adjustment")] * effects.adjusted
    cited += [described(request.rule)] + [described(AIPW)] * (second is not None)
    return MethodsText([*sentences, software()], references(cited))


def methods_of_average(
    found: Average, wording: Wording, method: object, level: float
) -> MethodsText:
    """Of an average without groups."""
    sentences = [_asked(found.sample, found.estimand, wording)]
    cited: list[Described] = []
    if method is not None:
        used = described(method)
        cited = [used, *_outcome_model(method)]
        sentences.append(f"The method is {used.name}{_with(used)}: {used.line}")
    else:
        sentences.append(f"The method is {found.method}.")
    folds = int(np.asarray(found.fold).max(initial=0)) + 1
    if folds > 1:
        sentences.append(
            f"Models were cross-fitted on {folds} random folds: what they foretell of a unit comes "
            "from models that have not seen its fold."
        )
    sentences.append(f"The {100 * level:g}% interval {_interval_of(found)}.")
    return MethodsText([*sentences, software()], references(cited))


def _interval_of(found: Average) -> str:
    if found.posterior is None:
        return "is normal, from the influence of each unit"
    return "lies between quantiles of the posterior draws of the average"


def _asked(sample: Sample, estimand: str, wording: Wording) -> str:
    use = np.asarray(sample.valid)
    treated = int(np.asarray(sample.t)[use].sum())
    flags = sample.schema.flag_of.values()
    names = [name for j, name in enumerate(sample.schema.names) if j not in flags]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"We estimated the average effect of {wording.treatment} on {wording.outcome} among "
        f"{WHOSE[estimand]}, from {use.sum():,} units, of which {treated:,} were treated, with "
        f"{len(names)} covariate{'s' * (len(names) != 1)}: {', '.join(names[:LISTED])}{more}."
    )


def _compared(effects: Effects, used: Described) -> list[str]:
    matched = np.asarray(effects.matched)
    asked, sizes = int(np.asarray(effects.matching.asked).sum()), np.asarray(effects.sizes)[matched]
    low, high = (np.median(sizes[:, arm]) if len(sizes) else 0 for arm in (0, 1))
    said = f"Units were compared by {used.name}{_with(used)}: {used.line}"
    groups = (
        f"{matched.sum():,} of {asked:,} were matched; a group holds {low:,.0f} controls and "
        f"{high:,.0f} treated in the median."
    )
    left = "Queries without a match are left out of the average." if matched.sum() < asked else ""
    return [said, groups, *([left] if left else [])]


def _folds(effects: Effects, method: object) -> list[str]:
    sentences = []
    if effects.surfaces:
        model = " and ".join(one.name for one in _models(effects, method))
        sentences.append(
            f"Units were dealt at random to {len(effects.surfaces)} folds; the outcome model "
            f"({model}) that guided the groups of a fold was trained on the other folds, so that "
            "no group was shaped by the outcomes that it averages."
        )
    sentences.append(
        "Groups average residuals from the outcome model in place of outcomes (regression "
        "adjustment within groups)."
        if effects.adjusted
        else "Effects are differences of outcomes within groups, without an adjustment."
    )
    if effects.partitions is not None:
        runs = len(effects.partitions.average)
        sentences.append(f"Of {runs} random partitions the one of median average is reported.")
    return sentences


def _models(effects: Effects, method: object) -> list[Described]:
    """The outcome models: of the method where it is known, else what was fitted."""
    if not effects.surfaces:
        return []
    known = _outcome_model(method)
    if known:
        return known
    one = described(effects.surfaces[0])
    return [one._replace(name=one.name.removesuffix("Surface"), options="")]


def _outcome_model(method: object) -> list[Described]:
    model = getattr(method, "outcome", None)
    return [] if model is None or isinstance(model, type) else [described(model)]


def _with(used: Described) -> str:
    return f" ({used.options})" if used.options else ""


def software() -> str:
    """The version, as a sentence."""
    return f"Software: jcausal {sys.modules['jcausal'].__version__}."


def references(cited: list[Described]) -> list[tuple[str, str]]:
    """Each source once, in the order of the text."""
    found = {one.source: one.name for one in cited if one.source}
    return [(name, source) for source, name in found.items()]
