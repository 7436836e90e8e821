"""The kept results: tables are made of their records, and what the README shows of them stands in those tables."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, rows, tables
from benchmarks.cost import report

ROOT = Path(__file__).resolve().parents[2]
COSTS = sorted(record.RESULTS.glob("*-cost.json"))


def test_every_table_is_that_of_its_records() -> None:
    found = tables.records_by_machine(record.RESULTS)
    assert found
    for name, records in found.items():
        assert (record.RESULTS / f"{name}.md").read_text("utf-8") == tables.markdown(records)


@pytest.mark.parametrize("path", COSTS, ids=lambda path: path.stem)
def test_every_cost_report_is_that_of_its_record(path: Path) -> None:
    pictures = {what: f"{path.stem}-{what}.svg" for what in ("claim", "scaling", "shares", "roofline")}
    assert path.with_suffix(".md").read_text("utf-8") == report.markdown(record.load(path), pictures)
    assert all((record.RESULTS / name).is_file() for name in pictures.values())


def test_what_the_readme_shows_stands_in_a_table() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition("### What it costs")[2].partition("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    kept = {line for path in record.RESULTS.glob("*.md") for line in path.read_text("utf-8").splitlines()}
    assert len(shown) > 10
    assert [line for line in shown if line not in kept] == []


def test_every_missed_bar_is_told_where_the_page_says_why() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    section = " ".join(page.partition("### Where a bar is missed")[2].partition("\n## ")[0].split())
    records = [each for machine in tables.records_by_machine(record.RESULTS).values() for each in machine]
    timed = [r for each in records if each["part"] != "memory" for r in each["rows"] if not_held(each)]
    missed = [(rows.what(row), row["cell"]) for row in timed if rows.bar(row).endswith("missed")]
    assert missed
    assert [each for each in missed if each[0] not in section] == []


def not_held(content: dict[str, Any]) -> bool:
    return not record.is_held_back(content["machine"])


def test_nothing_kept_for_others_was_disturbed_or_held_back_unsaid() -> None:
    for path in record.RESULTS.glob("*.json"):
        if path.name.startswith("gpu"):
            continue
        content = record.load(path)
        assert record.is_held_back(content["machine"]) == path.stem.endswith("-held"), path.name
        assert [row for row in content["rows"] if row["others"] > 2 * record.DISTURBED] == [], path.name
