"""The metrics against nltk, against plain versions written from the definitions, and by hand."""

import math
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import corpus_bleu as nltk_corpus_bleu
from nltk.translate.bleu_score import sentence_bleu as nltk_sentence_bleu

from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.metrics import COCO, PAPER_PLAIN, PAPER_SMOOTHED, PROTOCOLS, CiderD, evaluate
from captioning.metrics.bleu import corpus_bleu, sentence_bleu
from captioning.metrics.rouge import lcs_length, rouge_l, rouge_l_f1

Caption = list[str]
Pair = tuple[Caption, list[Caption]]

WORDS = st.sampled_from(["a", "man", "dog", "runs", "on", "grass"])
captions = st.lists(WORDS, max_size=9)
full_captions = st.lists(WORDS, min_size=4, max_size=9)


def corpora(candidate: st.SearchStrategy[Caption]) -> st.SearchStrategy[list[Pair]]:
    references = st.lists(st.lists(WORDS, min_size=1, max_size=9), min_size=1, max_size=3)
    return st.lists(st.tuples(candidate, references), min_size=1, max_size=5)


def split(pairs: list[Pair]) -> tuple[dict[str, Caption], dict[str, list[Caption]]]:
    return {f"{i}.jpg": c for i, (c, _) in enumerate(pairs)}, {f"{i}.jpg": r for i, (_, r) in enumerate(pairs)}


def words(text: str) -> Caption:
    return text.split()


# BLEU


@settings(deadline=None)
@given(corpora(full_captions))
def test_corpus_bleu_is_nltks(pairs: list[Pair]) -> None:
    ours = corpus_bleu(pairs)
    for n in range(1, 5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # nltk warns where an order has no match
            theirs = nltk_corpus_bleu([r for _, r in pairs], [c for c, _ in pairs], [1 / n] * n)
        assert ours[n - 1] == pytest.approx(theirs, rel=1e-12, abs=1e-70)


@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=9), st.lists(WORDS, min_size=1, max_size=9))
def test_sentence_bleu_is_nltks_with_and_without_method1(candidate: Caption, reference: Caption) -> None:
    smoothed = nltk_sentence_bleu([reference], candidate, smoothing_function=SmoothingFunction().method1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plain = nltk_sentence_bleu([reference], candidate)
    assert sentence_bleu(candidate, [reference]) == [pytest.approx((plain, smoothed), rel=1e-12, abs=1e-70)]


def test_a_word_counts_as_often_as_in_one_reference() -> None:
    references = [words("the cat is on the mat"), words("there is a cat on the mat")]
    assert corpus_bleu([(words("the the the the the the the"), references)])[0] == pytest.approx(2 / 7)


def test_captions_shorter_than_the_order_offer_no_ngrams() -> None:
    pairs = [(words("a dog"), [words("a dog")]), (words("a man runs on"), [words("a man runs on")])]
    assert corpus_bleu(pairs) == (1, 1, 1, 1)  # nltk counts one possible 3-gram and 4-gram for "a dog"


def test_the_closest_reference_length_and_the_shorter_of_two() -> None:
    references = [words("a b c d e f"), words("a b")]
    assert corpus_bleu([(words("a b c d"), references)])[0] == 1  # 2 and 6 are equally close: no penalty
    shorter = corpus_bleu([(words("a b c d e"), references)])[0]
    assert shorter == pytest.approx(math.exp(1 - 6 / 5))


# ROUGE-L


def plain_lcs(first: Caption, second: Caption) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(deadline=None)
@given(st.lists(WORDS, max_size=80), captions)
def test_common_subsequence_is_the_tables(first: Caption, second: Caption) -> None:
    assert lcs_length(first, second) == plain_lcs(first, second) == lcs_length(second, first)


def test_rouge_by_hand() -> None:
    candidate, reference = words("police killed the gunman"), words("police kill the gunman now")
    precision, recall = 3 / 4, 3 / 5
    assert rouge_l_f1(candidate, reference) == pytest.approx(2 * precision * recall / (precision + recall))
    coco = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(candidate, [reference]) == pytest.approx(coco)


def test_coco_rouge_joins_the_best_precision_and_the_best_recall() -> None:
    candidate = words("a b c d")
    references = [words("a b c x y z x y z"), words("a b")]  # P 3/4, R 1/3 and P 2/4, R 1
    assert rouge_l(candidate, references) == pytest.approx(2.44 * 0.75 * 1 / (1 + 1.44 * 0.75))


# CIDEr-D


def plain_cider(candidate: Caption, own: list[Caption], corpus: dict[str, list[Caption]]) -> float:
    """From the definition, one order at a time, with dense vectors; document frequencies over `corpus`."""

    def grams(caption: Caption, n: int) -> Counter[str]:
        return Counter(" ".join(caption[i : i + n]) for i in range(len(caption) - n + 1))

    total = 0.0
    for n in range(1, 5):
        space = {g for r in own for g in grams(r, n)} | set(grams(candidate, n))
        mentioned = [{g for r in some for g in grams(r, n)} for some in corpus.values()]
        held = {g: sum(g in some for some in mentioned) for g in space}
        idf = {g: math.log(len(corpus) / max(1, count)) for g, count in held.items()}
        x = {g: grams(candidate, n)[g] * idf[g] for g in space}
        for reference in own:
            y = {g: grams(reference, n)[g] * idf[g] for g in space}
            norms = math.hypot(*x.values()) * math.hypot(*y.values())
            dot = sum(min(x[g], y[g]) * y[g] for g in space)
            if norms:
                total += math.exp(-((len(candidate) - len(reference)) ** 2) / 72) * dot / norms / len(own)
    return 10 * total / 4


@settings(deadline=None)
@given(corpora(captions))
def test_cider_is_the_definitions(pairs: list[Pair]) -> None:
    candidates, references = split(pairs)
    expected = {name: plain_cider(words, references[name], references) for name, words in candidates.items()}
    assert CiderD(references).scores(candidates) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    mean = sum(expected.values()) / len(expected)
    assert CiderD(references).mean(candidates) == pytest.approx(mean, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(corpora(captions), corpora(captions), st.lists(st.lists(st.sampled_from(["dog", "a", "xylophone", "zebra"]))))
def test_cider_rewards_are_the_definitions(pairs: list[Pair], others: list[Pair], said: list[Caption]) -> None:
    """Many captions of a picture, words that no reference has, and document frequencies of other pictures."""
    _, references = split(pairs)
    _, corpus = split(others)
    names = [list(references)[k % len(references)] for k in range(len(said))]
    for counted in (references, corpus):
        expected = [plain_cider(words, references[n], counted) for n, words in zip(names, said, strict=True)]
        scorer = CiderD(references, None if counted is references else counted)
        assert scorer.rewards(names, said).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.data
def test_cider_of_real_captions_is_the_definitions(real_data: Path) -> None:
    references = load_dataset(real_data / "flickr8k").references("test")
    names = list(references)[::200]
    said = [references[name][1] for name in reversed(names)] + [references[name][0][:-2] for name in names]
    expected = [plain_cider(words, references[name], references) for name, words in zip(names * 2, said, strict=True)]
    assert CiderD(references).rewards(names * 2, said).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cider_by_hand() -> None:
    references = {"1": [words("a dog runs")], "2": [words("a cat sits")]}
    scores = CiderD(references).scores({"1": words("a dog runs"), "2": words("a dog sits")})
    # Of three words there is no 4-gram, so a perfect caption gets 3 of 4 orders.
    assert scores["1"] == pytest.approx(10 * 3 / 4)
    # 1-grams: dog and sits weigh log 2 each, "a" nothing; one of two agrees with one of two: 1/2.
    assert scores["2"] == pytest.approx(10 * 0.5 / 4)


def test_cider_punishes_another_length() -> None:
    references = {"1": [words("dog")], "2": [words("cat")]}
    scores = CiderD(references).scores({"1": words("dog dog dog"), "2": words("cat")})
    assert scores["2"] == pytest.approx(10 / 4)
    # The count is clipped to the reference's, the norm is not.
    assert scores["1"] == pytest.approx(10 / 4 / 3 * math.exp(-4 / 72))


def test_cider_of_a_single_picture_is_zero() -> None:
    assert CiderD({"1": [words("a dog runs fast")]}).mean({"1": words("a dog runs fast")}) == 0


# Protocols

PERFECT = {
    "1": [words("a dog runs on grass"), words("the brown dog is running fast")],
    "2": [words("two men sit on a bench"), words("some people are sitting in a park")],
}


def test_a_perfect_candidate_scores_full_marks() -> None:
    single = {name: own[:1] for name, own in PERFECT.items()}
    scores = evaluate({name: own[0] for name, own in single.items()}, single)
    assert scores[COCO] == pytest.approx(
        {"BLEU-1": 100, "BLEU-2": 100, "BLEU-3": 100, "BLEU-4": 100, "ROUGE-L": 100, "CIDEr-D": 1000}
    )
    for protocol in (PAPER_SMOOTHED, PAPER_PLAIN):
        assert scores[protocol] == pytest.approx({"BLEU-4": 1, "ROUGE-L": 1})


def test_the_two_readings_of_the_papers_averages() -> None:
    candidates = {name: own[0] for name, own in PERFECT.items()}
    scores = evaluate(candidates, PERFECT)
    method1 = SmoothingFunction().method1
    smoothed = [
        nltk_sentence_bleu([r], candidates[n], smoothing_function=method1) for n, own in PERFECT.items() for r in own
    ]
    assert scores[PAPER_SMOOTHED]["BLEU-4"] == pytest.approx(sum(smoothed) / 4)
    assert scores[PAPER_PLAIN]["BLEU-4"] == pytest.approx(0.5)  # perfect with one, nothing with the other
    assert scores[PAPER_SMOOTHED]["ROUGE-L"] == pytest.approx(1)  # the best reference
    others = [rouge_l_f1(candidates[n], own[1]) for n, own in PERFECT.items()]
    assert scores[PAPER_PLAIN]["ROUGE-L"] == pytest.approx((2 + sum(others)) / 4)


@settings(deadline=None)
@given(corpora(captions))
def test_scores_are_finite_and_in_range(pairs: list[Pair]) -> None:
    for metrics in evaluate(*split(pairs)).values():
        for metric, score in metrics.items():
            assert 0 <= score <= (1000 if metric == "CIDEr-D" else 100) * (1 + 1e-9)


@settings(deadline=None)
@given(corpora(captions), st.randoms())
def test_the_order_of_pictures_and_references_does_not_matter(pairs: list[Pair], random: object) -> None:
    candidates, references = split(pairs)
    names = sorted(candidates, reverse=True)
    shuffled = {name: references[name][::-1] for name in names}
    turned = evaluate({name: candidates[name] for name in names}, shuffled)
    for protocol, metrics in evaluate(candidates, references).items():
        assert turned[protocol] == pytest.approx(metrics, rel=1e-9)


def test_empty_candidates_score_zero() -> None:
    for metrics in evaluate({key: [] for key in PERFECT}, PERFECT).values():
        assert set(metrics.values()) == {0}


def test_every_protocol_is_described() -> None:
    assert set(PROTOCOLS) == set(evaluate({key: ["a"] for key in PERFECT}, PERFECT))


def test_captions_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(CaptioningError, match="no candidate captions"):
        evaluate({}, {})
    with pytest.raises(CaptioningError, match="1 have only one of the two, such as 2"):
        evaluate({"1": ["a"]}, PERFECT)
    with pytest.raises(CaptioningError, match="1 has no reference caption"):
        evaluate({"1": ["a"]}, {"1": []})
    with pytest.raises(CaptioningError, match="lists of words, but 1 has a plain string"):
        evaluate({"1": "a dog"}, {"1": [["a"]]})
    with pytest.raises(CaptioningError, match="3 has a candidate but no reference"):
        CiderD(PERFECT).scores({"3": ["a"]})
    with pytest.raises(CaptioningError, match="no candidate captions"):
        CiderD(PERFECT).mean({})
