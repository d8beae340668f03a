"""What a terminal shows while one waits, and mistakes in one sentence."""

import sys


class UserError(Exception):
    """A mistake of the user's, told in one sentence."""


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
