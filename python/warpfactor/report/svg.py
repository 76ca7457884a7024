"""Figures as SVG inside a page, whose colours follow the page's."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ..shared_state import ignored_warnings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["inline_svg"]

# Matplotlib has one set of parameters for all threads.
_DRAWING = threading.Lock()
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
# Colours that stand for the page's: no style of a figure has them by chance.
_COLOURS = {
    "#0a0b01": "var(--ink)",
    "#0a0b02": "var(--muted)",
    "#0a0b03": "var(--grid)",
    "#0a0c01": "var(--one)",
    "#0a0c02": "var(--two)",
    "#0a0c03": "var(--three)",
    "#0a0c04": "var(--four)",
}
_INK, _MUTED, _GRID, *_CYCLE = _COLOURS
# In inches of 72 units, each about a pixel on a phone 390 pixels wide.
_WIDTH, _HEIGHT = 4.9, 3.3
_STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _GRID,
    "text.parse_math": False,
    "text.usetex": False,
    # Text stays text: it can be found and read aloud, and takes the page's font.
    "svg.fonttype": "none",
    "svg.hashsalt": "warpfactor",
    "path.simplify": True,
}


def inline_svg(
    draw: Callable[[Axes], None],
    name: str,
    label: str,
    *,
    tall: float = 1.0,
    tooltips: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Draw a figure and return it as an ``<svg>`` element for a page.

    Parameters
    ----------
    draw : callable
        Draws on the axes that it gets.
    name : str
        A word that no other figure of the page has, for the ids inside.
    label : str
        What the figure shows, for those who cannot see it.
    tall : float, default 1.0
        Height in the usual height.
    tooltips : mapping of str to sequence of str, or None
        Texts for the points of a scatter with such a gid, in their order.

    Returns
    -------
    str
        Markup; all text in it is escaped.
    """
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Letters that matplotlib's own font lacks are drawn by the browser's.
    glyphs = (Warning, "Glyph .* missing from")
    with _DRAWING, mpl.rc_context(), ignored_warnings(glyphs):
        mpl.rcdefaults()  # what the user's style says is not for this page
        style: Any = {**_STYLE, "axes.prop_cycle": cycler(color=_CYCLE)}
        mpl.rcParams.update(style)
        figure = Figure(figsize=(_WIDTH, _HEIGHT * tall), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _adapted(drawn.getvalue(), name, label, tooltips or {})


def _adapted(text: str, name: str, label: str, tooltips: Mapping[str, Sequence[str]]) -> str:
    """Take from a file's SVG what a page must not have twice, or at all."""
    root = ElementTree.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            # The metadata are links to vocabularies, and the style would be the whole page's.
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style") or "metadata" in child.tag:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        for key, value in list(element.attrib.items()):
            element.set(key, _adapted_value(key, value, name))
    for gid, texts in tooltips.items():
        group = root.find(f".//g[@id='{name}-{gid}']")
        assert group is not None
        # One point alone is a path where several are uses of one.
        defined = {path for defs in group.iter("defs") for path in defs}
        points = [e for e in group.iter() if e.tag in ("use", "path") and e not in defined]
        for point, tooltip in zip(points, texts, strict=True):
            ElementTree.SubElement(point, "title").text = tooltip
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-label"}
    title = ElementTree.Element("title", {"id": f"{name}-label"})
    title.text = label
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _adapted_value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    for colour, variable in _COLOURS.items():
        value = value.replace(colour, variable)
    if key == "style":
        value = re.sub(r"font-family:[^;]*;?|font-style: normal;?|font-weight: normal;?", "", value)
        value = re.sub(r"font: (?:normal )*([\d.]+px)[^;]*", r"font-size: \1", value)
    return value
