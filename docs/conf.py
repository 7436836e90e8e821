"""How the site is built: `make docs`. Nothing is fetched, and every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import rnncore  # noqa: E402

project = "rnncore"
author = "the authors of rnncore"
copyright = "the authors of rnncore, MIT licence"
version = release = "0.1.0"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "docstrings",
    "drawn",
    "mathml",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "results"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
default_role = "code"

# The reference: a page for each public name, a page for each module with what else is in it.
autosummary_generate = True
autosummary_context = {
    "public": {
        module: sorted(name for name in rnncore.__all__ if getattr(rnncore, name).__module__ == module)
        for module in {getattr(rnncore, name).__module__ for name in rnncore.__all__}
    }
}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
_ALIASES = ("DTypeLike", "Initialiser", "Initialisers", "Lengths", "Weights")
autodoc_type_aliases = {name: name for name in _ALIASES}
autodoc_preserve_defaults = True  # as they stand in the source, and no path of this machine
numpydoc_show_class_members = False
maximum_signature_line_length = 88
toc_object_entries = False

html_theme = "furo"
html_title = "rnncore"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
