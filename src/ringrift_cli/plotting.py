"""Pictures by matplotlib's object interface, as bytes of a PNG or SVG file; never a window."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ringrift_cli.version import MARK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIABLE = "MPLBACKEND"


@contextmanager
def no_backend() -> Iterator[None]:
    """For imports of matplotlib, also by other packages: hides $MPLBACKEND, which may not exist."""
    backend = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ[VARIABLE] = backend


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; `width` and `height` are inches."""
    with no_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Figure, form: str) -> bytes:
    """The file of a figure; `form` is `png` or `svg`. Equal figures give equal bytes."""
    data = io.BytesIO()
    with no_backend():
        about = {"Creator": MARK, "Date": None} if form == "svg" else {"Software": MARK}
        figure.savefig(data, format=form, dpi=120, metadata=about)
    return data.getvalue()
