"""The verbs `save` and `load`: one zip file of arrays and of text that says how they belong."""

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jcausal.data import DataError
from jcausal.storage._read import FileContent
from jcausal.storage._write import Written

FORMAT = 1  # goes up when an older version could not read what is written
TEXT = "jcausal.json"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, IndexError, ValueError)
BROKEN += (AttributeError, RuntimeError, OverflowError)  # of zipfile: what it cannot unpack


def save(thing: Any, path: str | os.PathLike, *, parts: Mapping[str, Any] | None = None) -> None:
    """Write what jcausal made to a file: a sample, a surface, a matching, effects, a panel ...

    The file is a zip archive of NumPy arrays and of one text in JSON. It holds no code: reading it
    runs nothing. Arrays keep every bit; what is shared (the sample of a matching and of its
    surfaces) is written once. The file stands whole or not at all.

    **Arguments:**

    - `thing`: an object of jcausal, or a tuple, list or dict of such.
    - `path`: by custom it ends in `.jcausal`.
    - `parts`: {name: value} for what a file cannot hold, such as your own function in
      `jc.Function(f)`: its name stands for it, and `load` takes it again.

    **Returns:** nothing.

    **Raises:** ValueError that names the part which a file cannot hold; OSError where no file can
    be written.

    **Example:**

        >>> import jcausal as jc, tempfile, pathlib
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.NearestNeighbors())
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lalonde.jcausal"
        >>> jc.save(effects, path)
        >>> jc.load(path).summary() == effects.summary()
        True
    """
    written = Written(parts or {})
    told = written.of(thing, type(thing).__name__)
    text = dict(
        format=FORMAT,
        jcausal=_version(),
        thing=told,
        objects=written.objects,
        on_device=written.on_device,
    )
    place = Path(path)
    if place.is_dir() or not place.parent.is_dir():
        said = "is a folder" if place.is_dir() else "is in a folder that does not exist"
        raise OSError(f"{path} {said}: name a file in a folder that does.")
    number, name = tempfile.mkstemp(dir=place.parent, prefix=".writing-")
    try:
        with (
            os.fdopen(number, "wb") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            archive.writestr(TEXT, json.dumps(text, allow_nan=False))
            for k, array in enumerate(written.arrays):
                with archive.open(_member(k), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(place)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def load(path: str | os.PathLike, *, parts: Mapping[str, Any] | None = None) -> Any:
    """Read what `jc.save` wrote, equal to the last bit.

    Only arrays, words, numbers and classes of jcausal are made: a file from elsewhere cannot run
    anything. Arrays of 64 bits need JAX's 64 bits, as when they were saved.

    **Arguments:** `path`; `parts` as given to `save`.

    **Returns:** the object.

    **Raises:** `DataError` for a file that is none of these, is cut off, or was written by a later
    version, and for parts that are not given.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = _text(archive, path)
            count = range(len(text["on_device"]))
            arrays = [_array(archive, k) for k in count]
        _check_digits(arrays, text["on_device"], path)
        content = FileContent(arrays, text["on_device"], parts or {})
        content.put_together(text["objects"])
        return content.of(text["thing"])
    except DataError:
        raise
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be loaded: {reason.rstrip('.')}.") from error


def _text(archive: zipfile.ZipFile, path: str | os.PathLike) -> dict[str, Any]:
    """The structure, if it is of a format that is known."""
    if TEXT not in archive.namelist():
        raise DataError(f"{path} was not written by jc.save: it has no {TEXT}.")
    text = json.loads(archive.read(TEXT))
    if text["format"] > FORMAT:
        raise DataError(
            f"{path} was written by jcausal {text['jcausal']} in a later format than {_version()} "
            "reads: update jcausal."
        )
    return text


def _array(archive: zipfile.ZipFile, k: int) -> np.ndarray:
    with archive.open(_member(k)) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _check_digits(arrays: list[np.ndarray], on_device: list[bool], path: Any) -> None:
    """Refuse arrays that JAX would round."""
    for array, device in zip(arrays, on_device, strict=True):
        if device and jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
            raise DataError(
                f"{path} holds {array.dtype}, which JAX would round: call "
                "jax.config.update('jax_enable_x64', True) first, as where it was saved."
            )


def _member(k: int) -> str:
    return f"arrays/{k}.npy"


def _version() -> str:
    import jcausal

    return jcausal.__version__


def _umask() -> int:
    """What new files of this process may not allow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
