"""A user's own words in a picture: as they stand, and no longer than there is room."""

import textwrap
import unicodedata

LINE = 36  # signs of a line, where words may stand in several


def plain(words: object, most: int = 60, *, wrap: bool = False) -> str:
    """Words that matplotlib draws as they stand; what is wider than `most` loses its middle.

    Matplotlib reads what is between two dollars as a formula: prices in a name would be drawn as
    one, or fail. This is for a whole text, since the second dollar may be in what is put behind.
    A sign that is as broad as two letters counts twice.
    """
    text = str(words)
    broad = len(text) + sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    if broad > most:
        room = most * len(text) // broad
        text = f"{text[: room - room // 3 - 5].rstrip()} ... {text[-(room // 3) :].lstrip()}"
    if wrap and len(text) > LINE:
        text = textwrap.fill(text, LINE)
    return text.replace("$", r"\$") if text.count("$") > 1 or r"\$" in text else text
