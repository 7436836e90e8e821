"""Equations as MathML, written when the site is built: browsers draw it themselves, without a script or a network.

The converter is that of docutils. What it cannot read is a warning, and so, under `make docs`, an error.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What TeX allows and the converter does not read: a digit as an argument without braces, a prime before an index,
# and a say in how wide the space around a sign is. Then what browsers draw badly: primes as superscripts, which
# most fonts have raised already, and tanh c without a space.
_SHORT_FRACTION = re.compile(r"\\([td]?frac)(\d)(\d)")
_PRIME = re.compile(r"'_(\w|\{[^}]*\})")
_PRIMED = re.compile(r"<msup>\s*(<mi>\w+</mi>)\s*<mi>′</mi>\s*</msup>")
_PRIMED_INDEX = re.compile(r"<msubsup>\s*(<mi>\w+</mi>)((?:(?!</?msubsup>).)*)<mi>′</mi>\s*</msubsup>", re.DOTALL)
_WITH_PRIME = r"<mrow>\1<mi>′</mi></mrow>"
_APPLIED = re.compile(r"(<mo>&ApplyFunction;</mo>)(?=\s*<m(?:sub|i)>)")
_MATHREL = re.compile(r"\\mathrel\{(.)\}")


def to_mathml(tex: str, block: bool) -> str:
    """Return TeX as a <math> element; several lines, or any `&`, make an aligned block."""
    tex = _SHORT_FRACTION.sub(r"\\\1{\2}{\3}", tex)
    tex = _PRIME.sub(r"_\1^{\\prime}", tex).replace("'", r"^{\prime}")
    tex = _MATHREL.sub(r"\1", tex)
    if block and ("&" in tex or r"\\" in tex):
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    mathml = str(tex2mathml(tex.strip(), as_block=block))
    mathml = _PRIMED.sub(_WITH_PRIME, mathml)
    mathml = _PRIMED_INDEX.sub(rf"<msub>{_WITH_PRIME}\2</msub>", mathml)
    return _APPLIED.sub(r'\1<mspace width="0.17em"></mspace>', mathml)


def _convert(node: nodes.Element, block: bool) -> str:
    try:
        return to_mathml(node.astext(), block)
    except MathError as error:
        logger.warning("cannot convert %r: %s", node.astext(), error, location=node)
        return ""


def visit_math(self: Any, node: nodes.math) -> None:
    """Write an equation that stands in a line of text."""
    self.body.append(_convert(node, block=False))
    raise nodes.SkipNode


def visit_displaymath(self: Any, node: nodes.math_block) -> None:
    """Write an equation that stands by itself."""
    self.body.append(self.starttag(node, "div", CLASS="equation"))
    self.body.append(_convert(node, block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; `html_math_renderer = "mathml"` chooses it."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
