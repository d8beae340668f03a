"""Exact AHB: its engines side by side."""

import argparse

from bench import _engines
from bench._keep import keep, markdown


def main(options: argparse.Namespace) -> None:
    """Run every process at every size."""
    sizes = _engines.FEW if options.quick else _engines.SIZES
    page = ""
    for found in _engines.collect(sizes, options.units, options.limit):
        text = (
            "# Exact AHB by its engines\n\nUniform covariates; surfaces that are the process in "
            "all covariates, or in two; the first treated units. Seconds a unit, compile time "
            "apart: of the search all together; of the programs "
            f"({_engines.FEW_UNITS} units) one by one on one thread, building them included, at "
            f"most {options.limit:g} s each. No units: proved nothing at a smaller size, and was "
            f"not run. The objective is the mean of the first {_engines.FEW_UNITS} units. Where "
            "the search left nothing, auto is the search."
            f"\n\n{markdown(_engines.table(found))}\n\n## Every engine\n\n{markdown(found)}"
        )
        name = "exact-engines" + ("-quick" if options.quick else "")
        command = "python -m bench exact" + (" --quick" if options.quick else "")
        if (options.units, options.limit) != (24, 60.0):
            command += f" --units {options.units} --limit {options.limit:g}"
        page = keep(options.out, name, command, text, {"rows": found.to_dict("records")})
    print(page, flush=True)
