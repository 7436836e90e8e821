"""`captioning evaluate`: losses, captions and scores of a split, and what gives them a scale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.config import Decoding
from captioning.corpus import build_vocabulary
from captioning.data import Dataset, load_dataset
from captioning.decode import Hypothesis
from captioning.evaluate import (
    WITHOUT_A,
    Evaluator,
    Scorer,
    decoder_name,
    derangement,
    further_line,
    headline,
    scale_rows,
)
from captioning.metrics import COCO, PROTOCOLS
from captioning.metrics.diversity import DIVERSITY
from captioning.metrics.meteor import meteor_label
from captioning.metrics.significance import intervals
from captioning.text import SCORING, clean
from encoders import Features, open_features
from tests.captioning.tiny import tiny_dataset, tiny_recipe
from tests.captioning.workshop import Outcome, Workshop, captioning, one_error, read_json, write_npz


def evaluate(run: Path, *arguments: Any) -> Outcome:
    return captioning("evaluate", str(run), *map(str, arguments))


@pytest.fixture(scope="module")
def evaluator(workshop: Workshop, run: Path) -> Evaluator:
    stored = load_checkpoint(run / "checkpoint.safetensors")
    return Evaluator.of(stored, load_dataset(workshop.scenes), open_features(workshop.features), "test", "cpu")


def test_the_figures_are_said_and_kept(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "figures.json"
    done = evaluate(run / "checkpoint.safetensors", *workshop.given, "--json", out)
    assert (done.code, done.err) == (0, "")
    figures = read_json(out)
    assert figures["command"].startswith("captioning evaluate checkpoint.safetensors --data scenes")
    assert figures["machine"]["cores"] >= 1
    assert figures["recipe"] == load_checkpoint(run / "checkpoint.safetensors").recipe.to_dict()
    assert figures["split"] == "test"
    assert figures["features"] == "a tiny encoder"
    assert list(figures["decoders"]) == ["greedy", "beam 3"]
    assert f"loss {figures['loss']:.4f} nats a word" in done.out
    for name, block in figures["decoders"].items():
        assert set(block["captions"]) == set(load_dataset(workshop.scenes).names("test"))
        assert f"{name}: {headline(block['metrics'])}" in done.out
        assert set(block["metrics"]) == set(PROTOCOLS)
        assert {*block["metrics"][COCO], "novel", "length"} <= set(block["intervals"])
        for metric, (low, high) in block["intervals"].items():
            assert low <= {**block["metrics"][COCO], **block["further"]}[metric] <= high
        assert set(block["further"]) == {"METEOR", *DIVERSITY}
        assert further_line(block["further"], block["intervals"]) in done.out
    assert f"METEOR {meteor_label()}" in done.out
    last = figures["decoders"]["beam 3"]
    assert last["beams"].keys() == last["captions"].keys()
    for name, beam in last["beams"].items():
        assert beam[0][0] == last["captions"][name]
        assert [score for _, _, score in beam] == sorted((score for _, _, score in beam), reverse=True)
        assert all(log_p <= 0 for _, log_p, _ in beam)
        words = last["words"][name]
        assert " ".join(word for word, _, _ in words[:-1]) == last["captions"][name]
        counted = words if len(words) <= 12 else words[:-1]  # the longest captions end without a word for it
        assert np.log([p for _, p, _ in counted]).sum() == pytest.approx(beam[0][1], abs=0.1)
        assert {weights for *_, weights in words} == {None}
    assert figures["further"]["METEOR"] == meteor_label()
    assert set(figures["per_picture"]) == set(load_dataset(workshop.scenes).names("test"))


def test_the_validation_split_gives_the_loss_of_its_best_epoch(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert evaluate(run, *workshop.given, "--split", "validation", "--json", out).code == 0
    stored, figures = load_checkpoint(run / "checkpoint.safetensors"), read_json(out)
    best = stored.history[stored.best_epoch - 1]["validation_loss"]
    assert figures["loss"] == pytest.approx(best, rel=1e-6)
    assert set(figures["decoders"]["greedy"]["captions"]) == set(load_dataset(workshop.scenes).names("validation"))


def test_an_unknown_split_is_said(workshop: Workshop, run: Path) -> None:
    message = one_error(evaluate(run, *workshop.given, "--split", "dev"))
    assert "no split 'dev'; the splits are train, validation, test" in message


def test_features_of_another_encoder_are_refused_and_both_are_named(
    workshop: Workshop, run: Path, tmp_path: Path
) -> None:
    other = write_npz(tmp_path / "other.npz", workshop)
    message = one_error(evaluate(run, "--data", workshop.scenes, "--features", other))
    assert open_features(workshop.features).encoder in message
    assert open_features(other).encoder in message


def test_missing_features_are_named(workshop: Workshop, evaluator: Evaluator) -> None:
    stored = open_features(workshop.features)
    kept = [name for name in stored.names if name != "scene-00028.jpg"]
    few = Features(kept, {"features": stored.rows(kept)}, stored.encoder, "")
    with pytest.raises(Exception, match=r"1 of 3 pictures have no features: scene-00028\.jpg"):
        Evaluator.of(evaluator.checkpoint, load_dataset(workshop.scenes), few, "test", "cpu")


def without_a(dataset: Dataset) -> dict[str, str]:
    """For each picture its first caption, as a captioner writes that knows no one-letter words."""
    captions = {name: clean(dataset.captions[name][0], SCORING) for name in dataset.names("test")}
    return {name: " ".join(word for word in words if len(word) > 1) for name, words in captions.items()}


def test_a_recipe_that_drops_a_is_scored_twice(workshop: Workshop) -> None:
    dataset = load_dataset(workshop.scenes)
    scorer = Scorer(dataset, "test", tiny_recipe(text__keep_one_letter=False))
    second = COCO + WITHOUT_A
    assert list(scorer.protocols) == [COCO, second, *(name for name in PROTOCOLS if name != COCO)]
    assert "the word 'a' is kept" in scorer.protocols[COCO]
    for name in list(scorer.protocols)[1:]:
        assert "one-letter words such as 'a' are dropped" in scorer.protocols[name]
    scores = scorer.score(without_a(dataset))
    assert set(scores) == set(scorer.protocols)
    assert scores[second]["BLEU-4"] > scores[COCO]["BLEU-4"] + 5
    assert scores[second]["BLEU-1"] == pytest.approx(100)
    assert scores[second]["CIDEr-D"] > scores[COCO]["CIDEr-D"]


def test_a_recipe_that_keeps_a_is_scored_once(workshop: Workshop) -> None:
    dataset = load_dataset(workshop.scenes)
    plain, dropping = (Scorer(dataset, "test", tiny_recipe(text__keep_one_letter=kept)) for kept in (True, False))
    assert list(plain.protocols) == list(PROTOCOLS)
    assert not any("dropped" in text for text in plain.protocols.values())
    captions = without_a(dataset)
    assert set(plain.score(captions)) == set(PROTOCOLS)
    assert plain.score(captions)[COCO] == dropping.score(captions)[COCO]
    perfect = {name: dataset.captions[name][0] for name in dataset.names("test")}
    assert plain.score(perfect)[COCO]["BLEU-4"] == pytest.approx(100)


def test_the_score_of_a_picture_is_its_share_of_the_whole(workshop: Workshop) -> None:
    scorer = Scorer(load_dataset(workshop.scenes), "test", tiny_recipe())
    captions = without_a(load_dataset(workshop.scenes))
    each = [values["CIDEr-D"] for values in scorer.per_picture(captions).values()]
    assert np.mean(each) == pytest.approx(scorer.score(captions)[COCO]["CIDEr-D"])


def test_what_is_novel_is_what_no_training_caption_says_under_either_cleaning(workshop: Workshop) -> None:
    dataset = load_dataset(workshop.scenes)
    seen = clean(dataset.captions[dataset.names("train")[0]][0], SCORING)
    for kept in (True, False):
        scorer = Scorer(dataset, "test", tiny_recipe(text__keep_one_letter=kept))
        said = dict.fromkeys(dataset.names("test"), " ".join(w for w in seen if kept or len(w) > 1))
        assert scorer.measure(said)[1]["novel"] == 0
        said[dataset.names("test")[0]] = "xylophones zigzag"
        statistics, found = scorer.measure(said)
        assert found["novel"] == pytest.approx(100 / 3)
        assert found["distinct"] == pytest.approx(200 / 3)
        assert {metric: found[metric] for metric in ("novel", "length")}.items() <= statistics.scores().items()
    figures = {"METEOR": None, "novel": 3.25, "words used": 7}
    assert further_line(figures, {"novel": (1.0, 5.0)}) == "novel 3.2 % (1.0 to 5.0)  words used 7"


def test_meteor_has_an_interval_where_it_is_measured(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(workshop.scenes)
    said = {name: dataset.captions[name][0] for name in dataset.names("test")}
    monkeypatch.setattr("captioning.evaluate.meteor", lambda said, references: [10.0, 20.0, 60.0])
    statistics, further = Scorer(dataset, "test", tiny_recipe()).measure(said)
    assert further["METEOR"] == pytest.approx(30)
    assert statistics.scores()["METEOR"] == pytest.approx(30)
    low, high = intervals(statistics)["METEOR"]
    assert 10 <= low < 30 < high <= 60


@pytest.mark.parametrize("n", range(2, 51))
def test_a_derangement_moves_everything(n: int) -> None:
    orders = [derangement(n, seed) for seed in range(20)]
    for order in orders:
        assert sorted(order) == list(range(n))
        assert not (order == np.arange(n)).any()
    assert n < 4 or len({tuple(order) for order in orders}) > 1
    np.testing.assert_array_equal(derangement(n, 3), orders[3])


def test_shuffled_captions_come_from_the_features_of_others(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray[Any, Any]] = []

    def recorded(model: Any, features: Any, *rest: Any) -> Any:
        given.append(features.vectors)
        return [[Hypothesis((), 0.0, 0.0)]] * len(features)

    monkeypatch.setattr("captioning.evaluate.decode", recorded)
    decoding = evaluator.checkpoint.recipe.decoding
    assert list(evaluator.captions(decoding)) == list(evaluator.captions(decoding, shuffled=1))
    own, others = given
    np.testing.assert_array_equal(own, evaluator.split.features.vectors)
    assert len(own) == 3
    assert not any((a == b).all() for a, b in zip(own, others, strict=True))
    assert {row.tobytes() for row in own} == {row.tobytes() for row in others}


def test_the_decoders_are_greedy_and_the_recipes_beam(evaluator: Evaluator) -> None:
    assert {name: decoding.beam for name, decoding in evaluator.decoders().items()} == {"greedy": 1, "beam 3": 3}
    for beam, expected in ((1, {"greedy": 1, "beam 3": 3}), (7, {"greedy": 1, "beam 7": 7})):
        evaluator.checkpoint.recipe = evaluator.checkpoint.recipe.with_overrides({"decoding.beam": beam})
        assert {name: decoding.beam for name, decoding in evaluator.decoders().items()} == expected
    evaluator.checkpoint.recipe = evaluator.checkpoint.recipe.with_overrides({"decoding.beam": 3})
    assert decoder_name(Decoding(beam=4, max_length=9, length_normalisation=0.0)) == "beam 4"


def test_the_rows_that_give_a_scale(workshop: Workshop) -> None:
    dataset = load_dataset(workshop.scenes)
    scorer = Scorer(dataset, "test", tiny_recipe())
    rows = scale_rows(dataset, scorer)
    assert list(rows) == ["best constant caption", "one human against the other 4"]
    constant = rows["best constant caption"]["note"]
    written = {" ".join(clean(caption, SCORING)) for _, caption in dataset.pairs("train")}
    assert constant in written
    everywhere = dict.fromkeys(dataset.names("test"), constant)
    assert rows["best constant caption"]["metrics"][COCO] == scorer.score(everywhere)[COCO]
    human = rows["one human against the other 4"]["metrics"][COCO]
    assert human["CIDEr-D"] > rows["best constant caption"]["metrics"][COCO]["CIDEr-D"]


def test_without_second_references_there_is_no_human_row() -> None:
    dataset = tiny_dataset(captions=1)
    assert list(scale_rows(dataset, Scorer(dataset, "test", tiny_recipe()))) == ["best constant caption"]


def test_the_vocabulary_of_a_checkpoint_is_used_not_that_of_the_data(workshop: Workshop, run: Path) -> None:
    """Evaluation on captions with other words takes the words that the captioner knows."""
    stored = load_checkpoint(run / "checkpoint.safetensors")
    data = load_dataset(workshop.scenes)
    captions = {name: (*texts, "xylophones zigzag") for name, texts in data.captions.items()}
    more = Dataset(data.name, captions, data.splits, None)
    assert len(build_vocabulary(more, stored.recipe)) == len(stored.vocabulary) + 2
    evaluator = Evaluator.of(stored, more, open_features(workshop.features), "test", "cpu")
    assert np.isfinite(evaluator.loss())
    assert set(np.unique(evaluator.split.ids)) <= set(range(len(stored.vocabulary)))
