"""What a result needs beside its numbers, and where it is kept."""

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import pandas as pd

import jcausal as jc


def circumstances() -> dict[str, Any]:
    """Date, machine, versions, dtype."""
    return dict(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        python=platform.python_version(),
        jcausal=jc.__version__,
        **{name: version(name) for name in ("jax", "bartz", "numpy")},
        dtype=str(jax.numpy.zeros(0).dtype),
    )


def said(about: dict[str, Any]) -> str:
    """The circumstances in one line."""
    return ", ".join(f"{name} {value}" for name, value in about.items())


def markdown(table: pd.DataFrame) -> str:
    """A table for people: numbers to three digits."""

    def word(value: Any) -> str:
        if isinstance(value, float):
            if value != value:
                return ""
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return str(value)

    head = [str(c) for c in table.columns]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(word(v) for v in row)} |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


def keep(out: Path, name: str, command: str, text: str, data: dict[str, Any]) -> str:
    """Write a result as Markdown and JSON, and return the page."""
    about = circumstances()
    page = f"{text}\n\n`{command}`: {said(about)}\n"
    out.mkdir(parents=True, exist_ok=True)
    kept = json.dumps(dict(command=command, **about, **data), indent=1)
    for ending, content in (("md", page), ("json", kept + "\n")):
        scratch = out / f".{name}.{ending}"
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(out / f"{name}.{ending}")
    return page
