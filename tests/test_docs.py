"""The documentation does what it says: its code runs and prints what stands there, all is listed, and it builds."""

import ast
import contextlib
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import pytest

import rnncore

mpl.use("agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if "```python" in page.read_text("utf-8"))
FENCE = re.compile(r"^(?P<marks>`{3,}) *(?P<kind>\S*)[^\n]*\n(?P<body>.*?)^(?P=marks) *$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fence of ```python, and the ```text that follows it at once, if one does: what it prints."""

    line: int
    code: str
    output: str | None


def blocks(page: str) -> Iterator[Block]:
    """Every block that is run, in order; a block that is only shown says ```{code-block} python."""
    fences = list(FENCE.finditer(page))
    for k, fence in enumerate(fences):
        if fence["kind"] == "python":
            after = fences[k + 1] if k + 1 < len(fences) else None
            follows = after is not None and after["kind"] == "text" and not page[fence.end() : after.start()].strip()
            yield Block(page.count("\n", 0, fence.start("body")), fence["body"], after["body"] if follows else None)


def run(page: str, name: str) -> None:
    """Run the blocks of a page in one namespace, and hold what they print to what the page says."""
    space: dict[str, Any] = {"__name__": "__docs__"}
    for block in blocks(page):
        printed = io.StringIO()
        code = compile("\n" * block.line + block.code, name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, space)
        said = block.output or ""
        assert printed.getvalue().rstrip() == said.rstrip(), f"{name}, line {block.line + 1}, prints something else"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_a_page_runs_and_prints_what_stands_there(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where its pictures go
    run(page.read_text("utf-8"), str(page))
    plt.close("all")
    shown = re.findall(rf"\]\(generated/{page.stem}/([^)]+)\)", page.read_text("utf-8"))
    assert {file.name for file in tmp_path.glob("*.svg")} == set(shown)


INCLUDE = re.compile(r"^```\{literalinclude\} (?P<file>\S+)\n(?P<options>(?::.*\n)*)```$", re.MULTILINE)
OPTION = re.compile(r"^:([\w-]+): (.*)$", re.MULTILINE)


def code_of(file: Path, name: str) -> str:
    """The code of a function or method, by its qualified name; of the whole file, if there is no name."""
    source = file.read_text("utf-8")
    node: Any = ast.parse(source)
    for part in name.split(".") if name else ():
        node = next(child for child in node.body if getattr(child, "name", "") == part)
    return ast.get_source_segment(source, node) or "" if name else source


def shown(page: Path) -> Iterator[tuple[str, str]]:
    """Of the code that a page includes: each text that it begins or ends at, and where that must stand."""
    for include in INCLUDE.finditer(page.read_text("utf-8")):
        options = dict(OPTION.findall(include["options"]))
        for key in {"start-at", "end-at"} & set(options):
            text = options[key].strip('"').replace('\\"', '"')
            yield text, code_of(page.parent / include["file"], options.get("pyobject", ""))


def test_lines_of_code_that_pages_show_are_there() -> None:
    pairs = [(page.name, *pair) for page in DOCS.glob("*.md") for pair in shown(page)]
    assert len(pairs) >= 20
    assert [(page, text) for page, text, source in pairs if text not in source] == []


def test_commands_of_the_study_page_run(tmp_path: Path) -> None:
    """What stands in ```sh is run as it stands; what needs data that one has not is only shown."""
    lines = [f["body"] for f in FENCE.finditer((DOCS / "study.md").read_text("utf-8")) if f["kind"] == "sh"]
    assert lines
    for line in "".join(lines).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "python"
        command, environment = [sys.executable, *arguments], os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "study.html").is_file()


def test_pages_that_must_run_are_among_them() -> None:
    assert {"index", "ten-minutes", "own-cell"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", "prints something else"),
        ("```python\nprint('unannounced')\n```\n", "prints something else"),
        ("```python\nx = 1\n```\ntext\n```python\nassert x == 2, 'lost'\n```\n", "lost"),
    ],
)
def test_a_page_that_is_wrong_is_caught(page: str, error: str) -> None:
    with pytest.raises(AssertionError, match=error):
        run(page, "a page")


def test_what_is_only_shown_is_not_run() -> None:
    page = "```{code-block} python\n1 / 0\n```\n\n```sh\nfalse\n```\n"
    assert list(blocks(page)) == []


@pytest.mark.parametrize("name", rnncore.__all__)
def test_public_name_is_explained_and_in_the_reference(name: str) -> None:
    explained = inspect.getdoc(getattr(rnncore, name)) or ""
    summary = explained.partition("\n")[0]
    assert len(summary.split()) >= 2, f"rnncore.{name} says nothing of itself"
    assert getattr(rnncore, name).__doc__, f"rnncore.{name} has no docstring of its own"
    listed = re.findall(r"^   ~rnncore\.(\w+)$", (DOCS / "api.md").read_text("utf-8"), re.MULTILINE)
    assert listed.count(name) == 1, f"rnncore.{name} must stand once in docs/api.md"


#: Exceptions are met where something else is done wrong, a Trace in the examples of layers; to_device takes a GPU.
WITHOUT_EXAMPLE = {"GradientError", "NonFiniteLoss", "Trace", "to_device"}


@pytest.mark.parametrize("name", sorted(set(rnncore.__all__) - WITHOUT_EXAMPLE))
def test_public_name_has_an_example(name: str) -> None:
    """In its own docstring, a method's, or that of its module, where `test_recurrent` runs them."""
    made = getattr(rnncore, name)
    methods = vars(made).values() if inspect.isclass(made) else ()
    places = (made, inspect.getmodule(made), *methods)
    assert any(">>>" in (inspect.getdoc(place) or "") for place in places), f"no example of rnncore.{name}"


def test_reference_lists_nothing_that_is_not_public() -> None:
    listed = set(re.findall(r"~rnncore\.(\w+)", (DOCS / "api.md").read_text("utf-8")))
    assert listed <= set(rnncore.__all__)


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own extensions, which need Sphinx."""
    pytest.importorskip("sphinx", reason="the site needs sphinx: pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))


@pytest.mark.usefixtures("extensions")
def test_equations_become_mathml_or_are_refused() -> None:
    mathml = import_module("mathml")
    block = mathml.to_mathml(r"a &= \tfrac12 b'_r \\ c &\mathrel{+}= \tanh c_t", block=True)
    assert block.count("<mtr>") == 2
    assert all(
        part in block for part in ("<mn>1</mn>", "<mn>2</mn>", "</mi><mi>′</mi></mrow>", "<mspace", 'display="block"')
    )
    assert "\\" not in block
    inline = mathml.to_mathml(r"x_{t}^{2} + b'_{hi} + \sigma'(a)", block=False)
    assert inline.count("<msubsup>") == inline.count("</msubsup>") == 1
    assert inline.count("</mi><mi>′</mi></mrow>") == 2
    with pytest.raises(mathml.MathError):
        mathml.to_mathml(r"\unheard{x}", block=False)


@pytest.mark.usefixtures("extensions")
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["H : units, |h| of them,", "    at most", "T : steps"],
            ["``H``", "    units, \\|h\\| of them,", "    at most", "``T``", "    steps"],
        ),
        (["a       (G, b)  the gates"], ["``a``", "    (G, b)  the gates"]),
        (["x : first", "and then prose"], ["x : first", "and then prose"]),
        (["Raises", "------", "x : numpydoc"], ["Raises", "------", "x : numpydoc"]),
        (
            ["Parameters", "----------", "x : (T, B),", "    padded", "y : none"],
            ["Parameters", "----------", "x", "    (T, B),", "    padded", "y", "    none"],
        ),
        (
            ["| a | b |", "|---|---|", "| 1 | 2 |"],
            [".. list-table::", "    :header-rows: 1", "", "    * - a", "      - b", "    * - 1", "      - 2"],
        ),
        ([".. math:: |x|", ">>> a | b", "`|y|`"], [".. math:: |x|", ">>> a | b", "`|y|`"]),
    ],
)
def test_docstrings_of_the_house_become_restructured_text(lines: list[str], expected: list[str]) -> None:
    assert import_module("docstrings").to_rst(lines) == expected


@pytest.mark.slow
def test_site_builds_without_a_warning_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    missing = [name for name in ("sphinx", "myst_parser", "numpydoc", "furo") if find_spec(name) is None]
    if missing:
        pytest.skip(f"the site needs {', '.join(missing)}: pip install -e '.[docs]'")
    pages, site = tmp_path / "docs", tmp_path / "site"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("_build", "generated"))
    for package in ("rnncore", "captioning", "examples", "benchmarks"):  # which pages cite
        (tmp_path / package).symlink_to(ROOT / package)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", str(pages), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r"""<(?:script|link|img)\b[^>]*?(?:src|href)=["']https?://[^"']+""")
    asked = {hit for page in site.rglob("*.html") for hit in loaded.findall(page.read_text("utf-8"))}
    for wrong in (str(ROOT), "ForwardRef"):  # a path of this machine; a type without a name
        assert [page.name for page in site.rglob("*.html") if wrong in page.read_text("utf-8")] == []
    assert not asked, f"pages that load from the network: {sorted(asked)}"
    assert "<math" in (site / "generated" / "modules" / "rnncore.cells.lstm.html").read_text("utf-8")
