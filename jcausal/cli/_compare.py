"""`jcausal compare FILE`: the same question asked of several methods."""

import argparse
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial

import pandas as pd

import jcausal as jc
from jcausal.cli._compared import agreement, printed
from jcausal.cli._estimate import read_sample
from jcausal.cli._files import table_writers
from jcausal.cli._methods import METHODS, Method
from jcausal.cli._options import in_options
from jcausal.cli._report import picture_writer, versions
from jcausal.cli._terminal import Bar, UserError, tell
from jcausal.cli._write import check_folder, check_format, write_whole
from jcausal.data import as_pandas
from jcausal.diagnostics import usual_methods
from jcausal.effects import Population
from jcausal.matching import Progress

MINUTES = {"exact-ahb": 4_000, "fast-ahb": 4_000}  # rows beyond which they take many minutes


def compare(options: argparse.Namespace, bar: Bar) -> str | None:
    """Read, ask every method, print the table and write it and its picture into `--out`.

    **Returns:** a sentence on the picture if it failed, or None.
    """
    began, parquet = time.perf_counter(), options.format == "parquet"
    check_folder(options.out)
    check_format(parquet)
    methods = named_methods(options.methods, options.estimand)
    bar("reading", 0, 1)
    sample = read_sample(options)
    late = _late(options.methods, sample)
    methods = {name: method for name, method in methods.items() if name not in late}
    found = jc.compare(
        sample,
        methods,
        estimand=options.estimand,
        level=options.level,
        key=options.seed,
        progress=_counted(bar, methods),
    )
    table = pd.concat([as_pandas(found), _listed(late, sample)], ignore_index=True)
    table["note"] = [in_options(note, options) for note in table["note"]]
    bar("table and picture", 0, 1)
    text = _said(sample, table, options)
    drawn = {"compare.png": picture_writer(partial(jc.plot.compare, table))}
    failed = write_whole(options.out, table_writers(dict(compare=table), text, parquet), drawn)
    bar.close()
    if not options.quiet:
        tell(f"{text}\n\ntable and picture: {options.out}; {time.perf_counter() - began:.0f} s")
    return failed


def named_methods(words: str, estimand: Population = "att") -> dict[str, Method]:
    """The methods that --methods asks for: `default`, `all`, or names with commas between them.

    **Raises:** `UserError` for a name that is no method's, with the nearest.
    """
    found: dict[str, Method] = {}
    for word in (one.strip() for one in words.split(",") if one.strip()):
        if word == "default":
            found |= usual_methods(estimand)
        elif word == "all":
            found |= {name: made() for name, made in METHODS.items()}
        elif word in METHODS:
            found[word] = METHODS[word]()
        else:
            raise UserError(f"--methods {word} is no method{_near(word)}")
    if not found:
        raise UserError("--methods names no method: say default, all, or names such as ahb,iptw.")
    return found


def _late(words: str, sample: jc.Sample) -> list[str]:
    """What `all` leaves out on so many rows, unless it is named too."""
    asked = [one.strip() for one in words.split(",")]
    return [
        n for n, rows in MINUTES.items() if "all" in asked and n not in asked and sample.n > rows
    ]


def _listed(names: Sequence[str], sample: jc.Sample) -> pd.DataFrame:
    """Rows of the methods that were not asked, with the reason."""
    reason = "not asked, since it may take many minutes on {:,} rows: add it by --methods all,{}"
    return pd.DataFrame(dict(method=n, note=reason.format(sample.n, n)) for n in names)


def _near(word: str) -> str:
    """The nearest names; all of them where none is near."""
    known = ["default", "all", *METHODS]
    folded = word.casefold().replace("_", "-")
    near = [name for name in known if folded in name or name in folded]
    near += get_close_matches(folded, known, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(list(dict.fromkeys(near))[:3])}?"
    return f": say {', '.join(known)}."


def _counted(bar: Bar, methods: Mapping[str, Method]) -> Progress:
    """Progress that says with each step which of the methods is at work."""
    place = {name: k for k, name in enumerate(methods, 1)}

    def told(stage: str, done: int, total: int) -> None:
        name, sign, step = stage.partition(": ")
        begin = f"{name} ({place[name]} of {len(place)})"
        bar(f"{begin}: {step}", done, total) if sign else bar(begin, 0, 1)

    return told


def _said(sample: jc.Sample, table: pd.DataFrame, options: argparse.Namespace) -> str:
    """The question, the table, what it tells, and what another run needs."""
    return (
        f"the effect of {options.treatment} on {options.outcome}, {options.estimand.upper()}\n"
        f"{int(sample.t.sum()):,} treated, {int((~sample.t).sum()):,} controls of {options.file}"
        f"\n\n{printed(table, options.estimand, options.level)}\n\n{agreement(table)}"
        f"\n\n{versions(sample, options.seed)}"
    )
