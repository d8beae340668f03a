"""Files out: all of them whole or none, but for a picture that cannot be drawn."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from jcausal.cli._files import Writer
from jcausal.cli._terminal import UserError

BEFORE = ".before"  # in the scratch folder: files that give way, until all new ones are in place
LONGEST = 200  # signs of an error that are told


def write_whole(
    out: Path, files: Mapping[str, Writer], pictures: Mapping[str, Writer] | None = None
) -> str | None:
    """Write every file into a scratch folder, then move all of them: whole or not at all.

    A picture that fails costs no other file; one of that name from an earlier run goes, since it
    shows other numbers. Upon any other error the folder is as it was.

    **Returns:** a sentence on the pictures that failed, or None.

    **Raises:** `UserError` where files cannot be written, as on a full disk.
    """
    made = [place for place in (out, *out.parents) if not place.exists()]
    failed: dict[str, str] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as name:
            scratch = Path(name)
            for file, write in files.items():
                write(scratch / file)
            for file, write in (pictures or {}).items():
                try:
                    write(scratch / file)
                except Exception as error:  # whatever a drawing may raise: the tables are there
                    (scratch / file).unlink(missing_ok=True)
                    failed[file] = _in_words(error)
            _move([*files, *(pictures or {})], scratch, out)
    except BaseException as error:
        for place in made:
            with suppress(OSError):  # not empty, or never made
                place.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"nothing was written to {out}: {error}") from error
        raise
    if not failed:
        return None
    by_reason: dict[str, list[str]] = {}
    for file, words in failed.items():
        by_reason.setdefault(words, []).append(file)
    listed = "; ".join(f"{', '.join(held)} ({words})" for words, held in by_reason.items())
    return f"could not draw {listed}; everything else is in {out}."


def _in_words(error: Exception) -> str:
    """What went wrong on one line."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} ..."


def _move(names: list[str], scratch: Path, out: Path) -> None:
    """Put new files in place of old ones; if that is stopped midway, everything goes back."""
    for name in names:
        if (out / name).is_dir():
            raise UserError(
                f"nothing was written to {out}: {name} is a folder there; give --out another one."
            )
    old, begun = scratch / BEFORE, []
    old.mkdir()
    written = {name for name in names if (scratch / name).exists()}
    try:
        for name in names:
            begun.append(name)
            if (out / name).exists():
                (out / name).replace(old / name)
            if name in written:
                (scratch / name).replace(out / name)
    except BaseException:
        for name in begun:
            if (old / name).exists():
                (old / name).replace(out / name)
            elif name in written and not (scratch / name).exists():
                (out / name).unlink(missing_ok=True)
        raise


def check_folder(out: Path) -> None:
    """Refuse an output folder that cannot be one, or that takes no file, before any work."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise UserError(f"{place} is a file: give --out a folder.")
            try:
                with tempfile.TemporaryFile(dir=place):
                    return
            except OSError as error:
                raise UserError(
                    f"no file can be written to {place} ({error.strerror}): give --out another "
                    "folder."
                ) from error


def check_format(parquet: bool) -> None:
    """Refuse Parquet where nothing can write it, before any work."""
    if parquet and find_spec("pyarrow") is None:
        raise UserError(
            '--format parquet needs pyarrow: pip install "jcausal[parquet]", or write CSV.'
        )
