"""Warnings that point at the user's own line."""

import sys
import warnings

OURS = ("jcausal", "equinox", "jaxtyping", "beartype")


def warn_user(words: str) -> None:
    """Warn at the first line outside of the library, however deep inside it something is found."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(words, stacklevel=level)
