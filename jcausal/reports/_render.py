"""One HTML file that needs nothing else: templates, style and script of the package."""

import json
import math
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import UInt32

from jcausal.data import label_in_words, number_in_words

DIGITS = 6  # significant, of numbers that the page's script shows
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class TextTable(NamedTuple):
    """A table as it is read: column heads, which columns are numbers, and cells in words."""

    head: list[str]
    numeric: list[bool]
    rows: list[list[str]]


def text_table(frame: pd.DataFrame) -> TextTable:
    """A frame in words; a missing value is blank."""
    kinds = [frame.iloc[:, j].dtype.kind for j in range(frame.shape[1])]
    numeric = [kind in "iuf" for kind in kinds]
    columns = [[cell(v) for v in frame.iloc[:, j].tolist()] for j in range(frame.shape[1])]
    return TextTable([str(name) for name in frame.columns], numeric, list(map(list, zip(*columns))))


def balance_shown(balance: pd.DataFrame) -> pd.DataFrame:
    """The columns that a reader asks for first."""
    names = ["mean_treated", "mean_control", "mean_treated_matched", "mean_control_matched"]
    names += ["smd_before", "smd_after", "vr_after", "ks_after", "worth", "ok"]
    shown = balance[[name for name in names if name in balance]].copy()
    for name in shown.columns.intersection(["smd_before", "smd_after", "vr_after", "ks_after"]):
        shown[name] = shown[name].astype(float).round(3)
    shown = shown.rename_axis("covariate").reset_index()
    return shown.rename(columns=lambda name: str(name).replace("_", " "))


def cell(value: Any) -> str:
    """A value in words: blank where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return number_in_words(float(value)) if math.isfinite(float(value)) else str(value)
    return label_in_words(value)


def compact(values: Any) -> list:
    """Numbers of six significant digits, words as they are, None for what is missing: for JSON."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        listed = [float(f"{v:.{DIGITS}g}") if math.isfinite(v) else None for v in array.tolist()]
        return [int(v) if v is not None and v.is_integer() else v for v in listed]
    if array.dtype.kind in "iu":
        return array.tolist()
    if array.dtype.kind == "b":
        return array.astype(int).tolist()
    return [cell(v) or None for v in array.tolist()]


def as_json(data: Any) -> str:
    """JSON that can stand inside a script element, whatever words it holds.

    **Raises:** ValueError for numbers that JSON has not.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "".join(UNSAFE.get(sign, sign) for sign in text) if _unsafe(text) else text


def _unsafe(text: str) -> bool:
    return any(sign in text for sign in UNSAFE)


def versions(seed: int | None, dtype: object, mark: UInt32[Any, " 2"] | None) -> list[list[str]]:
    """What another run needs to give the same numbers: (name, value)."""
    names = ("jax", "jaxlib", "equinox", "numpy")
    device = jax.devices()[0]
    rows = [["jcausal", sys.modules["jcausal"].__version__]]
    rows += [[name, version(name)] for name in names]
    rows += [["numbers", str(dtype)], ["device", f"{device.platform} ({device.device_kind})"]]
    rows.append(["seed", "not told to the report" if seed is None else str(seed)])
    if mark is not None:
        words = "".join(f"{int(word):08x}" for word in np.asarray(mark))
        rows.append(["data (64-bit mark of all rows in their order)", words])
    return rows


def check_templates() -> None:
    """Refuse a report where nothing can make it.

    **Raises:** ImportError with the extra to install.
    """
    if find_spec("jinja2") is None:
        raise ImportError(
            'reports need jinja2: pip install "jcausal[report]" (or pip install jinja2).'
        )


def rendered(template: str, **context: Any) -> str:
    """A page of the package's templates, every word in it escaped.

    **Raises:** ImportError where jinja2 is missing, with the extra that has it.
    """
    check_templates()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("jcausal.reports", "templates")
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {name: Markup(_source(loader, pages, f"report.{name}")) for name in ("css", "js")}
    return pages.get_template(template).render(**parts, **context)


def _source(loader: Any, pages: Any, name: str) -> str:
    return loader.get_source(pages, name)[0]


def write_page(html: str, path: str | os.PathLike[str]) -> Path:
    """The page as a file, whole or not at all.

    **Raises:** OSError where it cannot be written.
    """
    target = Path(path)
    scratch = target.with_name(f".writing-{target.name}")
    try:
        scratch.write_text(html, encoding="utf-8")
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return target
