"""The classes that a file may hold: jcausal's own, by their names."""

import dataclasses
import enum
import sys
from typing import Any

import equinox as eqx

OURS = ("jcausal", "jcausal_kernels")


def is_ours(kind: type) -> bool:
    """Whether a class is of this library, and made of named parts."""
    return kind.__module__.split(".")[0] in OURS and bool(
        issubclass(kind, eqx.Module | enum.Enum)
        or dataclasses.is_dataclass(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
        or "made_of" in vars(kind)
    )


def known_classes() -> dict[str, type]:
    """Every such class that is imported: `import jcausal` imports all of them.

    A name stands for one class, whatever file it is in, so that files outlast a move.
    """
    modules = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in OURS]
    found = [value for module in modules for value in vars(module).values()]
    return {kind.__name__: kind for kind in found if isinstance(kind, type) and is_ours(kind)}


def part_names(kind: type) -> tuple[str, ...]:
    """The names of what an object of a class is made of."""
    named: Any = kind
    if "made_of" in vars(kind):
        return tuple(named.made_of)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(named._fields)


def made_again(kind: type, parts: dict[str, Any]) -> Any:
    """An object of its parts, as a pytree is put together: without the checks of `__init__`."""
    if issubclass(kind, tuple) or "made_of" in vars(kind):
        return kind(**parts)
    new = object.__new__(kind)
    for name, value in parts.items():
        object.__setattr__(new, name, value)
    return new
