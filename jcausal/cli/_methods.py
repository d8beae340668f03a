"""The methods of the command, found among the library's public names, and their options."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jcausal as jc
from jcausal.cli._terminal import UserError
from jcausal.data import May, Options, options_of

Method = jc.matching.Matcher | jc.effects.Estimator
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # where one begins in a name


def _is_method(value: object) -> bool:
    """Whether `jc.estimate` takes it: a matcher, or an estimator without groups."""
    return isinstance(value, type) and issubclass(value, Method)


def _kebab(name: str) -> str:
    return WORD.sub("-", name).lower()


METHODS: dict[str, type] = {
    _kebab(name): value for name, value in sorted(vars(jc).items()) if _is_method(value)
}


def make_method(word: str, outcome: Any, settings: Sequence[str]) -> Method:
    """The method of a word; where `outcome` is None and nothing is set, the library's defaults.

    **Raises:** `UserError` for an option that it lacks, and for a value that it cannot be.
    """
    kind = METHODS[word]
    if outcome is not None and "outcome" not in options_of(kind):
        raise UserError(
            f"--surface is no option of --method {word}, which takes no outcome model: leave it "
            "out."
        )
    said = {} if outcome is None else dict(outcome=outcome)
    known, flat = dict(_settable(kind)), {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or name not in known:
            told = f"--option {setting} names no option of --method {word}"
            raise UserError(f"{told if sign else _no_value(setting)}; {_listed(word)}.")
        if name in flat:
            raise UserError(f"--option {name} is given twice.")
        may = known[name][0]
        flat[name] = _names(text) if may.names else _parsed(setting, text.strip(), may, word)
    try:
        return kind(**said, **_nested(kind, flat))
    except ValueError as error:
        raise UserError(f"--option: {error}") from error


def options_in_words(word: str) -> str:
    """The options of a method that the command can set, with their defaults."""
    every = [f"{n}={_written(default)}" for n, (_, default) in _settable(METHODS[word])]
    return ", ".join(every) or "none"


def settable(word: str) -> list[str]:
    """The names of those options."""
    return [name for name, _ in _settable(METHODS[word])]


def _listed(word: str) -> str:
    return f"the options of {word} are {options_in_words(word)}"


def _no_value(setting: str) -> str:
    return f"--option {setting} has no value, write NAME=VALUE"


def _settable(
    kind: type, prefix: str = "", given: Options | None = None
) -> Iterator[tuple[str, tuple[May, Any]]]:
    """Names, what each may be, and its default; those of a part, `given`, as tree.max_depth."""
    fields: Any = dataclasses.fields(kind)
    defaults = {field.name: getattr(given, field.name, field.default) for field in fields}
    for name, may in options_of(kind).items():
        default = defaults[name]
        if isinstance(default, Options):
            if name != "outcome":  # of which --surface says the kind
                yield from _settable(type(default), f"{prefix}{name}.", default)
        elif may.words or may.switch or may.whole or may.real or may.text:
            yield prefix + name, (may, default)


def _nested(kind: type, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those of a part made into one."""
    found: dict[str, Any] = {name: value for name, value in flat.items() if "." not in name}
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for part in {name.split(".")[0] for name in flat if "." in name}:
        own = {n.partition(".")[2]: v for n, v in flat.items() if n.startswith(f"{part}.")}
        default: Any = defaults[part]
        found[part] = dataclasses.replace(default, **_nested(type(default), own))
    return found


def _parsed(setting: str, text: str, may: May, word: str) -> Any:
    """A value of the kind that an option takes."""
    plain = {"none": None} if may.none else {}
    plain |= {"true": True, "false": False} if may.switch else {}
    plain |= {str(one): one for one in may.words}
    if text in plain or text.lower() in plain:
        return plain[text] if text in plain else plain[text.lower()]
    for number in (int, float) if may.real else (int,) if may.whole else ():
        try:
            return number(text)
        except ValueError:
            continue
    if may.text:
        return text
    kinds = ["a number"] if may.real else ["a whole number"] if may.whole else []
    *others, last = [*kinds, *plain]
    wanted = f"{', '.join(others)} or {last}" if others else last
    raise UserError(f"--option {setting} is of the wrong kind, write {wanted}; {_listed(word)}.")


def _names(text: str) -> tuple[str, ...] | None:
    """Names of columns with commas between them; "none" for no name."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return None if names == ("none",) else names


def _written(value: Any) -> str:
    """A default as the command takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
