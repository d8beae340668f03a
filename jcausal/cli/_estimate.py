"""`jcausal estimate FILE`: effects from a user's own data."""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

import jcausal as jc
from jcausal.cli._files import open_file, read_table
from jcausal.cli._manner import Manner, Wanted
from jcausal.cli._options import KNOBS, METHODS, SURFACES, in_options
from jcausal.cli._report import measure, pictures, report, tables, versions
from jcausal.cli._terminal import Bar, UserError, tell, until_effects
from jcausal.cli._write import check_folder, check_format, write_whole
from jcausal.data import FoldError, FoldWords
from jcausal.data._given import label_word
from jcausal.data._treated import arms

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
    if options.folds < 2:
        raise UserError(
            "--folds is 1, and the surface would be trained on the outcomes that are averaged: use "
            "at least 2 folds."
        )
    bar("reading", 0, 1)
    sample = read_sample(options)
    for name in options.by:
        if name not in sample.schema.names:
            raise UserError(f"--by {name!r} is no covariate: {', '.join(sample.schema.names)}.")
    method = make_method(options)
    bar("folds", 0, 1)
    with _folds_in_words():
        effects = jc.estimate(
            sample,
            method,
            estimand=options.estimand,
            folds=options.folds,
            repeats=options.repeats,
            key=options.seed,
            adjust=None if options.adjust == "none" else options.adjust,
            support=options.support,
            progress=until_effects(bar),
        )
        results = measure(effects, options.level, options.seed, bar, options.by)
    bar("second opinion and summary", 2, 4)
    text = (
        f"the effect of {options.treatment} on {options.outcome}\n"
        f"{type(method).__name__} with {type(method.outcome).__name__}: "
        f"{int(sample.t.sum()):,} treated, {int((~sample.t).sum()):,} controls of {options.file}"
        f"\n\n{in_options(report(results), options)}\n\n{versions(sample, options.seed)}"
    )
    bar("tables and figures", 3, 4)
    drawn = pictures(results, unit="")
    failed = write_whole(options.out, tables(results, text, parquet=parquet), drawn)
    bar.close()
    if not options.quiet:
        tell(f"{text}\n\nfigures and tables: {options.out}; {time.perf_counter() - began:.0f} s")
    return failed


@contextmanager
def _folds_in_words() -> Iterator[None]:
    """A fold that lacks an arm, with what the command can do."""
    try:
        yield
    except FoldError as error:
        raise UserError(error.told(FOLD_WORDS)) from error


def make_method(options: argparse.Namespace) -> jc.matching.Matcher:
    """The matching method of the options; where they say nothing, the library's defaults."""
    said = {name: getattr(options, name) for name in KNOBS}
    said = {name: value for name, value in said.items() if value is not None}
    method = METHODS[options.method]
    fields = {field.name for field in dataclasses.fields(method)}
    for name in said:
        if name not in fields:
            others = [word for word, one in METHODS.items() if hasattr(one, name)]
            raise UserError(
                f"--{name.replace('_', '-')} is no option of --method {options.method}, but of "
                f"{', '.join(others)}."
            )
    return method(outcome=SURFACES[options.surface](), **said)


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
