"""Kept records as Markdown tables: one file a machine, made of its JSON files and of nothing else.

python -m benchmarks.tables                     # benchmarks/results/MACHINE.md, anew
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.numbers import Spread, interval, pair_ratios
from benchmarks.record import DISTURBED, RESULTS, is_held_back, load, save_text, slug

Row = Mapping[str, Any]
#: What is no fair peer, and shown only beside those that are.
UNTUNED = "torch untuned"
WHOLE_BEAMS = "torch whole beams"
OTHERS = ("jax", "onnxruntime", "torch cell", UNTUNED, WHOLE_BEAMS, "calls")
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
    "training": "Output, gradients of all weights and of x; time in ms. PyTorch at its best of one thread or all, "
    "oneDNN or not; JAX one compiled scan.",
    "lengths": "PyTorch's better of packed and padded; N rows are all that is real of B sequences.",
    "forward": "PyTorch in inference mode; ONNX Runtime runs its own operator.",
    "step": "The state carried from step to step. As installed, with all threads, PyTorch takes several times longer "
    "than at its best; both are here.",
    "floor": "A training step beside its matrix products alone, in the form in which NumPy does them fastest, and "
    "beside its calls alone: as many time steps of one sequence of one unit. Element work comes on top of these.",
    "memory": "Peak resident memory above what was resident before, MB, each library in a process of its own. Over "
    "1000 steps of the small shape: how far the process grew after the first 100.",
    "captioner": "Recipe `paper`, everything included: dropout, vocabulary softmax, clipping, Adam. Of its parts, "
    "words is the layer that gives the vocabulary's logits.",
    "captioner-default": "512 units, an embedding that is trained, dropout before the vocabulary as well.",
    "keras": "Every prefix a padded sample of its own, targets one-hot, on TensorFlow; equal captions a batch.",
    "decoding": "ms a picture; both search alike and mostly say the same. Whole beams: PyTorch running the finished "
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
        sections.append(f"### {head}\n\n{NOTES[part]}\n\n{table}{shares}\n\n{source(record)}\n")
    return "\n".join(sections)


def time_table(rows: Sequence[Row], held: Mapping[str, Any] | None = None) -> str:
    """Return a table of times and ratios; `held` is a record of the same rows with OpenBLAS held to AVX2."""
    others = [name for name in OTHERS if any(name in r["seconds"] for r in rows)]
    theirs = reference(rows[0])[1]
    heads = ["work", "cell", "ours, ms", f"{theirs}, ms", "ratio (quartiles)", "95 %", "bar"]
    heads += ["ratio, AVX2"] if held else []
    heads += [f"{name}, ms" for name in others]
    before = {key(row): row for row in held["rows"]} if held else {}
    lines = []
    for row in rows:
        seconds, (name, _) = row["seconds"], reference(row)
        disturbed = " †" if row.get("others", 0.0) > DISTURBED else ""
        cells = [what(row) + disturbed, row["cell"], milliseconds(seconds["ours"])]
        cells += [milliseconds(seconds[name]) + form(name), *ratio_cells(row), bar(row)]
        cells += [ratio_cells(before[key(row)])[0] if key(row) in before else ""] if held else []
        cells += [milliseconds(seconds[other]) if other in seconds else "" for other in others]
        lines.append(cells)
    note = f"\n\n† Other programs took more than {100 * DISTURBED:.0f} % of the cores meanwhile."
    return table(heads, lines) + (note if any("†" in cells[0] for cells in lines) else "")


def ratio_cells(row: Row) -> list[str]:
    """Return the median ratio to the reference with quartiles, and its interval."""
    name, _ = reference(row)
    if name == "ours":
        return ["", ""]
    ratios = pair_ratios(row["seconds"]["ours"], row["seconds"][name])
    spread, (low, high) = Spread.of(ratios), interval(ratios)
    return [f"**{spread.median:.2f}** ({spread.low:.2f} to {spread.high:.2f})", f"{low:.2f} to {high:.2f}"]


def reference(row: Row) -> tuple[str, str]:
    """Return the competitor that ours is held to, PyTorch's best form where there are several, and its name in words.

    Where there is no peer, it is 'ours'.
    """
    seconds = row["seconds"]
    torch = [name for name in seconds if name.startswith("torch") and name not in OTHERS]
    if torch:
        return min(torch, key=lambda name: Spread.of(seconds[name]).median), "PyTorch"
    for name in ("keras", "bare session", "LSTM", "products"):
        if name in seconds:
            return name, name
    return "ours", "nobody"


def form(name: str) -> str:
    """Return which form of PyTorch it was, if there are two."""
    return f" {name.removeprefix('torch ')}" if name.startswith("torch ") else ""


def bar(row: Row) -> str:
    """Return the bar, and whether the median is under it."""
    name, _ = reference(row)
    if "bar" not in row or name == "ours":
        return ""
    met = Spread.of(pair_ratios(row["seconds"]["ours"], row["seconds"][name])).median <= row["bar"]
    return f"≤ {row['bar']:.2f} {'met' if met else 'missed'}"


def memory_table(rows: Sequence[Row]) -> str:
    """Return the table of peaks, and of growth where many steps were taken."""
    lines = []
    for row in rows:
        ours, torch = row["megabytes"]["ours"], row["megabytes"].get("torch")
        cells = [what(row), row["cell"], f"{row['steps']}", f"{ours['peak']:.1f}"]
        cells += [f"{torch['peak']:.1f}", f"{ours['peak'] / max(torch['peak'], 0.1):.2f}"] if torch else ["", ""]
        grown = [f"{each['growth']:+.1f}" for each in (ours, torch) if each and "growth" in each]
        lines.append([*cells, " / ".join(grown)])
    heads = ["(T, B, D, H)", "cell", "steps", "ours, MB", "PyTorch, MB", "ratio", "growth, ours / PyTorch"]
    return table(heads, lines)


def parts_table(rows: Sequence[Row]) -> str:
    """Return what our own step consists of, in per cent of its time, the largest part of the first row first."""
    parts = list(rows[0]["parts"])
    lines = [[what(row), row["cell"], *(f"{100 * row['parts'].get(part, 0):.0f} %" for part in parts)] for row in rows]
    return table(["of our step", "cell", *parts], lines)


def what(row: Row) -> str:
    """Return what a row is about."""
    if "shape" in row:
        return f"({', '.join(map(str, row['shape']))})"
    if "captions" in row:
        return f"{row['captions']} captions a batch"
    if "beam" in row:
        search = "greedy" if row["beam"] == 1 else f"beam {row['beam']}"
        return f"{search}, " + ("one alone" if row["pictures"] == 1 else f"{row['pictures']} together")
    return f"{row['pictures']} pictures, {row['batch']} a batch"


def key(row: Row) -> tuple[str, str, str]:
    """Return what makes two rows of different records the same."""
    return row["work"], row["cell"], what(row)


def source(record: Mapping[str, Any]) -> str:
    """Return how a record was measured, in a line."""
    machine, blas = record["machine"], record["machine"]["blas"]
    packages = {n: v for n, v in machine["packages"].items() if n in ("numpy", "torch", "jax", "onnxruntime", "keras")}
    said = ", ".join(f"{name} {version}" for name, version in packages.items())
    return (
        f"`{record['command']}`, {record['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{blas['name']} {blas['version']} with {blas['kernel']} kernels on {blas['threads']} threads; {said}."
    )


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median in ms, three digits."""
    return digits(1e3 * Spread.of(seconds).median)


def digits(value: float) -> str:
    """Return a positive number with three significant digits and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first two are numbers."""
    rule = ["---", "---", *["---:"] * (len(heads) - 2)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])


if __name__ == "__main__":
    typer.run(main)
