"""`jcausal estimate FILE`: effects from a user's own data."""

import argparse
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd

import jcausal as jc
from jcausal.cli._average import average_report, average_tables
from jcausal.cli._files import open_file, read_table
from jcausal.cli._manner import Manner, Wanted
from jcausal.cli._methods import Method, make_method
from jcausal.cli._options import SURFACES, in_options
from jcausal.cli._report import measured, pictures, report, tables, versions
from jcausal.cli._report_file import check_report, write_report
from jcausal.cli._terminal import Bar, UserError, tell, until_effects
from jcausal.cli._write import check_folder, check_format, write_whole
from jcausal.data import FoldError, FoldWords, arms, label_word

FOLD_WORDS = FoldWords(
    fewer="use at most {most} folds (--folds {most})",
    again="try another --seed, or name smaller clusters in --cluster",
    more="give a file with more rows of that arm",
)


def estimate(options: argparse.Namespace, bar: Bar) -> str | None:
    """Read, estimate, print the summary and write tables and figures into `--out`.

    **Returns:** a sentence on pictures that failed, or None.
    """
    began, parquet = time.perf_counter(), options.format == "parquet"
    check_folder(options.out)
    check_format(parquet)
    check_report(options.report)
    if options.folds < 2:
        raise UserError(
            "--folds is 1, and the surface would be trained on the outcomes that are averaged: use "
            "at least 2 folds."
        )
    surface = None if options.surface is None else SURFACES[options.surface]()
    method = make_method(options.method, surface, options.option)
    if not isinstance(method, jc.matching.Matcher):
        _check_no_groups(options)
    bar("reading", 0, 1)
    sample = read_sample(options)
    for name in options.by:
        if name not in sample.schema.names:
            raise UserError(f"--by {name!r} is no covariate: {', '.join(sample.schema.names)}.")
    bar("folds", 0, 1)
    with _folds_in_words():
        found = _found(sample, method, options, bar)
    said = partial(_said, sample, method, options)
    if isinstance(found, jc.effects.Average):
        results, text, drawn = found, said(average_report(found, options.level)), {}
        files = average_tables(found, options.level, text, parquet=parquet)
    else:
        with _folds_in_words():
            results = measured(found, options.level, options.seed, bar, options.by)
        bar("second opinion and summary", 2, 4)
        text, drawn = said(report(results)), pictures(results, unit="")
        files = tables(results, text, parquet=parquet)
    bar("tables and figures", 3, 4)
    failed = write_whole(options.out, files, drawn)
    written = f"figures and tables: {options.out}"
    if options.report is not None:
        bar("report", 3, 4)
        written += f"; report: {write_report(results, method, options)}"
    bar.close()
    if not options.quiet:
        tell(f"{text}\n\n{written}; {time.perf_counter() - began:.0f} s")
    return failed


def _found(
    sample: jc.Sample, method: Method, options: argparse.Namespace, bar: Bar
) -> jc.effects.Effects | jc.effects.Average:
    """Effects of a matching method; the average of one without groups."""
    common: dict[str, Any] = dict(
        estimand=options.estimand,
        folds=options.folds,
        key=options.seed,
        progress=until_effects(bar),
    )
    if not isinstance(method, jc.matching.Matcher):
        return jc.estimate(sample, method, **common)
    return jc.estimate(
        sample,
        method,
        repeats=options.repeats,
        adjust=None if options.adjust == "none" else options.adjust,
        support=options.support,
        **common,
    )


def _check_no_groups(options: argparse.Namespace) -> None:
    """Refuse what is asked of groups where there are none."""
    unused = dict(repeats=1, adjust="auto", support="all", by=[])
    asked = [name for name, default in unused.items() if getattr(options, name) != default]
    if asked:
        raise UserError(
            f"--{asked[0]} is of groups, and --method {options.method} makes none: leave it out."
        )


def _said(sample: jc.Sample, method: Method, options: argparse.Namespace, words: str) -> str:
    """The whole summary: what was asked, the results, and what another run needs."""
    model = getattr(method, "outcome", None)
    by = type(method).__name__ + (f" with {type(model).__name__}" if model is not None else "")
    return (
        f"the effect of {options.treatment} on {options.outcome}\n{by}: "
        f"{int(sample.t.sum()):,} treated, {int((~sample.t).sum()):,} controls of {options.file}"
        f"\n\n{in_options(words, options)}\n\n{versions(sample, options.seed)}"
    )


@contextmanager
def _folds_in_words() -> Iterator[None]:
    """A fold that lacks an arm, with what the command can do."""
    try:
        yield
    except FoldError as error:
        raise UserError(error.told(FOLD_WORDS)) from error


def read_columns(options: argparse.Namespace) -> pd.DataFrame:
    """The columns that the options name; all of them when no covariates are named."""
    if options.treated is not None and options.treatment is None:
        raise UserError("--treated needs --treatment: which column holds that value?")
    roles = [options.treatment, options.outcome, options.weight, options.cluster, options.id]
    named = [name for name in roles if name is not None] + options.categorical
    manner = Manner(options.sep, options.decimal, options.encoding, options.sheet)
    source = open_file(options.file, manner)
    wanted = Wanted(
        columns=[*(options.covariates or source.names), *named],
        words=[] if options.id is None else [options.id],
        levels=options.categorical,
        codes=[] if options.cluster is None else [options.cluster],
        gaps=getattr(options, "missing", "drop") != "error",  # describe counts them
    )
    table = read_table(options.file, source, wanted)
    if options.treatment is not None:
        name = options.treatment
        coded = arms(f"treatment {name!r}", table[name].to_numpy(object), options.treated, _say)
        if options.treated is not None:
            table[name] = coded
    return table


def _say(value: object) -> str:
    """What to add to the command for a value to mean treated."""
    return f"--treated {shlex.quote(label_word(value))}"


def read_sample(options: argparse.Namespace) -> jc.Sample:
    """The file as a sample."""
    return jc.Sample.from_frame(
        read_columns(options),
        treatment=options.treatment,
        outcome=options.outcome,
        covariates=options.covariates,
        categorical=options.categorical,
        missing=options.missing,
        weight=options.weight,
        cluster=options.cluster,
        id=options.id,
    )
