"""The feature store: whatever kills the writer, committed rows stay and a resumed run ends the same."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from encoders import Header, MissingFeatures, StoreError, StoreWriter, open_features

HEADER = Header("hash-of-encoder", "made up", {"features": (64,), "grid": (4, 2, 2)}, "float32")

# A writer to be killed: the rows follow from the name, so a resumed run can be compared number by number.
WRITER = """
import sys, zlib
import numpy as np
from encoders import Header, StoreWriter
header = Header("hash-of-encoder", "made up", {"features": (64,), "grid": (4, 2, 2)}, "float32")
def rows(names, size):
    return np.stack([np.random.default_rng(zlib.crc32(n.encode())).normal(size=size) for n in names])
names = [f"picture {k}" for k in range(int(sys.argv[2]))]
with StoreWriter(sys.argv[1], header) as store:
    todo = [n for n in names if n not in store]
    print("open", len(store), flush=True)
    for k in range(0, len(todo), 3):
        batch = todo[k:k + 3]
        store.append(batch, {"features": rows(batch, (64,)), "grid": rows(batch, (4, 2, 2))})
        print(k, flush=True)
"""


def rows_of(names: list[str], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"features": rng.normal(size=(len(names), 64)), "grid": rng.normal(size=(len(names), 4, 2, 2))}


def start_writer(folder: Path, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish_writer(folder: Path, count: int) -> None:
    command = [sys.executable, "-c", WRITER, str(folder), str(count)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    names = ["a.jpg", "b/ü.jpg", "c.jpg"]
    rows = rows_of(names)
    with StoreWriter(tmp_path / "s", HEADER) as store:
        store.append(names[:2], {k: v[:2] for k, v in rows.items()})
        store.append(names[2:], {k: v[2:] for k, v in rows.items()})
        assert len(store) == 3
        assert "b/ü.jpg" in store
        assert "other" not in store
    features = open_features(tmp_path / "s")
    assert features.names == tuple(names)
    assert features.encoder == "hash-of-encoder"
    assert features.outputs == {"features": (64,), "grid": (4, 2, 2)}
    for output, expected in rows.items():
        got = features.rows(["c.jpg", "a.jpg"], output)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected[[2, 0]].astype(np.float32))


def test_float16_is_kept_as_float16_and_read_as_float32(tmp_path: Path) -> None:
    header = Header("e", "d", {"features": (64,)}, "float16")
    rows = rows_of(["a"])["features"]
    with StoreWriter(tmp_path / "s", header) as store:
        store.append(["a"], {"features": rows})
    assert (tmp_path / "s" / "features.bin").stat().st_size == 128
    np.testing.assert_array_equal(open_features(tmp_path / "s").rows(["a"]), rows.astype(np.float16))


def test_killed_at_random_moments_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    count, moments = 900, random.Random(1)
    finish_writer(tmp_path / "whole", count)
    kills = 0
    for _ in range(6):
        writer = start_writer(tmp_path / "killed", count)
        assert writer.stdout is not None
        for _ in range(moments.randint(1, 15)):  # it has opened the store and appended so many batches, of 300 in all
            writer.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.003))
        writer.send_signal(signal.SIGKILL)
        kills += writer.wait(60) == -signal.SIGKILL
        writer.stdout.close()
        seen = open_features(tmp_path / "killed")  # readable right after the kill, before any repair
        assert len(seen) % 3 == 0
        if len(seen):
            assert np.isfinite(seen.rows(seen.names)).all()
    assert kills >= 2, "the writer was never caught at work"
    finish_writer(tmp_path / "killed", count)
    for name in ("features.bin", "grid.bin", "journal.jsonl", "store.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_every_torn_tail_is_cut_off(tmp_path: Path) -> None:
    """A kill can leave any prefix of the last append: all of them are tried, for rows and journal."""
    folder = tmp_path / "s"
    rows = rows_of(["a", "b"])
    with StoreWriter(folder, HEADER) as store:
        store.append(["a"], {k: v[:1] for k, v in rows.items()})
        journal = (folder / "journal.jsonl").read_bytes()
        sizes = {name: (folder / name).stat().st_size for name in ("features.bin", "grid.bin")}
        store.append(["b"], {k: v[1:] for k, v in rows.items()})
    full = (folder / "journal.jsonl").read_bytes()
    whole = {name: (folder / name).read_bytes() for name in sizes}
    for cut in range(len(journal), len(full)):
        (folder / "journal.jsonl").write_bytes(full[:cut])
        for name, content in whole.items():
            (folder / name).write_bytes(content[: sizes[name] + (cut * 7) % (len(content) - sizes[name])])
        assert open_features(folder).names == ("a",)
        with StoreWriter(folder, HEADER) as store:
            assert len(store) == 1
            store.append(["b"], {k: v[1:] for k, v in rows.items()})
        assert (folder / "journal.jsonl").read_bytes() == full
        assert all((folder / name).read_bytes() == content for name, content in whole.items())


def test_damage_in_the_middle_is_named_not_cut(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with StoreWriter(folder, HEADER) as store:
        store.append(["a"], rows_of(["a"]))
        store.append(["b"], rows_of(["b"]))
    journal = bytearray((folder / "journal.jsonl").read_bytes())
    journal[10] ^= 1
    (folder / "journal.jsonl").write_bytes(journal)
    with pytest.raises(StoreError, match="damaged"):
        open_features(folder)


def test_rows_cut_short_from_outside_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with StoreWriter(folder, HEADER) as store:
        store.append(["a"], rows_of(["a"]))
    content = (folder / "grid.bin").read_bytes()
    (folder / "grid.bin").write_bytes(content[:-1])
    with pytest.raises(StoreError, match=r"grid\.bin is cut short"):
        open_features(folder)
    with pytest.raises(StoreError, match=r"grid\.bin is cut short"):
        StoreWriter(folder, HEADER)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    """A real limit of the system on file sizes, in a process of its own."""
    script = WRITER.replace("import sys, zlib", "import sys, zlib, resource, signal").replace(
        "names = [",
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\nnames = [",
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s"), "60"], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1
    assert "the disk (or your quota) is full. The 18 finished rows are kept" in ran.stderr
    assert len(open_features(tmp_path / "s")) == 18  # 19 rows of 256 bytes fit, batches have 3
    assert (tmp_path / "s" / "features.bin").stat().st_size == 18 * 256
    finish_writer(tmp_path / "s", 60)
    assert len(open_features(tmp_path / "s")) == 60


def test_a_failed_append_leaves_the_writer_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreWriter(tmp_path / "s", HEADER) as store:
        store.append(["a"], rows_of(["a"]))

        def interrupted(*_: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:  # Ctrl-C between the rows and their journal line
            patch.setattr("encoders.store._line", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.append(["b"], rows_of(["b"]))
        assert (tmp_path / "s" / "features.bin").stat().st_size == 256
        store.append(["b"], rows_of(["b"], 1))
    np.testing.assert_array_equal(
        open_features(tmp_path / "s").rows(["b"]), rows_of(["b"], 1)["features"].astype(np.float32)
    )


def test_only_one_writes(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", HEADER), pytest.raises(StoreError, match="another process is writing"):
        StoreWriter(tmp_path / "s", HEADER)
    StoreWriter(tmp_path / "s", HEADER).close()


@pytest.mark.parametrize(
    ("field", "header"),
    [
        ("encoder", Header("another", "made up", HEADER.outputs, "float32")),
        ("outputs", Header(HEADER.encoder, "made up", {"features": (64,)}, "float32")),
        ("dtype", Header(HEADER.encoder, "made up", HEADER.outputs, "float16")),
    ],
)
def test_a_store_of_something_else_is_refused(tmp_path: Path, field: str, header: Header) -> None:
    StoreWriter(tmp_path / "s", HEADER).close()
    with pytest.raises(StoreError, match=f"was made with {field}") as caught:
        StoreWriter(tmp_path / "s", header)
    assert str(getattr(HEADER, field)) in str(caught.value)
    assert str(getattr(header, field)) in str(caught.value)


def test_a_folder_with_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="no feature store and not empty"):
        StoreWriter(tmp_path, HEADER)
    with pytest.raises(StoreError, match="not a feature store"):
        open_features(tmp_path)


def test_bad_rows_are_refused_by_name(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", HEADER) as store:
        rows = rows_of(["a", "b"])
        rows["grid"][1, 0, 0, 0] = np.nan
        with pytest.raises(StoreError, match="b: its grid are not finite"):
            store.append(["a", "b"], rows)
        with pytest.raises(StoreError, match="expected shape"):
            store.append(["a"], rows)
        with pytest.raises(StoreError, match="needs names and rows"):
            store.append(["a"], {"features": rows["features"][:1]})
        with pytest.raises(StoreError, match="already there"):
            store.append(["a", "a"], rows_of(["a", "a"]))
        assert len(store) == 0
    header = Header("e", "d", {"features": (1,)}, "float16")
    with StoreWriter(tmp_path / "t", header) as store, pytest.raises(StoreError, match=r"big\.jpg.*float16"):
        store.append(["big.jpg"], {"features": np.array([[1e6]])})


def test_an_empty_store_opens(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "s", HEADER).close()
    features = open_features(tmp_path / "s")
    assert features.names == ()
    assert features.rows([]).shape == (0, 64)


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", HEADER) as store:
        store.append(["a"], rows_of(["a"]))
    wanted = ["a", *(f"gone {k}.jpg" for k in range(7))]
    with pytest.raises(MissingFeatures, match=r"7 of 8 pictures have no features: gone 0\.jpg.*gone 4\.jpg, …"):
        open_features(tmp_path / "s").rows(wanted)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": 99}), json.dumps({"format": 1})])
def test_a_bad_header_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json is damaged|format 99"):
        open_features(tmp_path)
