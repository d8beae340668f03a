"""The `jcausal` command: `jcausal demo` runs the main job on LaLonde's data."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import jcausal as jc

EXPERIMENT = (1794.34, 671.0)  # difference of means and its standard error, $


class UserError(Exception):
    """A mistake of the user's, told in one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it worked, 2 for a user's mistake."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        demo(options.controls, options.seed, options.out, options.quiet)
    except (UserError, jc.DataError, OSError) as error:
        print(f"jcausal: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jcausal: stopped; nothing was written.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jcausal", description="Matching and heterogeneous treatment effects."
    )
    parser.add_argument("--version", action="version", version=f"jcausal {jc.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    one = commands.add_parser(
        "demo",
        help="estimate the effect of LaLonde's job training with Fast AHB",
        description="Fast AHB on LaLonde's data: 185 treated men against survey controls.",
    )
    one.add_argument("--controls", choices=("psid", "cps"), default="psid")
    one.add_argument("--seed", type=_seed, default=0, help="of folds and trees (default 0)")
    one.add_argument("--out", type=Path, default=Path("jcausal-demo"), help="folder for files")
    one.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    return parser


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**31 - 1}")
    return int(text)


class Bar:
    """A progress bar on standard error; silent unless that is a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.on = sys.stderr.isatty() and not quiet
        self.width = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw the stage and how far it is."""
        if self.on:
            full = round(30 * done / max(total, 1))
            line = f"[{'#' * full}{'.' * (30 - full)}] {done}/{total} {stage}"
            print(f"\r{line:<{self.width}}", end="", file=sys.stderr, flush=True)
            self.width = len(line)

    def close(self) -> None:
        """Leave a clean line behind."""
        if self.on:
            print(f"\r{' ' * self.width}\r", end="", file=sys.stderr, flush=True)


def demo(controls: str, seed: int, out: Path, quiet: bool) -> None:
    """Estimate, print the summary and write figures and tables into `out`."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give --out a folder.")
    bar, began = Bar(quiet), time.perf_counter()
    sample = jc.datasets.lalonde("cps" if controls == "cps" else "psid")
    method = jc.FastAHB(gamma1=0.0, levels=20, outcome=jc.BART())
    effects = jc.estimate(sample, method, key=seed, progress=bar)
    bar("intervals, balance and figures", 0, 1)
    average = jc.interval(effects, jc.AbadieImbens())
    units = jc.interval(effects, jc.ConservativeNormal())
    table = jc.balance(sample, effects.matching)
    texts = f"{_report(effects, average, table, controls)}\n\n{_versions(sample, seed)}"
    write_whole(out, _files(effects, average, units, table, texts))
    bar.close()
    if not quiet:
        print(texts)
        print(f"\nfigures and tables: {out}; {time.perf_counter() - began:.0f} s")


def _report(effects: jc.Effects, average: jc.Interval, table: pd.DataFrame, controls: str) -> str:
    """The summary that is printed and written."""
    truth, error = EXPERIMENT
    treated, others = int(effects.sample.t.sum()), int((~effects.sample.t).sum())
    lines = [
        "What did job training do to income in 1978 ($)?",
        f"Fast AHB: {treated} treated men of LaLonde's data, {others:,} {controls.upper()} men",
        "",
        effects.summary(average),
        f"the experiment: {truth:,.0f} (standard error {error:,.0f}, 95% "
        f"{truth - 1.96 * error:,.0f} to {truth + 1.96 * error:,.0f})",
        "",
        "balance before and after matching (|SMD| below 0.1 is good; shares: raw difference)",
        _balance_words(table),
        "",
        _surface_words(effects),
        "",
        "three boxes",
    ]
    return "\n".join(lines + [f"  {text}" for text in _three_boxes(effects)])


def _versions(sample: jc.Sample, seed: int) -> str:
    """What another run needs to give the same numbers."""
    import jax

    device = jax.devices()[0].platform
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "bartz"))
    return f"seed {seed}, {sample.x.dtype}, {device}; jcausal {jc.__version__}, {libraries}"


def _balance_words(table: pd.DataFrame) -> str:
    shown = table[["mean_treated", "mean_control", "mean_control_matched"]].copy()
    shown.columns = pd.Index(["treated", "controls", "matched controls"])
    shown = shown.map(lambda v: f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.2f}")
    for column in ("smd_before", "smd_after", "vr_after"):
        shown[column] = [" " if np.isnan(v) else f"{v:.2f}" for v in table[column]]
    sizes = {k: v for k, v in table.attrs.items() if str(k).startswith("ess_control")}
    return (
        f"{shown.rename_axis(None).to_string()}\n"
        f"effective sample size of the controls: {sizes['ess_control_before']:,.0f} before, "
        f"{sizes['ess_control_after']:,.0f} after"
    )


def _surface_words(effects: jc.Effects) -> str:
    fitted = [s for s in effects.surfaces if isinstance(s, jc.BARTSurface)]
    rhat = ", ".join(f"{s.rhat[0]:.2f}" for s in fitted)
    sd = ", ".join(f"{np.sqrt(s.noise[0]):,.0f} $" for s in fitted)
    return (
        f"control surface (BART, one a fold): {fitted[0].chains} chains, R-hat of the noise "
        f"{rhat}, noise {sd}"
    )


def _three_boxes(effects: jc.Effects) -> list[str]:
    """A small, a middling and a large group among the matched."""
    matching = effects.matching
    assert isinstance(matching, jc.Boxes)
    matched = np.flatnonzero(np.asarray(effects.matched))
    order = matched[np.argsort(np.asarray(effects.n_control)[matched], kind="stable")]
    chosen = [order[int(share * (len(order) - 1))] for share in (0.25, 0.6, 0.9)]
    ite = np.asarray(effects.ite)
    return [
        f"man {matching.sample.id[int(matching.query[i])]}: {matching.describe(int(i))}; "
        f"effect {ite[i]:,.0f} $"
        for i in chosen
    ]


def _files(
    effects: jc.Effects,
    average: jc.Interval,
    units: jc.Interval,
    table: pd.DataFrame,
    text: str,
) -> dict[str, Callable[[Path], object]]:
    """What to write: a name, and a function that writes it to a path."""
    matching = effects.matching
    assert isinstance(matching, jc.Boxes)
    order = np.argsort(-np.asarray(effects.n_control), kind="stable")
    which = [int(order[k]) for k in (len(order) // 10, len(order) // 3, len(order) // 2)]
    bounds = units.to_frame()[["error", "lower", "upper", "pooled"]]
    rows = effects.to_frame().join(bounds)

    def picture(draw: Callable[[], object]) -> Callable[[Path], object]:
        return lambda path: _save(draw, path)

    return {
        "summary.txt": lambda path: path.write_text(text + "\n", encoding="utf-8"),
        "effects.csv": lambda path: rows.to_csv(path, index=False),
        "matched.csv": lambda path: matching.to_frame().to_csv(path, index=False),
        "boxes.csv": lambda path: matching.to_frame("boxes").to_csv(path, index=False),
        "balance.csv": lambda path: table.to_csv(path),
        "effects.png": picture(
            lambda: jc.plot.effects(effects, interval=units, average=average, unit="$")
        ),
        "love.png": picture(lambda: jc.plot.love(table)),
        "boxes.png": picture(
            lambda: jc.plot.boxes(matching, which=which, covariates=["age", "income 1975"])
        ),
    }


def _save(draw: Callable[[], object], path: Path) -> None:
    """Draw without a screen and save as PNG."""
    import matplotlib.pyplot as plt

    with plt.ioff():
        axes = draw()
    figure = axes.figure  # type: ignore[attr-defined]
    figure.savefig(path, dpi=150, format="png")
    plt.close(figure)


def write_whole(out: Path, files: dict[str, Callable[[Path], object]]) -> None:
    """Write every file into a scratch folder, then move all of them: whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as scratch:
        for name, write in files.items():
            write(Path(scratch) / name)
        for name in files:
            (Path(scratch) / name).replace(out / name)


if __name__ == "__main__":
    sys.exit(main())
