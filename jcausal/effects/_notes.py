"""What a careful reader would be told of an estimate: one sentence a matter."""

import numpy as np

from jcausal.data import DataError, number_in_words
from jcausal.effects._average import Average
from jcausal.effects._group_effects import EffectsOfGroups
from jcausal.effects._support import flat_words, outside_of
from jcausal.matching import RESULTS, code

FAR = 0.1  # sd: a mean drift beyond which the adjustment carries the estimate
WIDE = 0.5  # sd: a drift that a tenth of the groups exceed
FEW = 30  # effective units of the arm that is compared with
ERRORS = 2.0  # joint standard errors by which two estimates may differ
CHANCE = 5  # queries of which fewer may all lie outside the other arm's values by chance
NAMED = 3  # covariates that a sentence lists


def drift_words(effects: EffectsOfGroups) -> list[str]:
    """One line on how far groups are from their units in what the model foretells."""
    if effects.prognosis is None or not np.asarray(effects.matched).any():
        return []
    drift = np.abs(np.asarray(effects.drift)[np.asarray(effects.matched)])
    middle, most = np.percentile(drift, [50, 90])
    return [
        "drift of the groups (their mean prediction less the unit's own, in sd of the outcome): "
        f"median {middle:.2f}, 90% within {most:.2f}"
    ]


def adjustment_words(effects: EffectsOfGroups) -> list[str]:
    """By what effects are adjusted, and what plain means would give."""
    if not effects.adjusted or not (np.asarray(effects.matching.query) >= 0).all():
        return []
    plain = number_in_words(float(effects.plain_average))
    return [f"adjusted by {_model(effects)}; plain means of the groups give {plain}"]


def _model(effects: EffectsOfGroups) -> str:
    """The surface that guided the matching by its name, any other model not."""
    used, own = effects.prognosis, effects.matching.prognosis
    if used is None or own is None or not np.array_equal(used.units, own.units, equal_nan=True):
        return "the outcome model"
    names = {type(surface).__name__.removesuffix("Surface") for surface in effects.surfaces}
    return f"the {' and '.join(sorted(names))} surface" if names else "the outcome model"


def second_words(effects: EffectsOfGroups, error: float) -> list[str]:
    """The second opinion, and what to try where the two disagree. `error`: of the average."""
    try:
        second = effects.second_opinion()
    except DataError as reason:
        return [f"second opinion: none, since {reason}"]
    if second is None:
        return []
    left = np.asarray(effects.matching.status) == int(code(RESULTS.outside_support))
    line = f"second opinion{', over all units' * bool(left.any())}, {second.line()}"
    return [line, *second.notes(), *disagreement_words(effects, second, error)]


def disagreement_words(effects: EffectsOfGroups, second: Average, error: float) -> list[str]:
    """One sentence where the second opinion is another; `error`: of the average."""
    joint = float(np.hypot(error, float(second.std_error)))
    gap = abs(float(effects.average) - float(second.average))
    if not (np.isfinite(joint) and gap > ERRORS * joint):
        return []
    return [
        f"the two estimates differ by {number_in_words(gap)}, {gap / joint:.1f} joint standard "
        "errors: one of the models is wrong; look at the drift and the balance, try another "
        "outcome model (jc.MLP(), jc.BART()), or support='common'"
    ]


def careful_words(effects: EffectsOfGroups, error: float) -> list[str]:
    """Large drift, an adjustment that decides, few effective partners, units without their like.

    First of all an outcome that never varies, which is told of points and without a match too.
    """
    flat = flat_words(effects.sample)
    if not np.asarray(effects.matched).any() or (np.asarray(effects.matching.query) < 0).any():
        return flat
    return flat + [
        f"beware: {words}"
        for words in (*_far(effects), *_moved(effects, error), *_few(effects), *_outside(effects))
    ]


def _far(effects: EffectsOfGroups) -> list[str]:
    if effects.prognosis is None:
        return []
    drift = np.asarray(effects.drift)[np.asarray(effects.matched)]
    mean, most = float(drift.mean()), float(np.percentile(np.abs(drift), 90))
    if abs(mean) <= FAR and most <= WIDE:
        return []
    where = "above" if mean > 0 else "below"
    carries = "the adjustment carries the estimate" if effects.adjusted else "that bias is left in"
    return [
        f"the groups' outcomes are foretold {abs(mean):.2f} sd {where} their units' own on average "
        f"(a tenth of them over {most:.2f} sd off), so that {carries}: few alike are to be had"
    ]


def _moved(effects: EffectsOfGroups, error: float) -> list[str]:
    if not effects.adjusted:
        return []
    gap = float(effects.average) - float(effects.plain_average)
    if not abs(gap) > error:
        return []
    return [
        f"the adjustment moved the estimate by {number_in_words(gap)}, more than a standard error "
        f"({number_in_words(error)}): it leans on the outcome model"
    ]


def partner_words(effects: EffectsOfGroups) -> str:
    """Few effective partners, told beside the number of matched queries where they are fewer."""
    matched = np.asarray(effects.matched)
    if not matched.any() or (np.asarray(effects.matching.query) < 0).any():
        return ""
    few = [
        f"{size:.0f} effective {word.removesuffix('s') if size < 1.5 else word}"
        for word, size, _ in _partners(effects)
        if size < min(FEW, matched.sum())
    ]
    return f" to {' and '.join(few)}" if few else ""


def _partners(effects: EffectsOfGroups) -> list[tuple[str, float, int]]:
    """Effective and actual number of units in each arm that is compared with."""
    c, t = np.asarray(effects.contributions, np.float64), np.asarray(effects.sample.t)
    sides = dict(att=(False,), atc=(True,), ate=(False, True))[effects.estimand]
    found = []
    for arm in sides:
        mine = c[t == arm]
        size = mine.sum() ** 2 / (mine @ mine) if (mine != 0).any() else 0.0
        found.append(("treated" if arm else "controls", float(size), mine.size))
    return found


def _few(effects: EffectsOfGroups) -> list[str]:
    return [
        f"the average rests on {size:.0f} effective {word} of {count:,}: a few units weigh much"
        for word, size, count in _partners(effects)
        if size < FEW
    ]


def _outside(effects: EffectsOfGroups) -> list[str]:
    outside, names = outside_of(effects.sample, effects.estimand)
    queried = np.zeros(effects.sample.n, bool)
    queried[np.asarray(effects.matching.query)[np.asarray(effects.matched)]] = True
    count = int((outside.any(1) & queried).sum())
    if not count:
        return []
    by = (outside & queried[:, None]).sum(0)
    order = [j for j in np.argsort(-by, kind="stable") if by[j]]
    listed = ", ".join(f"{names[j]} {by[j]}" for j in order[:NAMED])
    more = f" and {len(order) - NAMED} more" if len(order) > NAMED else ""
    mine = dict(att="treated", atc="controls", ate="units")[effects.estimand]
    ways = "support='common' leaves them out"
    if count == queried.sum():
        ways = "nobody is left to compare on common support"
    return [
        f"{count} {mine} lie outside the values that the other arm has ({listed}{more}): {ways}"
    ]


def apart_words(effects: EffectsOfGroups) -> str | None:
    """One sentence where a covariate tells all matched queries from the other arm; else None."""
    query = np.asarray(effects.matching.query)[np.asarray(effects.matched)]
    if query.size < CHANCE or (query < 0).any():
        return None
    outside, names = outside_of(effects.sample, effects.estimand)
    places = np.flatnonzero(outside[query].all(0))
    if not places.size:
        return None
    mine = dict(att="treated", atc="controls", ate="units")[effects.estimand]
    rests = "the outcome model" if effects.adjusted else "units that are unlike them"
    return (
        f"no overlap: all {query.size} matched {mine} lie outside the values of "
        f"{', '.join(repr(names[j]) for j in places[:NAMED])} that the other arm has, so that the "
        f"effect rests on {rests} alone; leave out covariates that only decide the treatment, or "
        "compare other units."
    )
