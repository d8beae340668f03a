"""The library's sentences in the words of the command: its options, its way to count rows."""

import argparse
import ast
import re
import shlex
from typing import Any

import jcausal as jc

SURFACES = {"boosted": jc.BoostedTrees, "bart": jc.BART, "mlp": jc.MLP, "ridge": jc.Ridge}
METHODS = {"ahb": jc.AHB, "fast-ahb": jc.FastAHB}
KNOBS = ("gamma0", "gamma1", "caliper", "levels", "min_controls", "min_treated")
VALUE = r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\.\.\.|None|\d+(?:\.\d+)?"
DOUBLE = re.compile(r"\(jax\.config\.update\('jax_enable_x64', True\)\)")
ROWS = re.compile(r"\brows? \d+(?:, \d+)*(?: and \d+(?: more)?)?(?![\d,])")
COUNTED = r"\g<0>, counted from 0 below the header"
CALLED = dict(key="seed")  # arguments whose option has another name
CHOICES = dict(surface=SURFACES, method=METHODS)


def in_options(words: str, options: argparse.Namespace) -> str:
    """What a sentence says of arguments in Python, said of the command's options."""
    known = {name: name for name in vars(options) if name not in ("command", "file")}
    known |= {name: option for name, option in CALLED.items() if option in known}

    def option(found: re.Match) -> str:
        return f"--{known[found[1]].replace('_', '-')} {_value(found[2])}"

    names = "|".join(map(re.escape, known))
    words = re.sub(rf"(?:\w+\.)*\w+\(({names})=\.\.\.\)", r"\1=...", words)  # of a call
    words = re.sub(rf"\b({names})=({VALUE})", option, words)
    for name, choices in CHOICES.items():
        for word, made in choices.items() if name in known else ():
            words = re.sub(rf"(?<![=\w])jc\.{made.__name__}\(\)", f"--{name} {word}", words)
    knobs = [name for name in (*KNOBS, "folds", "repeats") if name in known]
    if knobs:
        said = re.match(rf"({'|'.join(knobs)}) is ", words)
        words = f"--{said[1].replace('_', '-')}{words[said.end(1) :]}" if said else words
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
    if value is None:
        return "none"
    several = value if isinstance(value, list) else [value]
    return " ".join(shlex.quote(str(one)) for one in several)
