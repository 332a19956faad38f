"""How the documentation site is built: `make docs`; a broken link is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lorerm

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lorerm"
version = release = lorerm.__version__
html_title = "lorerm"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

# Signatures give the types, the docstrings what they mean.
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
default_role = "code"

# Sessions with the prompt show errors as Python prints them, which is no Python.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6390", "color-brand-content": "#0b6390"},
    "dark_css_variables": {"color-brand-primary": "#79c2e8", "color-brand-content": "#79c2e8"},
}
html_show_sphinx = html_show_copyright = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Keep the texts under attributes as they are: Napoleon would take what stands before a colon for a type."""
    written: dict[str, list[str]] = {}

    def keep(_: Sphinx, what: str, name: str, __: object, ___: object, lines: list[str]) -> None:
        if what == "attribute":
            written[name] = list(lines)

    def put_back(_: Sphinx, what: str, name: str, __: object, ___: object, lines: list[str]) -> None:
        if what == "attribute":
            lines[:] = written[name]

    app.connect("autodoc-process-docstring", keep, priority=100)
    app.connect("autodoc-process-docstring", put_back, priority=900)
