"""Downloads that are whole, verified and resumable, and the pinned Inception v3."""

import errno
import fcntl
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from encoders.errors import EncoderError
from encoders.files import sha256_file, sync_folder
from encoders.known import INCEPTION_V3
from encoders.sidecar import load_spec
from encoders.spec import EncoderSpec

CHUNK = 1 << 18
Report = Callable[[int, int], None]  # bytes so far, bytes in all


class DownloadError(EncoderError):
    """A download stopped, or brought other bytes than the pinned ones."""


@dataclass(frozen=True)
class Remote:
    """A file elsewhere and the bytes it must have."""

    url: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


# Inception v3 with Google's TensorFlow weights as timm holds them, exported to ONNX: the nearest to the Keras
# weights of captioning papers. Path, sha256 and size are those of the Git LFS pointer in the public repository
# onnx/models; the address serves the LFS content of that repository.
INCEPTION = Remote(
    "https://media.githubusercontent.com/media/onnx/models/main/"
    "Computer_Vision/tf_inception_v3_Opset16_timm/tf_inception_v3_Opset16.onnx",
    "284a65d6a1809cd79646a592ce9655c1e9f00b5daf6bdb55c3ea1525bd2972e4",
    95_317_116,
)
DESCRIPTION = "Inception v3 (TensorFlow weights, timm)"


def fetch_inception(
    target: Path, remote: Remote = INCEPTION, local: Path | None = None, report: Report = lambda done, total: None
) -> EncoderSpec:
    """Make the encoder ``target``: download (or take ``local``), verify, cut at the global pool.

    A target that is already there and agrees with its description is left alone. Nothing ever stands under
    ``target`` but a whole, verified encoder.
    """
    if target.is_file():
        return load_spec(target)
    from encoders.surgery import cut_classifier  # onnx takes its time to import, and a finished file needs none

    target.parent.mkdir(parents=True, exist_ok=True)
    classifier = local
    if classifier is None:
        classifier = target.parent / remote.name
        download(remote, classifier, report)
    else:
        verify(local_file(classifier), remote)
    spec = cut_classifier(classifier, target, INCEPTION_V3, DESCRIPTION)
    if local is None:
        classifier.unlink()
    return spec


def download(remote: Remote, target: Path, report: Report = lambda done, total: None, timeout: float = 30.0) -> None:
    """Bring ``remote`` to ``target``, whole and verified, or raise DownloadError and leave no ``target``.

    What has come stays in ``target.part``, from which the next call goes on. A part whose sha256 is wrong in the
    end is removed. ``timeout`` is the longest silence of the server in seconds.
    """
    if target.is_file() and sha256_file(target) == remote.sha256:
        return
    part = target.with_name(target.name + ".part")
    with open(part, "ab") as file:
        _lock(file, part)
        if file.tell() > remote.size:
            _empty(file)
        if file.tell() < remote.size:
            _receive(remote, file, report, timeout)
        file.flush()
        os.fsync(file.fileno())
    if part.stat().st_size != remote.size:
        raise DownloadError(_stopped(remote, part.stat().st_size, "the server closed the connection"))
    try:
        verify(part, remote)
    except DownloadError:
        part.unlink()
        raise
    os.replace(part, target)
    sync_folder(target.parent)


def verify(path: Path, remote: Remote) -> None:
    """Raise DownloadError unless the file has exactly the pinned bytes."""
    digest = sha256_file(path)
    if digest != remote.sha256:
        raise DownloadError(
            f"{path}: expected sha256 {remote.sha256}, got {digest}: these are other bytes than {remote.name} has. "
            "Fetch it again; if this repeats, the server or something on the way changes the file"
        )


def local_file(path: Path) -> Path:
    """The path, if there is a file."""
    if not path.is_file():
        raise EncoderError(f"{path}: no such file")
    return path


def _receive(remote: Remote, file: IO[bytes], report: Report, timeout: float) -> None:
    """Append to ``file`` what is still missing, or start over where the server cannot resume."""
    have = file.tell()
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            if have and not _resumes(response, have):
                have = 0
                _empty(file)
            while have < remote.size and (chunk := response.read(min(CHUNK, remote.size - have))):
                _write(file, chunk)
                have += len(chunk)
                report(have, remote.size)
    except urllib.error.HTTPError as error:
        raise DownloadError(_stopped(remote, have, f"the server answered {error.code} {error.reason}")) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(_stopped(remote, have, str(error) or type(error).__name__)) from error


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _resumes(response: Any, have: int) -> bool:
    """Whether the answer continues at byte ``have``; servers without ranges send everything with 200."""
    return bool(response.status == 206) and str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cause = "the disk (or your quota) is full" if full else str(error)
        raise DownloadError(f"{file.name}: cannot write, {cause}; make room and run the same command again") from error


def _lock(file: IO[bytes], part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DownloadError(f"{part}: another process is downloading this file") from None


def _stopped(remote: Remote, have: int, why: str) -> str:
    return (
        f"{remote.url}: download stopped at {have:,} of {remote.size:,} bytes: {why}. Run the same command again to go "
        f"on from there. Without a network: bring {remote.name} (sha256 {remote.sha256}) from elsewhere and give it "
        "with --from FILE, or use `encoders build FILE`, an Inception v3 of random weights"
    )
