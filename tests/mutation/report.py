"""The outcome of a mutation run as JSON and as Markdown: what was killed, and every survivor with the reason for it."""

from __future__ import annotations

import hashlib
import json
import platform
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from encoders.files import atomic_write
from encoders.run import machine
from tests.mutation.mutants import Mutant

EXPLAINED = Path(__file__).with_name("explained.toml")


def write_report(path: Path, mutants: Sequence[Mutant], records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the outcome of all mutants to a JSON file, and to a Markdown file beside it."""
    tried = [records[mutant.id] for mutant in mutants if mutant.id in records]
    survivors = [record for record in tried if record["fate"] == "survived"]
    explained = read_explained()
    content = {
        "what": "mutation of rnncore: one mistake at a time, killed if a test that meets it fails",
        "command": "python -m tests.mutation",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | {"numpy": np.__version__, "python": platform.python_version()},
        "mutants": len(mutants),
        "untried": len(mutants) - len(tried),
        "killed": len(tried) - len(survivors),
        "endless": sum(record["fate"] == "endless" for record in tried),
        "killed_percent": round(100 * (len(tried) - len(survivors)) / max(1, len(tried)), 2),
        "files": _table(tried, "file"),
        "operators": _table(tried, "operator"),
        "sources": {m.file: hashlib.sha256(Path(m.file).read_bytes()).hexdigest() for m in mutants},
        "survivors": [
            {key: record[key] for key in ("file", "line", "function", "code", "operator", "before", "after")}
            | {"why": explained.get(_name(record), "not explained")}
            for record in survivors
        ],
    }
    with atomic_write(path, "w") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    with atomic_write(path.with_suffix(".md"), "w") as file:
        file.write(as_markdown(content))


def read_explained() -> dict[tuple[str, ...], str]:
    """Return why survivors survive, by file, function, line of code, what stood there and what stands there now."""
    entries = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("survivor", []) if EXPLAINED.is_file() else []
    return {_name(entry): entry["why"] for entry in entries}


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of the result, and the survivors by file."""
    tried = content["mutants"] - content["untried"]
    rest = f"; {content['untried']:,} more were not tried" if content["untried"] else ""
    lines = [
        f"{content['killed']:,} of {tried:,} mutants are killed, {content['killed_percent']} %{rest}.",
        "",
        "| file | mutants | killed | survived |",
        "|---|---:|---:|---:|",
    ]
    for name, row in content["files"].items():
        lines.append(f"| `{name}` | {row['mutants']} | {row['killed']} | {row['mutants'] - row['killed']} |")
    for name in content["files"]:
        here = [s for s in content["survivors"] if s["file"] == name]
        lines += ["", f"### What survives in `{name}`", ""] if here else []
        for s in here:
            before, after = (" ".join(s[key].split()) for key in ("before", "after"))
            where = f"`{s['function']}`, in" if s["function"] else "At module level,"
            lines.append(f"- {where} `{s['code']}`: `{before}` became `{after}`. {s['why']}")
    return "\n".join(lines) + "\n"


def _name(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(record[key] for key in ("file", "function", "code", "before", "after"))


def _table(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, int]]:
    """Count mutants and killed ones by file or by operator."""
    every = Counter(record[key] for record in records)
    dead = Counter(record[key] for record in records if record["fate"] != "survived")
    return {name: {"mutants": every[name], "killed": dead[name]} for name in sorted(every)}
