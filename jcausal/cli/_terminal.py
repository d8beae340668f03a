"""What a terminal shows while one waits, and mistakes in one sentence."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self

from jax import monitoring

WIDE = 16  # characters of the bar, so that 80 hold its words too
BEAT = 0.2  # seconds from one drawing to the next
ENOUGH = 1.0  # seconds of a stage by which the rest of it can be foretold
COMPILE = "/jax/core/compile/"  # how JAX's events begin that make a program of a function


class UserError(Exception):
    """A mistake of the user's, told in one sentence."""


def tell(words: str) -> None:
    """Print; letters that standard output cannot take stand as their numbers."""
    letters = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(words.encode(letters, "backslashreplace").decode(letters))


class Stage(NamedTuple):
    """What is being done, how far it was when first and last heard of, and when that was."""

    name: str
    total: int
    first: int
    began: float
    done: int
    heard: float

    def left(self, now: float) -> float:
        """Seconds until its end if it goes on as it did; 0 where nothing tells."""
        steps, gone = self.done - self.first, self.heard - self.began
        if steps <= 0 or gone < ENOUGH:
            return 0.0
        return max(gone / steps * (self.total - self.done) - (now - self.heard), 0.0)


class Bar:
    """A progress bar on standard error; silent unless that is a terminal.

    While it is open as a context it draws itself again and again, so that the seconds go on, and
    says when JAX compiles.
    """

    def __init__(self, quiet: bool) -> None:
        self.on = sys.stderr.isatty() and not quiet
        self.began = time.perf_counter()
        self._stage = Stage("starting", 1, 0, self.began, 0, self.began)
        self._compiling, self._width = 0, 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.on:
            monitoring.register_scalar_listener(self._starts)
            monitoring.register_event_duration_secs_listener(self._ends)
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw the stage and how far it is."""
        now, before = time.perf_counter(), self._stage
        if (stage, total) == before[:2] and done >= before.done:
            self._stage = before._replace(done=done, heard=now)
        else:
            self._stage = Stage(stage, total, done, now, done, now)
        self._draw()

    def say(self, words: str) -> None:
        """A line of its own, above the bar."""
        with self._lock:
            print(f"{self._clear()}{words}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop, and leave a clean line behind."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join()
            self._beating = None
            monitoring.unregister_scalar_listener(self._starts)
            monitoring.unregister_event_duration_listener(self._ends)
        with self._lock:
            print(self._clear(), end="", file=sys.stderr, flush=True)

    def _beat(self) -> None:
        with suppress(OSError):  # a terminal that is gone
            while True:
                self._draw()
                if self._ended.wait(BEAT):
                    break

    def _draw(self) -> None:
        if self.on:
            with self._lock:
                line = self._line(time.perf_counter())[: shutil.get_terminal_size().columns - 1]
                print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
                self._width = len(line)

    def _line(self, now: float) -> str:
        name, total, done = self._stage.name, self._stage.total, self._stage.done
        full, left = round(WIDE * done / max(total, 1)), self._stage.left(now)
        words = f"{done:,}/{total:,} {name}" if total > 1 else name
        words += " (compiling)" * (self._compiling > 0)
        words += f", about {_seconds(left)} left" * (left >= 1)
        bar = "#" * full + "." * (WIDE - full)
        return f"[{bar}] {words}; {_seconds(now - self.began)} in all"

    def _clear(self) -> str:
        """What wipes the bar off its line."""
        wide, self._width = self._width, 0
        return f"\r{' ' * wide}\r" if wide else ""

    def _starts(self, event: str, value: float, **_: object) -> None:
        self._compiling += event.startswith(COMPILE)

    def _ends(self, event: str, duration_secs: float, **_: object) -> None:
        if event.startswith(COMPILE):
            self._compiling = max(self._compiling - 1, 0)


def until_effects(bar: Bar) -> Callable[[str, int, int], None]:
    """Progress that says, when all boxes are found, what is done next."""

    def told(stage: str, done: int, total: int) -> None:
        if stage.endswith("boxes") and done == total:
            bar(f"{stage.removesuffix('boxes')}effects", 0, 1)
        else:
            bar(stage, done, total)

    return told


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min"
