"""Captions and features as batches: nothing lost, nothing twice, inputs beside their targets."""

import math
from typing import Any

import numpy as np
import pytest

from captioning.corpus import Split, build_split, build_vocabulary
from captioning.errors import CaptioningError
from captioning.model import Batch, Captioner
from captioning.text import SCORING, clean
from captioning.vocabulary import Vocabulary
from encoders import Features, MissingFeatures
from tests.captioning.tiny import FEATURES, tiny_dataset, tiny_features, tiny_recipe, tiny_split

Made = tuple[Captioner, Split, Vocabulary]


@pytest.fixture
def made() -> Made:
    return tiny_split(tiny_recipe(model__standardise_features=False))


def unpacked(batch: Batch) -> list[tuple[Any, list[int]]]:
    """(features, word numbers with both markers) of each caption; inputs and targets must agree."""
    out = []
    for k, length in enumerate(batch.packing.lengths):
        rows = np.flatnonzero(batch.packing.sequence_of_row == k)
        assert len(rows) == length
        read, wanted = batch.inputs[rows].tolist(), batch.targets[rows].tolist()
        assert read[1:] == wanted[:-1]
        out.append((batch.vectors[k], [*read, wanted[-1]]))
    return out


@pytest.mark.parametrize("together", [1, 2, 3, 50])
def test_an_epoch_holds_every_caption_once_with_its_own_picture(made: Made, together: int) -> None:
    _, split, vocabulary = made
    dataset = tiny_dataset()
    rows = tiny_features(dataset).rows(split.names)
    batches = list(split.batches(together, np.random.default_rng(1)))
    assert len(batches) == math.ceil(len(split.names) / together)
    found = []
    for batch in batches:
        for features, ids in unpacked(batch):
            picture = int(np.flatnonzero((rows == features.astype(np.float32)).all(1))[0])
            assert ids[0] == vocabulary.start
            assert ids[-1] == vocabulary.end
            found.append((split.names[picture], vocabulary.decode(ids)))
    expected = [(name, " ".join(clean(caption, SCORING))) for name, caption in dataset.pairs("train")]
    assert sorted(found) == sorted(expected)
    assert sum(b.packing.rows for b in batches) == split.words


def test_all_captions_of_a_picture_are_in_one_batch(made: Made) -> None:
    _, split, _ = made
    homes: dict[bytes, set[int]] = {}
    for k, batch in enumerate(split.batches(2, np.random.default_rng(0))):
        pictures = {row.tobytes() for row in batch.vectors}
        assert len(pictures) <= 2
        for picture in pictures:
            homes.setdefault(picture, set()).add(k)
    assert len(homes) == len(split.names)
    assert all(len(batches) == 1 for batches in homes.values())


def test_rows_are_packed_by_time_with_the_longest_first(made: Made) -> None:
    _, split, vocabulary = made
    for batch in split.batches(3, np.random.default_rng(2)):
        packing = batch.packing
        assert packing.order.tolist() == list(range(packing.batch))
        assert (np.diff(packing.lengths) <= 0).all()
        assert (batch.inputs[: packing.batch_sizes[0]] == vocabulary.start).all()
        assert vocabulary.pad not in batch.inputs
        assert vocabulary.pad not in batch.targets
        assert vocabulary.end not in batch.inputs
        assert len(batch.inputs) == len(batch.targets) == packing.rows


def test_the_order_follows_the_generator(made: Made) -> None:
    _, split, _ = made

    def order(seed: int | None) -> list[bytes]:
        rng = None if seed is None else np.random.default_rng(seed)
        return [batch.vectors[0].tobytes() for batch in split.batches(1, rng)]

    assert order(1) == order(1) != order(2)
    assert order(None) == [row.tobytes() for row in split.features.vectors]


def test_captions_are_cut_to_max_length() -> None:
    _, whole, _ = tiny_split(tiny_recipe(text__max_length=40))
    _, cut, vocabulary = tiny_split(tiny_recipe(text__max_length=5))
    assert whole.lengths.max() > 5
    assert cut.lengths.max() == 5 == cut.ids.shape[1]
    for before, ids, n in zip(whole.ids, cut.ids, cut.lengths, strict=True):
        assert ids[: n - 1].tolist() == before[: n - 1].tolist()
        assert ids[n - 1] == vocabulary.end


def test_rare_words_become_unknown_or_go() -> None:
    kept, dropped = (tiny_split(tiny_recipe(text__min_count=4, text__unknown_token=u))[1:] for u in (True, False))
    assert kept[1].unknown is not None
    assert (kept[0].ids == kept[1].unknown).any()
    assert dropped[1].unknown is None
    assert dropped[0].words == kept[0].words - (kept[0].ids == kept[1].unknown).sum()


def features_without(dataset: Any, name: str) -> Features:
    whole = tiny_features(dataset)
    names = [n for n in whole.names if n != name]
    return Features(names, {"features": whole.rows(names)}, whole.encoder, whole.description)


@pytest.mark.parametrize("name", ["train3.jpg", "validation1.jpg"])
def test_missing_features_are_named(name: str) -> None:
    dataset, recipe = tiny_dataset(), tiny_recipe()
    vocabulary = build_vocabulary(dataset, recipe)
    model = Captioner(recipe, len(vocabulary), FEATURES)
    with pytest.raises(MissingFeatures, match=name):
        build_split(dataset, name.rstrip("0123456789.jpg"), recipe, vocabulary, features_without(dataset, name), model)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_named(bad: float) -> None:
    dataset, recipe = tiny_dataset(), tiny_recipe()
    vocabulary, whole = build_vocabulary(dataset, recipe), tiny_features(dataset)
    rows = whole.rows(whole.names)
    rows[whole.names.index("train4.jpg"), 2] = bad
    features = Features(whole.names, {"features": rows}, whole.encoder, whole.description)
    model = Captioner(recipe, len(vocabulary), FEATURES)
    with pytest.raises(CaptioningError, match=r"1 pictures.*train4\.jpg"):
        build_split(dataset, "train", recipe, vocabulary, features, model)
