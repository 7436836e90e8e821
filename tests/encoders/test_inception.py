"""The built Inception v3: the counts of the published network, the same file again, features that see."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw

from encoders import Encoder
from encoders.files import sha256_file
from encoders.inception import (
    PARAMETERS,
    PARAMETERS_WITHOUT_CLASSIFIER,
    Graph,
    build_encoder,
    default_encoder,
    trunk,
)
from encoders.pictures import prepare
from encoders.surgery import load_model, parameter_count
from tests.encoders.tiny import tiny_encoder

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("disc", "box", "bars")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "built.onnx"
    build_encoder(path, 3)
    return path


def drawn(seed: int) -> tuple[Image.Image, int, int]:
    """One coloured object somewhere on a grey or sandy ground; with its shape and its colour."""
    rng = np.random.default_rng(seed)
    shape, colour = int(rng.integers(3)), int(rng.integers(4))
    image = Image.new("RGB", (200, 200), ("grey", "tan")[int(rng.integers(2))])
    draw, radius = ImageDraw.Draw(image), float(rng.uniform(30, 45))
    x, y = rng.uniform(50, 150, 2)
    if shape == 0:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[colour])
    elif shape == 1:
        draw.rectangle((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[colour])
    else:
        for k in range(-2, 3):
            draw.rectangle((x + k * 20 - 5, y - radius, x + k * 20 + 5, y + radius), fill=COLOURS[colour])
    return image, shape, colour


def probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The classes that a ridge regression on standardised features gives to ``test``."""
    mean, std = train.mean(0), train.std(0) + 1e-3
    a, b = (train - mean) / std, (test - mean) / std
    kernel = a @ a.T
    ridge = 0.01 * np.trace(kernel) / len(a) * np.eye(len(a))
    targets = np.eye(labels.max() + 1)[labels]
    solved = np.linalg.solve(kernel + ridge, targets - targets.mean(0))
    return (b @ a.T @ solved + targets.mean(0)).argmax(1)


def test_the_parameters_are_those_of_the_published_network() -> None:
    g = Graph(0)
    assert g.channels[trunk(g)] == 2048
    count = sum(weight.size for weight in g.weights.values())
    assert len(g.weights) == 2 * 94
    assert count == PARAMETERS_WITHOUT_CLASSIFIER == 21_768_352
    classifier = 2048 * 1000 + 1000
    assert count + classifier == PARAMETERS == 23_817_352
    normalised = sum(weight.size for name, weight in g.weights.items() if name.endswith("_b"))
    assert count + classifier + normalised == 23_834_568  # as torchvision counts, without auxiliary classifier
    assert count + classifier + 2 * normalised == 23_851_784  # as Keras counts


def test_the_graph_gives_both_outputs(built: Path) -> None:
    model = load_model(built)
    onnx.checker.check_model(model, full_check=True)
    assert parameter_count(model) == PARAMETERS_WITHOUT_CLASSIFIER
    encoder = Encoder(built, outputs=("features", "grid"))
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 3, 299, 299)).astype(np.float32)
    got = encoder.encode_arrays(pictures)
    assert got["grid"].shape == (2, 2048, 8, 8)
    np.testing.assert_allclose(got["features"], got["grid"].mean((2, 3)), atol=1e-5)


def test_equal_seeds_give_equal_files(built: Path, tmp_path: Path) -> None:
    again = build_encoder(tmp_path / "again.onnx", 3)
    assert sha256_file(built) == again.sha256 == sha256_file(tmp_path / "again.onnx")
    one, other = Graph(3), Graph(4)
    for g in (one, other):
        trunk(g)
    assert not np.array_equal(one.weights["conv_0_w"], other.weights["conv_0_w"])


def test_the_default_encoder_is_built_once_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCODERS_CACHE", str(tmp_path / "cache"))
    built: list[int] = []

    def build(path: Path, seed: int) -> None:
        built.append(seed)
        tiny_encoder(path)

    monkeypatch.setattr("encoders.inception.build_encoder", build)
    path = default_encoder(7)
    whole = path.read_bytes()
    assert default_encoder(7) == path
    assert built == [7]
    path.write_bytes(whole[:100])
    assert default_encoder(7).read_bytes() == whole
    assert built == [7, 7]


@pytest.mark.slow
def test_features_tell_pictures_apart(built: Path) -> None:
    """A linear probe on 110 scenes recovers colour and shape of 40 others; one collapsed direction would not."""
    encoder = Encoder(built)
    scenes = [drawn(seed) for seed in range(150)]
    pictures = [prepare(image, encoder.spec.preprocessing) for image, _, _ in scenes]
    parts = [encoder.encode_arrays(np.stack(pictures[k : k + 10])) for k in range(0, 150, 10)]
    features = np.concatenate([part["features"] for part in parts]).astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(150, 1)].mean() < 0.9
    shape, colour = (np.array([scene[k] for scene in scenes]) for k in (1, 2))
    for labels, least in ((colour, 0.95), (shape, 0.85)):
        guessed = probe(features[:110], labels[:110], features[110:])
        assert (guessed == labels[110:]).mean() >= least
