"""Configuration of the documentation site, which `make docs` builds; a broken link is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils.nodes import SkipNode, math_block
from math_core import LatexError, LatexToMathML
from sphinx.util import logging

import lorerm

if TYPE_CHECKING:
    from docutils.nodes import math
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "lorerm"
version = release = lorerm.__version__
html_title = "lorerm"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

# Types are in the signatures, and what parameters mean is in the docstrings.
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
default_role = "code"

# Python sessions on the pages contain tracebacks, which are not valid Python.
suppress_warnings = ["misc.highlighting_failure"]

# Formulas become MathML, which browsers render without a script or the network. An invalid formula is an error.
html_math_renderer = "mathml"

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6390", "color-brand-content": "#0b6390"},
    "dark_css_variables": {"color-brand-primary": "#79c2e8", "color-brand-content": "#79c2e8"},
}
html_static_path = ["_static"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False


def show_formula(page: HTML5Translator, node: math | math_block) -> None:
    """Write a formula as MathML."""
    block = isinstance(node, math_block)
    try:
        formula = LatexToMathML().convert_with_local_state(node.astext().strip(), displaystyle=block)
    except LatexError:
        logging.getLogger(__name__).warning("invalid formula: %s", node.astext().strip(), location=node)
        raise SkipNode from None
    page.body.append(f'<div class="math">{formula}</div>\n' if block else formula)
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Render formulas, and keep docstrings of attributes: Napoleon would read the text before a colon as a type."""
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    app.add_css_file("formulas.css")
    written: dict[str, list[str]] = {}

    def keep(_: Sphinx, what: str, name: str, __: object, ___: object, lines: list[str]) -> None:
        if what == "attribute":
            written[name] = list(lines)

    def put_back(_: Sphinx, what: str, name: str, __: object, ___: object, lines: list[str]) -> None:
        if what == "attribute":
            lines[:] = written[name]

    app.connect("autodoc-process-docstring", keep, priority=100)
    app.connect("autodoc-process-docstring", put_back, priority=900)
