"""How a result shows itself: its summary in words, and a table below it in a notebook."""

from html import escape

import equinox as eqx
import pandas as pd

from jcausal.data._shapes import is_traced

ROWS = 10  # of a table in a notebook
# notebooks read what is between two dollars as a formula, unless they are told to let it be
PLAIN = "tex2jax_ignore mathjax_ignore"


class Shown:
    """A result that prints as its summary; a notebook shows a table below.

    Under jit, vmap and grad, and for the many results at once that vmap gives, it prints as the
    pytree that it is. Printing never fails: where no summary can be made the pytree stands with
    the reason.
    """

    def _said(self) -> str:
        """The summary."""
        raise TypeError(f"{type(self).__name__} has no summary")

    def _shown(self) -> pd.DataFrame | None:
        """The first rows of its table (or all of them), or None."""
        return None

    @property
    def _single(self) -> bool:
        """Whether this is one result, and not many that vmap has made."""
        return True

    def __repr__(self) -> str:
        try:
            if not is_traced(self) and self._single:
                return self._said()
        except Exception as error:  # debuggers and messages of errors print what is half made
            why = f"{type(error).__name__}: {error}"
            return f"{eqx.tree_pformat(self)}\n(no summary can be made: {why})"
        return eqx.tree_pformat(self)

    def _repr_html_(self) -> str:
        parts = [f'<pre style="white-space: pre-wrap">{escape(repr(self))}</pre>']
        try:
            if not is_traced(self) and self._single:
                parts += table_html(self._shown())
        except Exception as error:  # the words above say more
            parts.append(f"<p>no table can be made: {escape(str(error))}</p>")
        return f'<div class="{PLAIN}">{"".join(parts)}</div>'


def table_html(table: pd.DataFrame | None) -> list[str]:
    """The first rows of a table as HTML, with every name and value escaped; [] for none."""
    if table is None:
        return []
    named = table.index.name is not None
    html = table.head(ROWS).to_html(index=named, escape=True, border=0, classes=PLAIN)
    more = f"<p>{ROWS} of {len(table):,} rows</p>" if len(table) > ROWS else ""
    return [html + more]
