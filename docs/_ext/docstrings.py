"""The house's docstrings as reStructuredText: they are written to be read in an editor, with little mark-up.

Before numpydoc reads them, paragraphs of `name : what it is` become definition lists, tables of bars become tables,
and a bar that stands for an absolute value is only that. In numpydoc's sections what follows a name is its description.
Annotations are types also where a module imports them for a type checker alone.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx

_DEFINITION = re.compile(r"([\w*., `]+?(?: \([^)]*\))?)(?: : |\s{2,})(\S.*)")
_ENTRIES = ("Parameters", "Returns", "Yields", "Attributes")
_RULE = re.compile(r"-{3,}")
_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_CODE = re.compile(r"(`+[^`]+`+)")


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Yield the paragraphs of a docstring, and the blank lines between them."""
    for _, group in groupby(lines, key=lambda line: bool(line.strip())):
        yield list(group)


def definitions(lines: list[str]) -> list[str] | None:
    """Return a definition list, if every line that is not indented says `name : what` or `name   what`."""
    out: list[str] = []
    for line in lines:
        found = _DEFINITION.fullmatch(line)
        if found and not line.startswith(" "):
            out += [f"``{found[1].replace('`', '')}``", f"    {found[2]}"]
        elif out and line.startswith(" "):
            out.append(f"    {line.strip()}")
        else:
            return None
    return out


def table(lines: list[str]) -> list[str] | None:
    """Return a list-table for lines that all begin and end with a bar; a second line of rules ends the head."""
    rows = [line.strip() for line in lines]
    if len(rows) < 2 or not all(row.startswith("|") and row.endswith("|") for row in rows):
        return None
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    head = all(_RULE.fullmatch(cell.strip(":")) for cell in cells[1])
    out = [".. list-table::", "    :header-rows: 1" if head else "    :header-rows: 0", ""]
    for row in cells[:1] + cells[2:] if head else cells:
        out += [f"    {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)]
    return out


def plain_bars(line: str) -> str:
    """Escape the bars of a line outside of code."""
    parts = _CODE.split(line)
    return "".join(part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))


def entries(lines: list[str]) -> list[str]:
    """Return a section with every `name : what` on two lines: numpydoc takes what follows the colon for a type."""
    out: list[str] = []
    for line in lines:
        name, colon, what = line.partition(" : ")
        out += [name, f"    {what}"] if colon and not line.startswith(" ") else [line]
    return out


def to_rst(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText that numpydoc can read."""
    out: list[str] = []
    section = ""
    for part in paragraphs(lines):
        if len(part) > 1 and _RULE.fullmatch(part[1].strip()):
            section = part[0].strip()
        special = part[0].startswith((" ", "..", ">>>"))
        rows = None if special else table(part)
        if rows is None:
            rows = (definitions(part) if not section else None) or part
            rows = entries(rows) if section in _ENTRIES else rows
            rows = part if special else [plain_bars(row) for row in rows]
        out += rows
    return out


def skip(app: Sphinx, what: str, name: str, obj: object, would_skip: bool, options: object) -> bool | None:
    """Leave out the fields of a named tuple, which Python documents as 'Alias for field number 0'."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Rewrite the docstring of our own objects in place."""
    if name.startswith("rnncore"):
        lines[:] = to_rst(lines)


def resolve(app: Sphinx, obj: object, bound: bool) -> None:
    """Let the annotations of an object be found, so that each links to its own type and not to one of equal name."""
    if (module := getattr(obj, "__module__", None)) in sys.modules:
        import_what_checkers_see(module)


@cache
def import_what_checkers_see(module: str) -> None:
    """Run the imports under `if TYPE_CHECKING:` of one of our modules."""
    if module.startswith("rnncore"):
        for node in ast.parse(inspect.getsource(sys.modules[module])).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                exec(compile(ast.Module(node.body, []), module, "exec"), vars(sys.modules[module]))


def name_aliases(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write a type's alias by its name, which autodoc does not inside of other types."""
    plain = [text and _ALIAS.sub(r"\1", text) for text in (signature, returns)]
    return plain[0], plain[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Come before numpydoc."""
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-before-process-signature", resolve)
    app.connect("autodoc-process-signature", name_aliases)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
