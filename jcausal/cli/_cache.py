"""Compiled programs kept between runs, in the user's cache folder; of the command only."""

import glob
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

UNUSED = 30 * 86_400.0  # seconds after which a program that no run has read goes
MOST = 500_000_000  # bytes, beyond which the longest unused go
QUIET = (0, 10, 2)  # JAX before it writes a page of alarm for each program that it reads
FOLDER = "jax_compilation_cache_dir"
FAILED = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(.*?)'")


def cache_place() -> str | None:
    """Where compiled programs are kept: the folder that JAX was told, or the user's own."""
    own = _own_folder()
    return getattr(jax.config, FOLDER) or (None if own is None else str(own))


@contextmanager
def kept_programs(keep: bool) -> Iterator[None]:
    """Keep compiled programs, or none, while this is open; a folder that JAX was told stands."""
    told = getattr(jax.config, FOLDER) is not None
    folder = _made(_own_folder()) if keep and not told else None
    settings: dict[str, Any] = {} if keep else {"jax_enable_compilation_cache": False}
    if folder is not None:
        _tidy(folder)
        settings = {
            FOLDER: str(folder),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
    before = {name: getattr(jax.config, name) for name in settings}
    _set(settings)
    try:
        with _without_a_word(folder):
            yield
    finally:
        _set(before)


def _set(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    if settings:
        compilation_cache.reset_cache()  # JAX looks at them once, when it first compiles


def _own_folder() -> Path | None:
    """`jcausal` in the user's cache folder; None without a home, or with a JAX too old."""
    if jax.__version_info__ < QUIET:
        return None
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "jcausal"
    home = Path(os.path.expanduser("~"))
    place = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return home / place / "jcausal" if home.is_absolute() and home.is_dir() else None


def _made(folder: Path | None) -> Path | None:
    """The folder, there and open for writing; None where that cannot be."""
    with suppress(OSError):
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return folder if os.access(folder, os.W_OK | os.X_OK) else None
    return None


def _tidy(folder: Path) -> None:
    """Remove programs that were not used for long, and the longest unused when there are many.

    Used is when a file was read or written last; where a file system does not note reading, a
    program goes that long after it was made and is compiled anew.
    """
    files = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            seen = path.stat()
            if stat.S_ISREG(seen.st_mode):
                files.append((max(seen.st_atime, seen.st_mtime), seen.st_size, path))
    room, oldest = MOST, time.time() - UNUSED
    for used, size, path in sorted(files, reverse=True):
        room -= size
        if used < oldest or room < 0:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _without_a_word(folder: Path | None) -> Iterator[None]:
    """A program that cannot be read is compiled anew, one that cannot be kept is not; no noise."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, *rest: Any, **more: Any) -> None:
            failed = FAILED.match(str(message))
            if folder is None or failed is None:
                shown(message, *rest, **more)
            elif failed[1] == "reading":
                _forget(folder, failed[2])

        warnings.showwarning = show
        yield


def _forget(folder: Path, name: str) -> None:
    """Remove what is kept of the programs of a name, one of which is broken."""
    for path in folder.glob(f"{glob.escape(name)}-*-cache"):
        with suppress(OSError):
            path.unlink()
