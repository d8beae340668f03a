"""`python -m bench NAME`."""

import argparse
import sys
from pathlib import Path

from bench import ahb

HERE = Path(__file__).parent


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    one = names.add_parser("ahb", help="Fast AHB beside its paper: errors, LaLonde, seconds")
    one.add_argument("--quick", action="store_true", help="few runs of everything")
    one.add_argument("--runs", type=int, default=100, help="runs of each row of Table 2")
    one.add_argument("--partitions", type=int, default=20, help="random partitions of LaLonde")
    one.add_argument(
        "--parts", nargs="+", choices=ahb.PARTS, help="default: all; quick: no settings"
    )
    one.add_argument(
        "--workers", type=int, default=1, help="processes for the errors (never for seconds)"
    )
    one.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.parts = options.parts or (ahb.QUICK if options.quick else ahb.PARTS)
    ahb.main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
