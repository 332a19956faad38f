"""Conversion of Matplotlib figures to SVG with selectable text, as a file or as an element of an HTML page."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The only colours in a figure. In the HTML report, `_PAGE_COLOURS` replaces them by the colours of the style sheet.
INK = "#1b1f24"
PAPER = "#ffffff"
ACCENT = "#0b6390"

MARGIN: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.2}
"""Arguments of `savefig` that set the margin of a figure file; in the HTML report the style sheet sets it."""

_PAGE_COLOURS = {INK: "currentColor", PAPER: "var(--paper, #ffffff)", ACCENT: f"var(--accent, {ACCENT})"}

_STYLE = {
    "font.family": "DejaVu Sans",  # included in Matplotlib, so that text has the same width on every machine
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "lorerm",
}


@contextmanager
def drawing_style() -> Iterator[None]:
    """Apply the report's Matplotlib settings, and restore the previous settings at the end."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield


def to_svg(figure: Figure, *, standalone: bool = False) -> str:
    """Return a figure as SVG; equal figures give identical bytes.

    The name of the figure is its gid, the title is its label, and the description joins the labels of its axes.

    Parameters
    ----------
    figure
        A figure of the report.
    standalone
        True: the content of an SVG file, black on white. False: an element for an HTML page, without XML prolog, which
        uses the text colour of the page and the CSS variables ``--accent`` and ``--paper``.
    """
    name = figure.get_gid() or "figure"
    buffer = io.StringIO()
    with drawing_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, **(MARGIN if standalone else {}))
    drawn = buffer.getvalue()
    view_box = re.search(r'viewBox="([^"]+)"', drawn)
    assert view_box is not None  # noqa: S101 (Matplotlib always writes one)
    body = drawn[drawn.index(">", view_box.end()) + 1 : drawn.rindex("</svg>")]
    body = _with_ids(_without_clutter(body), f"{name}-")
    if not standalone:
        for colour, page_colour in _PAGE_COLOURS.items():
            body = body.replace(colour, page_colour)
    description = " ".join(str(ax.get_label()) for ax in figure.axes)
    background = f' style="background: {PAPER}"' if standalone else ""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view_box[1]}" role="img" aria-labelledby="{name}-title {name}-desc" '
        f'font-family="system-ui, sans-serif" stroke-linejoin="round"{background}>\n'
        f'<title id="{name}-title">{html.escape(str(figure.get_label()))}</title>\n'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    prolog = '<?xml version="1.0" encoding="utf-8"?>\n' if standalone else ""
    return f"{prolog}{opening}{body}</svg>\n"


def _without_clutter(body: str) -> str:
    """Remove metadata, font names, rotations by 0 degrees, and the style sheet, which would affect the whole page."""
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    # Matplotlib before 3.10 writes the shorthand "font: 700 10px 'DejaVu Sans', sans-serif".
    body = re.sub(r"font: (\d+) ([\d.]+px) [^;\"]+", r"font-weight: \1; font-size: \2", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    return re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", body)


def _with_ids(body: str, prefix: str) -> str:
    """Put a prefix before every id and every reference to an id, so that figures on one page have different ids."""
    return re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}", body)
