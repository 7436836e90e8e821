"""Downloads against a server on the loopback that truncates, corrupts, stalls, ignores ranges and says 404."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from encoders.fetch import INCEPTION, DownloadError, Remote, download

CONTENT = np.random.default_rng(0).bytes(700_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT in the manner named by ``manner``; ``ranges`` collects what clients asked for."""

    manner = "whole"
    ranges: list[str | None]
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        manner = self.server.manner
        if manner == "404":
            self.send_error(404)
            return
        start = int(asked[6:].rstrip("-")) if asked and manner != "ignores ranges" else 0
        body = CONTENT[start:]
        if manner == "corrupt":
            body = b"x" + body[1:]
        self.send_response(206 if start else 200)
        if start:
            shown = start + 5 if manner == "lies" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if manner in ("truncates", "stalls"):
            self.wfile.write(body[:300_000])
            self.wfile.flush()
            time.sleep(1.5 if manner == "stalls" else 0)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as served:
        served.ranges = []
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def remote(server: Server, content: bytes = CONTENT) -> Remote:
    url = f"http://127.0.0.1:{server.server_port}/model.onnx"
    return Remote(url, hashlib.sha256(content).hexdigest(), len(content))


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    download(remote(server), tmp_path / "m", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    download(remote(server), tmp_path / "m")
    assert server.ranges == [None], "a finished file is not asked for again"


@pytest.mark.parametrize("manner", ["truncates", "stalls"])
def test_a_broken_download_keeps_its_part_and_resumes(server: Server, tmp_path: Path, manner: str) -> None:
    server.manner = manner
    with pytest.raises(DownloadError, match=r"stopped at [\d,]+ of 700,000 bytes.*Run the same command again"):
        download(remote(server), tmp_path / "m", timeout=0.3)
    assert not (tmp_path / "m").exists()
    have = (tmp_path / "m.part").stat().st_size
    assert 0 < have <= 300_000
    server.manner = "whole"
    download(remote(server), tmp_path / "m")
    assert server.ranges == [None, f"bytes={have}-"]
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert not (tmp_path / "m.part").exists()


@pytest.mark.parametrize("manner", ["ignores ranges", "lies"])
def test_a_server_that_cannot_resume_is_read_from_the_start(server: Server, tmp_path: Path, manner: str) -> None:
    (tmp_path / "m.part").write_bytes(CONTENT[:1000])
    server.manner = manner
    if manner == "lies":  # an answer for another place is not appended to what is there
        with pytest.raises(DownloadError):
            download(remote(server), tmp_path / "m")
        assert not (tmp_path / "m").exists()
        return
    download(remote(server), tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_corrupt_bytes_never_stand_under_the_final_name(server: Server, tmp_path: Path) -> None:
    server.manner = "corrupt"
    with pytest.raises(DownloadError, match=r"expected sha256 .* got .* other bytes"):
        download(remote(server), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_part_is_found_and_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"y" * 1000)
    with pytest.raises(DownloadError, match="other bytes"):
        download(remote(server), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m.part").write_bytes(b"y" * (len(CONTENT) + 1))
    download(remote(server), tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_404_and_no_network_say_what_to_do(server: Server, tmp_path: Path) -> None:
    server.manner = "404"
    with pytest.raises(DownloadError, match=r"answered 404.*--from FILE"):
        download(remote(server), tmp_path / "m")
    closed = Remote("http://127.0.0.1:1/model.onnx", "0" * 64, 5)
    with pytest.raises(DownloadError, match=r"Without a network: bring model\.onnx.*--from FILE"):
        download(closed, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_pinned_file_is_the_one_of_the_pointer_list(real_data: Path) -> None:
    lines = (real_data / "models" / "onnx_models_inception_lfs_pointers.txt").read_text().splitlines()
    pinned = {line.split()[0]: line.split()[1:] for line in lines}
    path = INCEPTION.url.split("/main/")[1]
    assert pinned[path] == [f"sha256:{INCEPTION.sha256}", str(INCEPTION.size)]
