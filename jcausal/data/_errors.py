"""Errors of the data stage, each one readable sentence."""


class DataError(ValueError):
    """The data cannot be used as they are: the message names the column, the count and the rows."""


class HonestyError(ValueError):
    """Outcomes that a surface was trained on would be averaged in the groups it shaped."""
