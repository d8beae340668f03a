"""`python -m bench NAME`."""

import argparse
import sys
from pathlib import Path

from bench import ahb, allocation, coverage, exact, kernels, m5, matching, methods, panel, real

HERE = Path(__file__).parent


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    one = names.add_parser("ahb", help="Fast AHB beside its paper: errors, LaLonde, seconds")
    one.add_argument("--quick", action="store_true", help="few runs of a few rows")
    one.add_argument("--speed", action="store_true", help="the same as --parts speed sets large")
    one.add_argument("--runs", type=int, default=100, help="runs of each row of Table 2")
    one.add_argument("--partitions", type=int, default=20, help="random partitions of LaLonde")
    one.add_argument(
        "--parts", nargs="+", choices=ahb.PARTS, help="default: all; quick: no settings"
    )
    one.add_argument(
        "--workers", type=int, default=1, help="processes for the errors (never for seconds)"
    )
    two = names.add_parser("kernels", help="the kernels against the machine's measured rates")
    two.add_argument("--quick", action="store_true", help="a tenth of the units")
    three = names.add_parser("exact", help="Exact AHB beside its paper, and its engines")
    three.add_argument("--quick", action="store_true", help="a small version of each part")
    three.add_argument("--parts", nargs="+", choices=exact.PARTS, default=exact.PARTS)
    three.add_argument(
        "--runs",
        type=int,
        help=f"of each row ({', '.join(f'{part}: {runs}' for part, runs in exact.RUNS.items())})",
    )
    three.add_argument("--partitions", type=int, default=20, help="random partitions of LaLonde")
    three.add_argument("--workers", type=int, default=1, help="processes for tables, floor")
    three.add_argument("--units", type=int, default=24, help="units of each case (engines)")
    three.add_argument("--limit", type=float, default=60.0, help="seconds a unit (engines)")
    four = names.add_parser("m5", help="M5Match and M5Model: case study, simulated data, seconds")
    four.add_argument("--quick", action="store_true", help="a small version of each part")
    four.add_argument("--parts", nargs="+", choices=m5.PARTS, default=m5.PARTS)
    four.add_argument("--runs", type=int, help="draws or runs of each row (default: 30)")
    four.add_argument("--rows", nargs="+", choices=m5.PROCESSES, help="processes of defaults")
    four.add_argument("--workers", type=int, default=1, help="processes for the errors")
    five = names.add_parser("allocation", help="allocations from coarse estimates: Figures 2 and 3")
    five.add_argument("--quick", action="store_true", help="a small version of each part")
    five.add_argument("--parts", nargs="+", choices=allocation.PARTS, default=allocation.PARTS)
    five.add_argument("--runs", type=int, help=f"trials (default: {allocation.REPEATS})")
    six = names.add_parser("panel", help="completed panels: errors, coverage, Prop. 99, seconds")
    six.add_argument("--quick", action="store_true", help="a small version of each part")
    six.add_argument("--parts", nargs="+", choices=panel.PARTS, default=panel.PARTS)
    six.add_argument("--runs", type=int, help="runs of each row (default: 10; coverage 200)")
    seven = names.add_parser("real", help="real data beside other estimators, seconds")
    seven.add_argument("--quick", action="store_true", help="a small version of a few parts")
    seven.add_argument("--parts", nargs="+", choices=real.PARTS, default=real.PARTS)
    seven.add_argument("--sets", nargs="+", choices=real.SETS, default=list(real.SETS))
    seven.add_argument("--partitions", type=int, default=20, help="random partitions (estimates)")
    seven.add_argument("--methods", nargs="+", choices=real.METHODS, default=list(real.METHODS))
    seven.add_argument("--limit", type=float, default=real.LIMIT, help="seconds of a slow method")
    eight = names.add_parser("matching", help="every matching method beside its peers, seconds")
    eight.add_argument("--quick", action="store_true", help="a small version of each part")
    eight.add_argument("--parts", nargs="+", choices=matching.PARTS, default=matching.PARTS)
    nine = names.add_parser("methods", help="every method beside the others: errors, coverage ...")
    nine.add_argument("--quick", action="store_true", help="one small data set, every method")
    nine.add_argument("--parts", nargs="+", choices=methods.PARTS, default=methods.PARTS)
    nine.add_argument("--methods", nargs="+", choices=methods.ROSTER, help="default: all")
    nine.add_argument("--rows", nargs="+", help="of the part, as its page names them")
    nine.add_argument("--runs", type=int, help="data sets (or partitions) of each row")
    nine.add_argument("--workers", type=int, default=1, help="processes (never for sizes, grf)")
    nine.add_argument("--limit", type=float, default=methods.LIMIT, help="seconds (sizes, grf)")
    nine.add_argument("--resume", action="store_true", help="ask only what the page lacks")
    ten = names.add_parser("coverage", help="of intervals: units (the AHB paper's Figure 9), ATT")
    ten.add_argument("--quick", action="store_true", help="few runs of a few parts")
    ten.add_argument("--parts", nargs="+", choices=coverage.WORDS, help="default: all")
    ten.add_argument("--runs", type=int, help="data sets of each row")
    ten.add_argument("--workers", type=int, default=1, help="processes")
    for each in (one, two, three, four, five, six, seven, eight, nine, ten):
        each.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    others = dict(
        kernels=kernels,
        exact=exact,
        m5=m5,
        allocation=allocation,
        panel=panel,
        real=real,
        matching=matching,
        methods=methods,
        coverage=coverage,
    )
    if options.name in others:
        others[options.name].main(options)
        return 0
    parts = ahb.QUICK if options.quick else ahb.PARTS
    options.parts = ahb.SECONDS if options.speed else options.parts or parts
    ahb.main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
