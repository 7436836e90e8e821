"""Kept records as Markdown tables: one file a machine, made of its JSON files and of nothing else.

python -m benchmarks.tables                     # benchmarks/results/MACHINE.md, anew
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.record import DISTURBED, RESULTS, is_held_back, load, save_text, slug
from benchmarks.rows import (
    CALLS,
    OTHERS,
    SIDES,
    Row,
    bar,
    form,
    key,
    milliseconds,
    ratio,
    ratio_head,
    ratios_to,
    reference,
    what,
)

HEADS = {
    "training": "Forward and backward",
    "lengths": "Mixed lengths: Flickr8k's captions",
    "forward": "Forward alone",
    "step": "One step of a stream",
    "floor": "How far the floor is",
    "memory": "Memory of a training step",
    "captioner": "The captioner's training step",
    "captioner-default": "The captioner's training step, recipe `default`",
    "keras": "Beside the usual Keras recipe",
    "decoding": "Captions from a trained model",
    "encoder": "Pictures to features",
}
NOTES = {
    "training": "Output, gradients of all weights and of x; time in ms. Fused is ours with `fused=True`; in brackets "
    "behind others' times are the ratios of both to them. PyTorch at its best of one thread or all, oneDNN or not; JAX "
    "one compiled scan.",
    "lengths": "PyTorch's better of packed and padded; N rows are all that is real of B sequences.",
    "forward": "PyTorch in inference mode; ONNX Runtime runs its own operator.",
    "step": "The state carried from step to step. As installed, with all threads, PyTorch takes several times longer "
    "than at its best; both are here.",
    "floor": "A training step beside its matrix products alone, in the form in which NumPy does them fastest, and "
    "beside its calls alone: as many time steps of one sequence of one unit. Element work comes on top of these.",
    "memory": "Peak resident memory above what was resident before, MB, each library in a process of its own. Over "
    "1000 steps of the small shape: how far the process grew after the first 100.",
    "captioner": "Recipe `paper`, everything included: dropout, vocabulary softmax, clipping, Adam. Fused is "
    "`training.fused = true`, cells, softmax and Adam as compiled loops. Of its parts, "
    "words is the layer that gives the vocabulary's logits.",
    "captioner-default": "512 units, an embedding that is trained, dropout before the vocabulary as well.",
    "keras": "Every prefix a padded sample of its own, targets one-hot, on TensorFlow; equal captions a batch.",
    "decoding": "ms a picture; all search alike and mostly say the same. Whole beams: PyTorch running the finished "
    "hypotheses of a picture on until all are, as simpler loops do.",
    "encoder": "The whole way from picture files to stored features, beside the bare session on ready arrays.",
}


def main(folder: Annotated[Path, typer.Option(help="Where the records are.")] = RESULTS) -> None:
    """Write the tables of every machine anew."""
    for path in write_tables(folder):
        print(path)


def write_tables(folder: Path) -> list[Path]:
    """Write MACHINE.md for every machine with records in a folder, and return their paths."""
    written = []
    for name, records in records_by_machine(folder).items():
        path = folder / f"{name}.md"
        save_text(path, markdown(records))
        written.append(path)
    return written


def records_by_machine(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return all records of parts in a folder, by the machine's short name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        if path.stem.removesuffix("-held").endswith(tuple(f"-{part}" for part in HEADS)):  # else it is another record
            content = load(path)
            found.setdefault(slug(content["machine"]), []).append(content)
    return found


def markdown(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the tables of one machine's records, in the order of `HEADS`."""
    free = {r["part"]: r for r in records if not is_held_back(r["machine"])}
    held = {r["part"]: r for r in records if is_held_back(r["machine"])}
    sections = []
    for part, head in HEADS.items():
        record = free.get(part, held.get(part))
        if record is None:
            continue
        other = held.get(part) if part in free else None
        table = memory_table(record["rows"]) if part == "memory" else time_table(record["rows"], other)
        shares = f"\n\n{parts_table(record['rows'])}" if any("parts" in row for row in record["rows"]) else ""
        sections.append(f"### {head}\n\n{NOTES[part]}\n\n{table}{shares}\n\n{source(record)}{left_out(record)}\n")
    return "\n".join(sections)


def time_table(rows: Sequence[Row], held: Mapping[str, Any] | None = None) -> str:
    """Return a table of times and ratios; `held` is a record of the same rows with OpenBLAS held to AVX2."""
    others = [name for name in OTHERS if any(name in r["seconds"] for r in rows)]
    theirs, sides = reference(rows[0])[1], [side for side in SIDES if any(side in r["seconds"] for r in rows)]
    heads = ["work", "cell", *(f"{SIDES[side]}, ms" for side in sides), f"{theirs}, ms"]
    heads += [ratio_head(side) + " (95 %)" for side in sides] + ["bar"]
    heads += [f"{ratio_head(side)}, AVX2" for side in sides] if held else []
    heads += [f"{name}, ms{'' if name in CALLS.values() else ' (ratio)'}" for name in others]
    before = {key(row): row for row in held["rows"]} if held else {}
    lines = []
    for row in rows:
        seconds, (name, _) = row["seconds"], reference(row)
        disturbed = " †" if row.get("others", 0.0) > DISTURBED else ""
        cells = [what(row) + disturbed, row["cell"], *(milliseconds(seconds.get(side)) for side in sides)]
        cells += ["" if name == "ours" else milliseconds(seconds[name]) + form(name)]
        cells += [*(ratio(row, side) for side in sides), bar(row)]
        cells += [ratio(before.get(key(row)), side) for side in sides] if held else []
        cells += [milliseconds(seconds.get(other)) + ratios_to(row, other, sides) for other in others]
        lines.append(cells)
    note = f"\n\n† Other programs took more than {100 * DISTURBED:.0f} % of the cores meanwhile."
    return table(heads, lines) + (note if any("†" in cells[0] for cells in lines) else "")


def memory_table(rows: Sequence[Row]) -> str:
    """Return the table of peaks, and of growth where many steps were taken."""
    names = {name: said for name, said in (SIDES | {"torch": "PyTorch"}).items() if any(_has(r, name) for r in rows)}
    sides = [name for name in SIDES if name in names]
    heads = ["(T, B, D, H)", "cell", "steps", *(f"{said}, MB" for said in names.values())]
    heads += [*(ratio_head(side) for side in sides), f"growth, {' / '.join(names.values())}"]
    lines = []
    for row in rows:
        found = row["megabytes"]
        cells = [what(row), row["cell"], f"{row['steps']}"]
        cells += [f"{found[name]['peak']:.1f}" if name in found else "" for name in names]
        theirs = max(found["torch"]["peak"], 0.1) if "torch" in found else None
        cells += [f"{found[s]['peak'] / theirs:.2f}" if theirs and s in found else "" for s in sides]
        grown = [f"{found[name]['growth']:+.1f}" for name in names if "growth" in found.get(name, {})]
        lines.append([*cells, " / ".join(grown)])
    return table(heads, lines)


def _has(row: Row, name: str) -> bool:
    return name in row["megabytes"]


def parts_table(rows: Sequence[Row]) -> str:
    """Return what our own step consists of, in per cent of its time, the largest part of the first row first."""
    parts, lines = list(rows[0]["parts"]), []
    for row in rows:
        for cell, shares in ((row["cell"], row["parts"]), (f"{row['cell']} fused", row.get("parts fused"))):
            if shares:
                lines.append([what(row), cell, *(f"{100 * shares.get(part, 0):.0f} %" for part in parts)])
    return table(["of our step", "cell", *parts], lines)


def source(record: Mapping[str, Any]) -> str:
    """Return how a record was measured, in a line."""
    machine, blas = record["machine"], record["machine"]["blas"]
    packages = {n: v for n, v in machine["packages"].items() if n in ("numpy", "torch", "jax", "onnxruntime", "keras")}
    said = ", ".join(f"{name} {version}" for name, version in packages.items())
    return (
        f"`{record['command']}`, {record['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{blas['name']} {blas['version']} with {blas['kernel']} kernels on {blas['threads']} threads; {said}."
    )


def left_out(record: Mapping[str, Any]) -> str:
    """Return why fused kernels took no part, a sentence, where the record says so."""
    why = record["machine"].get("fused", {}).get("why")
    return f" Without fused kernels: {' '.join(why.split())}." if why else ""


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first two are numbers."""
    rule = ["---", "---", *["---:"] * (len(heads) - 2)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])


if __name__ == "__main__":
    typer.run(main)
