"""The library's sentences in the words of the command: its options, its way to count rows."""

import argparse
import ast
import re
import shlex
from typing import Any

import jcausal as jc
from jcausal.cli._methods import METHODS, settable

SURFACES = {"boosted": jc.BoostedTrees, "bart": jc.BART, "mlp": jc.MLP, "ridge": jc.Ridge}
VALUE = r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\.\.\.|None|True|False|\d+(?:\.\d+)?"
DOUBLE = re.compile(r"\(jax\.config\.update\('jax_enable_x64', True\)\)")
ROWS = re.compile(r"\brows? \d+(?:, \d+)*(?: and \d+(?: more)?)?(?![\d,])")
COUNTED = r"\g<0>, counted from 0 below the header"
CALLED = dict(key="seed")  # arguments whose option has another name
CHOICES = dict(surface=SURFACES, method=METHODS)


def in_options(words: str, options: argparse.Namespace) -> str:
    """What a sentence says of arguments in Python, said of the command's options."""
    known = {name: name for name in vars(options) if name not in ("command", "file")}
    known |= {name: option for name, option in CALLED.items() if option in known}
    of_method = settable(options.method) if "method" in known else []

    def option(found: re.Match) -> str:
        if found[1] in of_method:
            return f"--option {found[1]}={_value(found[2])}"
        return f"--{known[found[1]].replace('_', '-')} {_value(found[2])}"

    names = "|".join(map(re.escape, [*of_method, *known]))
    words = re.sub(rf"(?:\w+\.)*\w+\(({names})=\.\.\.\)", r"\1=...", words)  # of a call
    words = re.sub(rf"\b({names})=({VALUE})", option, words)
    for name, choices in CHOICES.items():
        for word, made in choices.items() if name in known else ():
            words = re.sub(rf"(?<![=\w])jc\.{made.__name__}\(\)", f"--{name} {word}", words)
    said = re.match(r"(folds|repeats) is ", words)
    words = f"--{words}" if said and said[1] in known else words
    words = words.replace("try another key", "try another --seed")
    return DOUBLE.sub("(set JAX_ENABLE_X64=1 before the command)", words)


def in_the_file(words: str) -> str:
    """Say once of the rows of a sentence how they are counted."""
    return ROWS.sub(COUNTED, words, count=1)


def _value(written: str) -> str:
    """A value as the shell takes it; NAME where Python's words leave a list open."""
    if written in ("...", "[...]"):
        return "NAME"
    try:
        value: Any = ast.literal_eval(written)
    except (SyntaxError, ValueError):
        return written
    if value is None or isinstance(value, bool):
        return str(value).lower()
    several = value if isinstance(value, list) else [value]
    return " ".join(shlex.quote(str(one)) for one in several)
