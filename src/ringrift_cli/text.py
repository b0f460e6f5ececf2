"""Text forms of numbers, times and foreign strings."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Callable, Sequence

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_CONTROL = (
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff"
    "\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)
CONTROL = re.compile(_CONTROL)
LINES = re.compile(rf"(?P<kept>[\n\t])|{_CONTROL}")
COLOURED = re.compile(rf"(?P<kept>[\n\t]|\x1b\[[0-9;]*m)|{_CONTROL}")


class Unrepeated:
    """Passes texts on, but not one that equals the text before it."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text, self._last = on_text, ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            self._on_text(text)
        self._last = text

    def clear(self) -> None:
        """Lets the next text pass."""
        self._last = ""


def counted(number: int, noun: str) -> str:
    """`1 game`, `2,000 games`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(count: float) -> str:
    """Bytes: `812 B`, `1.2 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def transfer_rate(done: int, total: int, seconds: float) -> str:
    """Progress of a transfer: `12.3 MB of 400.0 MB, 35.1 MB/s, 11 s left`."""
    speed = done / max(seconds, 1e-9)
    text = f"{size(done)} of {size(total)}, {size(speed)}/s"
    if done and total > done:
        text += f", {(total - done) / speed:.0f} s left"
    return text


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for limit, scale, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / scale:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def now() -> str:
    """The present time in UTC as an ISO timestamp with seconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def ago(timestamp: str | None) -> str:
    """Time since an ISO timestamp: `12 min ago`, or `never`."""
    if timestamp is None:
        return "never"
    passed = time.time() - dt.datetime.fromisoformat(timestamp).timestamp()
    return f"{duration(max(passed, 0.0))} ago"


def minute(timestamp: str | None) -> str | None:
    """An ISO timestamp without its seconds: `2026-05-01 12:30`."""
    return timestamp and timestamp[:16].replace("T", " ")


def elo(difference: float | None, unbounded: str = "unbounded") -> str:
    """An Elo difference with its sign: `+45`; `unbounded` for None."""
    return unbounded if difference is None else f"{difference:+.0f}"


def elo_interval(
    difference: float | None, low: float | None, high: float | None, score: float
) -> str:
    """`+81 (+34 to +131)`; None is infinite, in the direction of the `score` for the estimate."""
    middle = elo(difference, "+∞" if score > 0 else "-∞")
    return f"{middle} ({elo(low, '-∞')} to {elo(high, '+∞')})"


def finite(number: float | None) -> float | None:
    """The number, or None where it is infinite or not a number, which JSON cannot express."""
    return number if number is not None and math.isfinite(number) else None


def printable(text: str, instead: str = UNPRINTABLE) -> str:
    """A line of foreign origin without the characters that a terminal would obey.

    Control characters begin escape sequences, which write the clipboard or move the cursor; format
    characters reorder or hide text.
    """
    return CONTROL.sub(instead, text)


def printable_lines(text: str, *, colour: bool = False) -> str:
    """As `printable` for several lines with tabs; `colour` keeps sequences that set colours."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = COLOURED if colour else LINES
    return kept.sub(lambda found: found["kept"] or UNPRINTABLE, text)


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def abridged(text: str, most: int) -> str:
    """The text, without its middle if it has more than `most` characters; most of its end stays."""
    start = most // 4
    return text if len(text) <= most else f"{text[:start]}…{text[start + 1 - most :]}"
