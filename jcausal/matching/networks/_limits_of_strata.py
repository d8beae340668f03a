"""How large strata may be, as the number of partners that a unit has."""

from typing import NamedTuple

import numpy as np


class Degrees(NamedTuple):
    """How many edges a unit has that is in a stratum: least and most, of treated and of controls.

    Where not all can be in a stratum, leaving out a treated unit costs as much as two controls;
    `turned` is the same with the arms changed.
    """

    treated: tuple[int, float]
    controls: tuple[int, float]

    @property
    def weights(self) -> tuple[int, int]:
        """What it costs to leave out a treated unit, and a control."""
        return 2, 1

    def turned(self) -> "Degrees":
        """The limits of controls for treated units and the other way round."""
        return Degrees(self.controls, self.treated)

    @property
    def unlimited(self) -> bool:
        """Whether any number will do."""
        return self.treated == self.controls == (1, np.inf)


def degrees_of(least: float, most: float | None) -> Degrees:
    """The limits that so many controls for each treated unit come to.

    **Raises:** ValueError for numbers that are neither whole nor 1 over a whole one.
    """
    for name, value in (("min_controls", least), ("max_controls", most)):
        if value is None or (name == "min_controls" and value == 0):
            continue
        if not value > 0 or abs(max(value, 1 / value) - round(max(value, 1 / value))) > 1e-6:
            raise ValueError(
                f"{name} is {value}: it must be a whole number of controls for each treated unit, "
                f"or 1 / k for k treated to a control{', or 0' * (name == 'min_controls')}."
            )
    if most is not None and most < least:
        raise ValueError(f"max_controls is {most}, below min_controls, {least}.")
    fewest, fullest = (round(least) if least > 1 else 1), np.inf if most is None else max(1, most)
    shared = np.inf if least == 0 else max(1, round(1 / least))
    needed = 1 if most is None else max(1, round(1 / most))
    return Degrees((fewest, float(fullest)), (needed, float(shared)))
