"""`--report FILE`: the result as one HTML file."""

import argparse
from functools import partial
from pathlib import Path

import jcausal as jc
from jcausal.cli._options import in_options
from jcausal.cli._report import Results
from jcausal.cli._terminal import UserError
from jcausal.reports import (
    Request,
    Wording,
    average_page,
    check_templates,
    report_of_results,
    write_page,
)


def check_report(path: Path | None) -> None:
    """Refuse a report that cannot be made or written, before any work."""
    if path is None:
        return
    try:
        check_templates()
    except ImportError as error:
        raise UserError(str(error)) from error
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"is in {path.parent}, which is no folder"
        raise UserError(f"--report {path} {what}: name a file in a folder that is there.")


def write_report(
    found: Results | jc.effects.Average, method: object, options: argparse.Namespace
) -> Path:
    """The report of what was estimated, in the words of the command."""
    wording = Wording(
        treatment=options.treatment,
        outcome=options.outcome,
        seed=options.seed,
        reword=partial(in_options, options=options),
    )
    if isinstance(found, jc.effects.Average):
        return write_page(average_page(found, wording, method, options.level), options.report)
    rule = jc.inference.usual_interval(found.effects.sample, options.level)
    request = Request(wording, method, rule, options.seed)
    return report_of_results(found, options.report, request, options.by or None)
