"""What a stratum asks of its units, in words."""

import equinox as eqx
import numpy as np
from jaxtyping import Int

from jcausal.data import Schema, number_in_words
from jcausal.matching.strata._coarse_columns import CoarseColumn

ANY = -1  # the level of a covariate that a stratum does not ask about


class CoarseRules(eqx.Module):
    """The levels that each stratum asks for; put into words one stratum at a time.

    - `levels` (s, c): the level of each of c covariates, -1 for any.
    - `columns` [c]: what the levels are; their codes of rows are left out.
    - `schema`: the words of the sample.
    """

    levels: Int[np.ndarray, "s c"]
    columns: tuple[CoarseColumn, ...]
    schema: Schema = eqx.field(static=True)

    def rule(self, stratum: int) -> str:
        """What it asks of a unit: "age 16 to 19, race black"."""
        said = [
            words
            for column, level in zip(self.columns, np.asarray(self.levels)[stratum].tolist())
            if (words := _asked(self.schema, column, level))
        ]
        return ", ".join(said) if said else "everybody"


def rules_of(
    columns: list[CoarseColumn], levels: Int[np.ndarray, "s c"], schema: Schema
) -> CoarseRules:
    """The rules of strata, without the codes of the rows."""
    lean = tuple(column._replace(code=column.code[:0]) for column in columns)
    return CoarseRules(levels, lean, schema)


def _asked(schema: Schema, column: CoarseColumn, level: int) -> str:
    """What one level asks; nothing where every unit has it."""
    levels = column.low.size + (column.gap >= column.low.size)
    if level == ANY or levels == 1:
        return ""
    name = schema.names[column.covariate]
    if level == column.gap:
        return f"{name} missing"
    kind, low, high = schema.kinds[column.covariate], column.low[level], column.high[level]
    if kind == "category":
        return f"{name} {schema.levels[column.covariate][int(low)]}"
    if kind == "binary":
        return name if low == 1 else f"not {name}"
    return _between(schema, column, level, (float(low), float(high)))


def _between(schema: Schema, column: CoarseColumn, level: int, ends: tuple[float, float]) -> str:
    """An interval of a number; the first and the last level have one end only."""
    name, unit = schema.names[column.covariate], schema.units[column.covariate]
    words = tuple(map(number_in_words, ends))
    if ends[0] != ends[1] and words[0] == words[1]:
        words = tuple(f"{end:,}" for end in ends)
    tail = f" {unit}" if unit else ""
    if ends[0] == ends[1]:
        return f"{name} {words[0]}{tail}"
    if column.low.size == 1:
        return f"{name} known"
    if level == 0:
        return f"{name} at most {words[1]}{tail}"
    if level == column.low.size - 1:
        return f"{name} at least {words[0]}{tail}"
    return f"{name} {words[0]} to {words[1]}{tail}"
