"""What the commands do on a terminal: runs with progress and a record beside the rows, and inspection."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime as ort
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from encoders.encode import Encoder, Progress, encode_into
from encoders.features import open_features
from encoders.files import atomic_write
from encoders.store import Header, StoreWriter


def run_encode(
    pictures: Mapping[str, Path],
    model: Path,
    store: Path,
    outputs: tuple[str, ...],
    dtype: str,
    batch: int,
    providers: tuple[str, ...],
    threads: int,
    console: Console,
    quiet: bool,
    device: str = "cpu",
) -> bool:
    """Encode pictures (name -> file) into the store; False when some could not be read: they are listed at the end.

    providers : ONNX Runtime's, in order; those of the device when there are none.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after saying how much is kept.
    """
    encoder = Encoder(model, providers=providers, outputs=outputs, threads=threads, device=device)
    header = Header(encoder.spec.hash, encoder.spec.description, encoder.shapes, dtype)
    if not quiet:
        console.print(f"{encoder.spec.description}, encoder {encoder.spec.hash[:16]}, on {encoder.provider}")
    with StoreWriter(store, header) as writer:
        before = len(writer)
        try:
            done = _with_bar(writer, encoder, pictures, batch, console, quiet)
        except KeyboardInterrupt:
            console.print(
                f"stopped: {len(writer) - before} new rows are kept in {store}, "
                f"{len(writer)} in all; the same command continues"
            )
            raise
    if done.done:
        write_json(store / "run.json", _record(done, encoder, batch))
    if not quiet or done.bad:
        console.print(_summary(done, store), markup=False)
    return not done.bad


def read_run(store: Path) -> dict[str, Any] | None:
    """The record of the last run that added rows to a store, if it has one."""
    path = store / "run.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    with atomic_write(path, "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Where figures were measured: processor, cores, system, versions."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
    }


def inspect_model(path: Path) -> dict[str, str]:
    """What `encoders inspect` shows of an ONNX encoder."""
    from encoders.surgery import load_model, parameter_count

    encoder = Encoder(path)
    spec, how = encoder.spec, encoder.spec.preprocessing
    return {
        "encoder": spec.hash,
        "description": spec.description,
        "sha256": spec.sha256,
        "parameters": f"{parameter_count(load_model(path)):,}",
        "outputs": _shown(spec.shapes),
        "input": f"{spec.input} (N, {', '.join(map(str, how.shape))}), {how.channels}, {how.resampling}",
        "scaling": f"(x - {how.mean}) / {how.std}, x in 0..255",
        "provider": encoder.provider,
    }


def inspect_features(path: Path) -> dict[str, str]:
    """What `encoders inspect` shows of a feature store or an .npz."""
    features = open_features(path)
    return {
        "encoder": features.encoder,
        "description": features.description,
        "outputs": _shown(features.outputs),
        "rows": f"{len(features)} pictures",
        "names": ", ".join(features.names[:3]) + (", …" if len(features) > 3 else ""),
    }


@contextmanager
def download_bar(console: Console, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A function (bytes so far, bytes in all) that draws a progress bar where there is a terminal."""
    columns = (DownloadColumn(), BarColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _with_bar(
    writer: StoreWriter, encoder: Encoder, found: Mapping[str, Path], batch: int, console: Console, quiet: bool
) -> Progress:
    columns = (
        TextColumn("encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} pictures/s"),
        TimeRemainingColumn(),
    )
    hidden = quiet or not console.is_terminal
    with Bar(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=len(found), rate=0.0)

        def report(now: Progress) -> None:
            bar.update(task, completed=now.skipped + now.done + len(now.bad), rate=now.rate)

        return encode_into(writer, encoder, found, batch, report)


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, ('N', *shape)))})" for name, shape in shapes.items())


def _summary(done: Progress, store: Path) -> str:
    text = f"{done.done} pictures encoded into {store} in {done.seconds:.1f} s ({done.rate:.1f} pictures/s)"
    if done.skipped:
        text += f", {done.skipped} were there before"
    if done.bad:
        text += f"\n{len(done.bad)} could not be read:\n" + "\n".join(f"  {error}" for error in done.bad)
    return text


def _record(done: Progress, encoder: Encoder, batch: int) -> dict[str, Any]:
    return {
        "command": shlex.join(["encoders", *(_without_folders(argument) for argument in sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "description": encoder.spec.description,
        "encoder": encoder.spec.hash,
        "provider": encoder.provider,
        "batch": batch,
        "pictures": done.done,
        "seconds": round(done.seconds, 2),
        "pictures_per_second": round(done.rate, 2),
        "machine": machine(),
    }


def _without_folders(argument: str) -> str:
    """A path's last part: where things lay on this machine says nothing to others."""
    return Path(argument).name if os.sep in argument else argument


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
