"""Pictures to features: decoding runs ahead in threads while ONNX Runtime computes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.errors import EncoderError
from encoders.files import sha256_file
from encoders.pictures import PictureError, load_picture
from encoders.session import CPU, CUDA, open_session, providers_of, run_bound
from encoders.sidecar import load_spec
from encoders.spec import EncoderSpec, Output, Preprocessing
from encoders.store import StoreWriter

Array = npt.NDArray[np.float32]
BATCH = 8


class Encoder:
    """An ONNX encoder, loaded and ready.

    ``model`` is the ONNX file; its spec comes from the file beside it, or is a known one, unless given.
    ``device`` is where it computes, 'cpu' or 'cuda'. ``providers``, in its place, is the order in which ONNX Runtime is
    asked; all that are named must be installed (nothing falls back silently), and ``provider`` says which one runs.
    ``outputs`` limits what is computed.
    """

    def __init__(
        self,
        model: Path | str,
        spec: EncoderSpec | None = None,
        providers: Sequence[str] = (),
        outputs: Sequence[str] = ("features",),
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        self.model = Path(model)
        self.spec = spec if spec is not None else load_spec(self.model)
        self.outputs = tuple(outputs)
        self._tensors = [self.spec.output(name).tensor for name in self.outputs]
        self._session = open_session(self.model, providers or providers_of(device), threads)
        self._check_graph()

    @property
    def provider(self) -> str:
        """The execution provider in use, such as ``CPUExecutionProvider``."""
        return str(self._session.get_providers()[0])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape per picture of each output that is computed."""
        return {name: self.spec.output(name).shape for name in self.outputs}

    def encode_arrays(self, batch: npt.NDArray[Any]) -> dict[str, Array]:
        """Features of prepared pictures (N, *preprocessing.shape): ``{output: (N, *shape)}`` float32."""
        self._check_shape(batch)
        feed = {self.spec.input: np.ascontiguousarray(batch, np.float32)}
        values = self._session.run(self._tensors, feed)
        return dict(zip(self.outputs, values, strict=True))

    def encode_on_device(self, batch: Any) -> dict[str, Any]:
        """As `encode_arrays`, with the features left where they were computed: ``{output: OrtValue}``.

        On 'cuda' nothing comes back to the host: hand each on without a copy, ``cupy.from_dlpack(value)``. Pictures
        may lie on the GPU too, as float32 arrays of CuPy or PyTorch; what computes them must have finished, since ONNX
        Runtime works on a stream of its own: ``cupy.cuda.get_current_stream().synchronize()``.
        """
        self._check_shape(batch)
        if isinstance(batch, np.ndarray):
            batch = np.ascontiguousarray(batch, np.float32)
        device = "cuda" if self.provider == CUDA else "cpu"
        values = run_bound(self._session, {self.spec.input: batch}, self._tensors, device)
        return dict(zip(self.outputs, values, strict=True))

    def encode_files(self, paths: Sequence[Path | str], batch: int = BATCH) -> dict[str, Array]:
        """Features of picture files, in their order: ``{output: (N, *shape)}`` float32.

        Raises PictureError at the first file that cannot be read; `encode_into` goes on instead.
        """
        if not paths:
            return {name: np.empty((0, *shape), np.float32) for name, shape in self.shapes.items()}
        parts = []
        for decoded in _decoded([(str(path), Path(path)) for path in paths], self.spec.preprocessing, batch):
            parts.append(self.encode_arrays(np.stack([_or_raise(picture) for _, picture in decoded])))
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _check_shape(self, batch: Any) -> None:
        expected, got = self.spec.preprocessing.shape, tuple(batch.shape)
        if len(got) != 4 or got[1:] != expected or got[0] == 0:
            raise EncoderError(f"expected prepared pictures of shape (N, {expected}), got {got}")

    def _check_graph(self) -> None:
        """The file must have the input and outputs that the spec names."""
        inputs = [entry.name for entry in self._session.get_inputs()]
        outputs = [entry.name for entry in self._session.get_outputs()]
        lacking = [tensor for tensor in self._tensors if tensor not in outputs]
        if inputs != [self.spec.input] or lacking:
            raise EncoderError(
                f"{self.model}: its description names input {self.spec.input!r} and outputs {self._tensors}, "
                f"the file has inputs {inputs} and outputs {outputs}"
            )


@dataclass
class Progress:
    """How far a run is. ``rate`` is in pictures a second, ``left`` in seconds."""

    total: int
    done: int = 0
    skipped: int = 0
    bad: list[PictureError] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float:
        waiting = self.total - self.skipped - self.done - len(self.bad)
        return waiting / self.rate if self.rate > 0 else float("inf")


def encode_into(
    store: StoreWriter,
    encoder: Encoder,
    pictures: Mapping[str, Path],
    batch: int = BATCH,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Encode the pictures (name -> file) that the store lacks; every batch is committed before the next.

    Pictures that cannot be read are collected in ``Progress.bad`` and the run goes on. Whatever ends the run
    early (Ctrl-C, kill, full disk), committed rows stay and the same call continues from them.
    """
    waiting = [(name, path) for name, path in pictures.items() if name not in store]
    progress = Progress(len(pictures), skipped=len(pictures) - len(waiting))
    for decoded in _decoded(waiting, encoder.spec.preprocessing, batch):
        good = [(name, picture) for name, picture in decoded if not isinstance(picture, PictureError)]
        progress.bad += [picture for _, picture in decoded if isinstance(picture, PictureError)]
        if good:
            rows = encoder.encode_arrays(np.stack([picture for _, picture in good]))
            store.append([name for name, _ in good], rows)
        progress.done += len(good)
        progress.seconds = time.perf_counter() - progress.started
        report(progress)
    return progress


def describe_model(
    model: Path, tensors: Mapping[str, str], preprocessing: Preprocessing, description: str
) -> EncoderSpec:
    """The spec of an ONNX file: one blank picture goes through it to learn the outputs' shapes.

    ``tensors`` says which graph output is which: ``{'features': 'pooled'}``. Raises EncoderError when the
    file has no such output or does not take pictures of this preprocessing.
    """
    session = open_session(model, (CPU,), 0)
    inputs = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    if len(inputs) != 1 or not set(tensors.values()) <= set(outputs):
        raise EncoderError(
            f"{model}: expected one input and the outputs {sorted(tensors.values())}, "
            f"it has inputs {inputs} and outputs {outputs}"
        )
    try:
        blank = np.zeros((1, *preprocessing.shape), np.float32)
        values = session.run(list(tensors.values()), {inputs[0]: blank})
    except Exception as error:  # onnxruntime raises its own kinds, which share only Exception
        raise EncoderError(f"{model} does not take float32 (1, {preprocessing.shape}): {error}") from error
    found = [Output(name, tensors[name], v.shape[1:]) for name, v in zip(tensors, values, strict=True)]
    return EncoderSpec(sha256_file(model), inputs[0], tuple(found), preprocessing, description)


def _decoded(
    pictures: Sequence[tuple[str, Path]], preprocessing: Preprocessing, batch: int
) -> Iterator[list[tuple[str, Array | PictureError]]]:
    """Batches of decoded pictures in order, up to two batches ahead of the consumer.

    One decoding thread: a decode costs a tenth of an inference and ONNX Runtime already fills the cores.
    """

    def load(path: Path) -> Array | PictureError:
        try:
            return load_picture(path, preprocessing)
        except PictureError as error:
            return error

    coming = iter(pictures)
    ahead: deque[tuple[str, Future[Array | PictureError]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(ahead) < 3 * batch and (item := next(coming, None)) is not None:
                    ahead.append((item[0], pool.submit(load, item[1])))
                if not ahead:
                    return
                ready = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                yield [(name, future.result()) for name, future in ready]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _or_raise(picture: Array | PictureError) -> Array:
    if isinstance(picture, PictureError):
        raise picture
    return picture
