"""The mutation run itself: which mistakes it plants, that they take effect everywhere, and what it sees survive."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.mutation.coverage import Coverage
from tests.mutation.mutants import find_mutants
from tests.mutation.report import as_markdown
from tests.mutation.run import Runner
from tests.mutation.transplant import transplant

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''
"""A docstring."""
LIMIT = 3


class Cell:
    size: int = 2

    def step(self, a, b, out):
        """Another."""
        if a.shape != b.shape and out is not None:
            raise ValueError(f"expected {1 + 1}")
        np.subtract(a, b, out=out)
        out[1:] += 0.5 * a[1:]
        return -out

    @property
    def half(self):
        return self.size / 2

    def __repr__(self):
        return "Cell" * 2


def scaled(x, by=2.0):
    return x * by if x > LIMIT else x
'''


def planted(function: str) -> set[tuple[str, str]]:
    """(before, after) of every mutant in a function."""
    return {(m.before, m.after) for m in find_mutants("cell.py", SOURCE) if m.place.function == function}


def test_the_mistakes_of_a_step() -> None:
    assert planted("Cell.step") == {
        ("a.shape != b.shape and out is not None", "a.shape != b.shape or out is not None"),
        ("a.shape != b.shape and out is not None", "out is not None"),
        ("a.shape != b.shape and out is not None", "a.shape != b.shape"),
        ("a.shape != b.shape", "a.shape == b.shape"),
        ("out is not None", "out is None"),
        ("raise ValueError(f'expected {1 + 1}')", "pass"),
        ("np.subtract(a, b, out=out)", "pass"),
        ("np.subtract(a, b, out=out)", "np.add(a, b, out=out)"),
        ("np.subtract(a, b, out=out)", "np.subtract(b, a, out=out)"),
        ("out[1:] += 0.5 * a[1:]", "pass"),
        ("out[1:] += 0.5 * a[1:]", "out[1:] -= 0.5 * a[1:]"),
        ("0.5 * a[1:]", "0.5 / a[1:]"),
        ("0.5 * a[1:]", "0.5"),
        ("0.5 * a[1:]", "a[1:]"),
        ("0.5", "1.0"),
        ("1", "2"),
        ("1:", ":"),
        ("-out", "out"),
    }


def test_the_mistakes_outside_of_functions() -> None:
    assert planted("") == {("3", "2")}
    assert planted("Cell") == {("2", "1")}
    assert planted("scaled") == {
        ("2.0", "4.0"),
        ("x * by if x > LIMIT else x", "x if x > LIMIT else x * by"),
        ("x > LIMIT", "x <= LIMIT"),
        ("x > LIMIT", "x >= LIMIT"),
        ("x * by", "x / by"),
        ("x * by", "x"),
        ("x * by", "by"),
    }
    assert planted("Cell.__repr__") == set()


def test_each_has_a_name_of_its_own_that_does_not_depend_on_its_line() -> None:
    names = [m.id for m in find_mutants("cell.py", SOURCE)]
    assert len(set(names)) == len(names)
    assert [m.id for m in find_mutants("cell.py", "\n\n" + SOURCE)] == names


def test_a_mutant_of_a_function_that_has_changed_is_another() -> None:
    changed = SOURCE.replace("return -out", "return out * -1")
    before, after = ({m.id: m for m in find_mutants("cell.py", text)} for text in (SOURCE, changed))
    untouched = [name for name, m in before.items() if m.place.function != "Cell.step"]
    assert before.keys() & after.keys() == set(untouched)
    explained = SOURCE.replace("Another.", "What a docstring says changes nothing.")
    assert before.keys() == {m.id for m in find_mutants("cell.py", explained)}


def test_a_mutant_is_looked_for_where_its_statement_runs() -> None:
    lines = SOURCE.splitlines()
    for mutant in find_mutants("cell.py", SOURCE):
        first, last = mutant.place.lines
        if mutant.place.function in ("", "Cell"):
            assert (first, last) == (1, len(lines))
        else:
            assert first <= mutant.line <= last
            assert last - first < 3


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("rnncore.of_this_test")
    made.__file__ = "cell.py"
    exec(compile(SOURCE, "cell.py", "exec"), made.__dict__)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x * by", "x / by", (2.0, 1.0)),
        ("2.0", "4.0", (16.0, 1.0)),
        ("3", "2", (8.0, 1.0)),
        ("2", "1", (8.0, 0.5)),
        ("self.size / 2", "self.size * 2", (8.0, 4.0)),
    ],
)
def test_whoever_has_imported_a_definition_sees_the_mistake(
    module: ModuleType, before: str, after: str, expected: tuple[float, float]
) -> None:
    scaled, cell = module.scaled, module.Cell()
    assert (scaled(4.0), cell.half) == (8.0, 1.0)
    (mutant,) = [m for m in find_mutants("cell.py", SOURCE) if (m.before, m.after) == (before, after)][:1]
    transplant(module, mutant.compile("cell.py"))
    assert (scaled(4.0), cell.half) == expected
    assert isinstance(cell, module.Cell)
    again = [m for m in find_mutants("cell.py", SOURCE) if m.id == mutant.id]
    assert len(again) == 1, "the tree was left as it was"


def test_a_number_at_module_level_changes_for_those_who_imported_it(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", module.LIMIT, raising=False)
    (mutant,) = [m for m in find_mutants("cell.py", SOURCE) if (m.before, m.after) == ("3", "2")]
    transplant(module, mutant.compile("cell.py"))
    assert vars(sys.modules[__name__])["LIMIT"] == 2


@pytest.mark.parametrize(
    ("budget", "killer", "expected"),
    [
        (9.0, None, ["a[1]", "b[1]", "a[2]", "a[3]", "slow"]),
        (9.0, "a[3]", ["a[3]", "a[1]", "b[1]", "a[2]", "slow"]),
        (1.5, None, ["a[1]", "b[1]"]),
    ],
)
def test_who_killed_comes_first_then_one_case_of_each_test_until_the_budget_is_spent(
    budget: float, killer: str | None, expected: list[str]
) -> None:
    seconds = {"elsewhere": 0.1, "slow": 3.0} | dict.fromkeys(["a[1]", "a[2]", "a[3]", "b[1]"], 1.0)
    mutant = find_mutants("cell.py", SOURCE)[0]
    met = {name: {"cell.py": list(mutant.place.lines)} for name in seconds if name != "elsewhere"}
    items: list[Any] = [SimpleNamespace(nodeid=name) for name in seconds]
    runner = Runner(items, Coverage(seconds, met), {"cell.py": Path("cell.py")}, 1, 1.0, budget)
    runner.kills["cell.py"] = Counter([killer] if killer else [])
    assert [item.nodeid for item in runner.chosen(mutant)] == expected


def test_lines_are_measured_again_where_a_file_of_tests_has_changed(tmp_path: Path) -> None:
    names = ("one.py::a", "one.py::b", "two.py::a", "gone.py::a")
    kept = Coverage(dict.fromkeys(names, 1.0), {name: {"cell.py": [1]} for name in names}, ["two.py::a"])
    kept.keys = {"one.py": "1", "two.py": "2", "gone.py": "3"}
    kept.save(tmp_path / "coverage.json")
    found = Coverage.load(tmp_path / "coverage.json", {"one.py": "1", "two.py": "changed", "new.py": "4"})
    assert set(found.seconds) == found.meeting("cell.py", 1, 2) == {"one.py::a", "one.py::b"}
    assert found.failed == []
    assert Coverage.load(tmp_path / "none.json", {"one.py": "1"}) == Coverage(keys={"one.py": "1"})


TESTS = """
from rnncore.schedules import Cosine, Step

def test_step():
    assert [Step(2, 0.5).rate(1.0, k) for k in range(4)] == [1.0, 1.0, 0.5, 0.5]

def test_endless():
    done = 0
    while Step(1, 0.5).rate(1.0, done) > 0.1:
        done += 1
"""


@pytest.mark.slow
def test_a_run_finds_what_a_weak_test_lets_live_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "test_weak.py").write_text(TESTS)
    arguments = ["rnncore/schedules.py", "--tests", str(tmp_path), "--folder", str(tmp_path / "kept")]
    arguments += ["--grace", "1"]
    command = [sys.executable, "-m", "tests.mutation", *arguments, "--write", str(tmp_path / "outcome.json")]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    kept = [json.loads(line) for line in (tmp_path / "kept" / "outcomes.jsonl").read_text().splitlines()]
    fates = {(record["function"], record["before"], record["after"]): record for record in kept}
    assert len({record["id"] for record in kept}) == len(kept) > 100  # each was tried once
    divided = ("base * self.factor ** (done // self.every)", "base / self.factor ** (done // self.every)")
    assert fates["Step.rate", *divided]["by"].rpartition("::")[2] in ("test_step", "test_endless")
    assert fates["Cosine.rate", "math.pi * part", "math.pi / part"]["by"] == "no test meets it"
    assert fates["Step.__post_init__", "self.every >= 1", "self.every > 1"]["fate"] == "killed"
    assert fates["Step.rate", "done // self.every", "self.every // done"]["fate"] == "killed"  # divides by zero
    assert "endless" in {record["fate"] for record in kept}
    content = json.loads((tmp_path / "outcome.json").read_text())
    assert content["mutants"] == len(kept) == content["killed"] + len(content["survivors"])
    assert content["files"]["rnncore/schedules.py"] == {"mutants": len(kept), "killed": content["killed"]}
    assert as_markdown(content) == (tmp_path / "outcome.md").read_text()
    assert ": `math.pi * part` became `math.pi / part`. not explained" in as_markdown(content)
