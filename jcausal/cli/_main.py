"""The command line: its words, and what they call."""

import argparse
import logging
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from types import FrameType
from typing import Any

import jcausal as jc
from jcausal.cli._cache import cache_place, kept_programs
from jcausal.cli._compare import compare
from jcausal.cli._demo import demo
from jcausal.cli._describe import describe
from jcausal.cli._estimate import estimate
from jcausal.cli._methods import METHODS, options_in_words
from jcausal.cli._options import SURFACES, in_options, in_the_file
from jcausal.cli._terminal import Bar, UserError

LETTER = re.compile(r"Glyph \d+ .* missing from font")
NO_LETTER = "the pictures' font lacks letters of some names: there are boxes in their place."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    **Returns:** 0 when it worked, 1 when a picture failed and all else is written, 2 for a user's
    mistake, 130 when stopped.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        with Bar(options.quiet) as bar, _told(bar, options), _ended(), kept_programs(options.cache):
            failed = _run(options, bar)
    except UserError as error:
        print(f"jcausal: {in_the_file(str(error))}", file=sys.stderr)
        return 2
    except (jc.DataError, jc.HonestyError, jc.MatchError, ValueError, OSError) as error:
        print(f"jcausal: {in_the_file(in_options(str(error), options))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jcausal: stopped; nothing was written.", file=sys.stderr)
        return 130
    if failed is not None:
        print(f"jcausal: {failed}", file=sys.stderr)
    return 0 if failed is None else 1


def _run(options: argparse.Namespace, bar: Bar) -> str | None:
    """What the command says; a sentence on pictures that failed, or None."""
    if options.command == "describe":
        describe(options, bar)
        return None
    return dict(demo=demo, estimate=estimate, compare=compare)[options.command](options, bar)


@contextmanager
def _told(bar: Bar, options: argparse.Namespace) -> Iterator[None]:
    """Warnings as one line each on standard error, said once, without their place in the code.

    Matplotlib's words on fonts and on a cache folder that it cannot have are not told; on letters
    that its font lacks there is one line for all of them.
    """
    fonts = logging.getLogger("matplotlib")
    level, said = fonts.level, set()

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        told = in_the_file(in_options(str(message), options))
        words = NO_LETTER if LETTER.match(told) else told
        if issubclass(category, UserWarning) and words not in said:
            said.add(words)
            bar.say(f"jcausal: note: {words}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        fonts.setLevel(logging.ERROR)
        try:
            yield
        finally:
            fonts.setLevel(level)


@contextmanager
def _ended() -> Iterator[None]:
    """A polite kill ends like Ctrl-C, so that scratch files go."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jcausal",
        description="Matching and heterogeneous treatment effects.",
        epilog=f"Compiled programs are kept {_kept()}, so that the next run starts faster.",
    )
    parser.add_argument("--version", action="version", version=f"jcausal {jc.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    _demo_options(commands)
    one = commands.add_parser(
        "estimate",
        help="estimate the effect of a treatment from a file",
        description="Match every unit asked for by a method (--method) and estimate its effect. "
        "Look at the file first with `jcausal describe`.",
        epilog=_methods_in_words(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _columns(one, required=True)
    _estimate_options(one)
    several = commands.add_parser(
        "compare",
        help="ask several methods the same question of a file",
        description="Estimate one effect by several methods, each at its own settings, and set "
        "them side by side.",
        epilog=fill(f"methods: {', '.join(METHODS)}", 79),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _columns(several, required=True)
    _compare_options(several)
    two = commands.add_parser(
        "describe",
        help="show what a file holds: kinds, missing values, arms, overlap",
        description="Kinds, missing values, arms and overlap of a file.",
    )
    _columns(two, required=False)
    _manners(two, "no progress bar")
    return parser


def _methods_in_words() -> str:
    """The options of each method with their defaults."""
    listed = [f"  {word}: {options_in_words(word)}" for word in METHODS]
    wrapped = [fill(line, 79, subsequent_indent="    ") for line in listed]
    return "\n".join(["methods, and what --option sets of them:", *wrapped])


def _demo_options(commands: Any) -> None:
    one = commands.add_parser(
        "demo",
        help="estimate the effect of LaLonde's job training with AHB",
        description="AHB on LaLonde's data: 185 treated men against survey controls.",
    )
    one.add_argument("--controls", choices=("psid", "cps"), default="psid")
    _common(one, Path("jcausal-demo"))


def _common(one: argparse.ArgumentParser, out: Path) -> None:
    one.add_argument("--seed", type=_seed, default=0, help="of folds and draws (default 0)")
    one.add_argument("--out", type=Path, default=out, help=f"folder for files (default {out})")
    _manners(one, "no progress bar, no summary")


def _manners(one: argparse.ArgumentParser, quiet: str) -> None:
    one.add_argument("--quiet", action="store_true", help=quiet)
    one.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="keep no compiled programs and use none; they are kept " + _kept().replace("%", "%%"),
    )


def _kept() -> str:
    place = cache_place()
    return "nowhere (no home folder, or JAX before 0.10.2)" if place is None else f"in {place}"


def _columns(one: argparse.ArgumentParser, required: bool) -> None:
    """Which file, and what its columns mean."""
    one.add_argument(
        "file",
        type=Path,
        help="CSV or other text (also packed: .csv.gz), Parquet, Feather, Excel, Stata, SPSS, SAS",
    )
    one.add_argument("--sep", type=_sep, metavar="MARK", help="between columns; \\t for a tab")
    marks: dict[str, Any] = dict(choices=(".", ","), metavar="MARK")
    one.add_argument("--decimal", **marks, help="before the decimals of a number")
    one.add_argument("--encoding", type=_encoding, help="of text, such as latin-1 or utf-16")
    one.add_argument("--sheet", metavar="NAME", help="of an Excel file; or its number, from 1")
    one.add_argument("--treatment", required=required, metavar="COLUMN", help="0 or 1")
    one.add_argument("--treated", metavar="VALUE", help="the value of it that means treated")
    one.add_argument("--outcome", required=required, metavar="COLUMN")
    several: dict[str, Any] = dict(nargs="+", metavar="COLUMN")
    one.add_argument("--covariates", **several, help="default: every other column")
    one.add_argument("--categorical", default=[], **several, help="covariates that are levels")
    one.add_argument("--weight", metavar="COLUMN", help="sampling weights")
    one.add_argument("--cluster", metavar="COLUMN", help="units kept together in folds")
    one.add_argument("--id", metavar="COLUMN", help="names of the units")


def _compare_options(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--methods",
        default="default",
        metavar="NAMES",
        help="default: a usual choice; all: every method, which may take minutes; or names with "
        "commas between them, such as ahb,iptw",
    )
    _question(one)
    _common(one, Path("jcausal-compare"))


def _question(one: argparse.ArgumentParser) -> None:
    """What is asked of any method."""
    one.add_argument("--missing", choices=("error", "drop", "indicator"), default="error")
    one.add_argument(
        "--estimand",
        choices=("att", "atc", "ate", "ato"),
        default="att",
        help="of the treated (default), the controls, all, or those alike in both arms (of "
        "overlap-weights and of dml with kind=partial_linear)",
    )
    one.add_argument("--level", type=_level, default=0.95, help="of intervals (default 0.95)")
    one.add_argument("--format", choices=("csv", "parquet"), default="csv", help="of the tables")


def _estimate_options(one: argparse.ArgumentParser) -> None:
    _question(one)
    one.add_argument(
        "--method",
        choices=tuple(METHODS),
        default="ahb",
        help="of matching, or an average without groups (default ahb)",
    )
    one.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, listed below; may be said again for others",
    )
    one.add_argument(
        "--surface", choices=tuple(SURFACES), help="outcome model (default: the method's own)"
    )
    one.add_argument(
        "--adjust",
        choices=("auto", "surface", "none"),
        default="auto",
        help="average residuals from the outcome model (default: where it is honest), or outcomes",
    )
    one.add_argument(
        "--support",
        choices=("all", "common"),
        default="all",
        help="common: leave out units outside the values of the other arm",
    )
    one.add_argument("--folds", type=_count, default=2, help="honest folds (default 2)")
    one.add_argument("--repeats", type=_count, default=1, help="partitions, the median is shown")
    one.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help="effects by group")
    one.add_argument("--report", type=Path, metavar="FILE", help="the result as one HTML file")
    _common(one, Path("jcausal-estimate"))


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**31 - 1}")
    return int(text)


def _sep(text: str) -> str:
    mark = {"\\t": "\t", "tab": "\t", "space": " "}.get(text, text)
    if len(mark) != 1 or mark in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} is no single character, such as ; or \\t")
    return mark


def _encoding(text: str) -> str:
    try:
        "".encode(text)
    except LookupError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no encoding that Python knows, such as utf-8, latin-1 or utf-16"
        ) from None
    return text


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1, such as 0.95")
    return value
