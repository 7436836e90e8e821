"""Gates of a captioner: what is shown is what it computed, what is held is held, and prices are losses."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from captioning.checkpoint import load_checkpoint
from captioning.corpus import mean_loss
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.study import PICTURE, Studied, held, interventions_of, price, study_server
from encoders import open_features
from rnncore.study import Clamp, removed, silenced
from rnncore.study.server import Server
from tests.browser import Open
from tests.captioning.workshop import Workshop, captioning, one_error, read_json


def studied_of(workshop: Workshop, folder: Path, name: str = "GRU") -> Studied:
    checkpoint = load_checkpoint(folder / "checkpoint.safetensors")
    return Studied.of(name, checkpoint, load_dataset(workshop.scenes), open_features(workshop.features), "test")


def three_words(studied: Studied) -> list[str]:
    """Words of the first caption."""
    return studied.vocabulary.decode(studied.split.ids[0]).split()[:3]


@pytest.fixture
def studied(workshop: Workshop, run: Path) -> Studied:
    return studied_of(workshop, run)


@pytest.fixture(scope="module")
def lstm(workshop: Workshop) -> Path:
    """An LSTM whose first state is made of the picture."""
    folder = workshop.folder / "lstm-init"
    arguments = ("--quiet", "--set", "model.cell=LSTM", "--set", "model.picture=init", "--set", "training.epochs=1")
    done = captioning(*workshop.train(folder, *arguments))
    assert done.code == 0, done.err
    return folder


def test_a_run_is_what_the_model_computed_word_by_word(studied: Studied) -> None:
    one = studied.reading(0, studied.caption(0)[:4] or [3, 4])
    run, model = one.run([0]), studied.model
    assert run.tokens is not None
    assert run.tokens[0][0] == "startseq"
    state = model.start(one.split.features)
    for t, word in enumerate(one.split.ids[0, :-1]):
        log_p, state = model.step(state, np.array([word]))
        np.testing.assert_allclose(run["h"][t, 0], state.cells[-1][0][0], atol=1e-6)
        (best, probability), *_ = one.following(1)[t]
        assert best == studied.vocabulary.words[int(log_p[0].argmax())]
        assert probability == pytest.approx(float(np.exp(log_p[0].max())), rel=1e-4)
    assert run.gradients["update"].any()


def test_runs_over_a_split_have_the_words_of_its_captions(studied: Studied) -> None:
    run = studied.run(range(6))
    assert run.batch == 6
    assert sorted(run.lengths) == sorted(studied.split.lengths[:6] - 1)
    chosen = zip(studied.split.ids[:6], studied.split.lengths[:6], strict=True)
    words = {tuple(studied.vocabulary.words[w] for w in ids[: n - 1]) for ids, n in chosen}
    assert set(run.tokens or ()) == words


def test_a_picture_read_as_the_first_word_is_a_step_of_its_own(workshop: Workshop) -> None:
    folder = workshop.folder / "pre"
    done = captioning(*workshop.train(folder, "--quiet", "--set", "model.picture=pre", "--set", "training.epochs=1"))
    assert done.code == 0, done.err
    one = studied_of(workshop, folder)
    run = one.reading(0, [3, 4]).run([0])
    assert run.labels()[:2] == [PICTURE, "startseq"]
    assert run.steps == 4


def test_gates_are_held_in_losses_and_in_decoding_and_let_go(studied: Studied) -> None:
    model, before = studied.model, mean_loss(studied.model, studied.split)
    written = studied.caption(0)
    with held(model, [removed(model.network.cells[0], "reset"), Clamp("update", 0.25, [1])]):
        run = studied.run([0])
        assert (run["reset"][run.real] == 1).all()
        np.testing.assert_allclose(run["update"][run.real][:, 1], 0.25, rtol=1e-6)
        assert mean_loss(model, studied.split) != before
        held_state = model.step(model.start(studied.split.features), np.full(len(studied.split.names), 3))[1]
    with pytest.raises(KeyError), held(model, [Clamp("forget", 0.5)]):
        pass
    assert mean_loss(model, studied.split) == before
    assert studied.caption(0) == written
    free = model.step(model.start(studied.split.features), np.full(len(studied.split.names), 3))[1]
    assert np.abs(free.cells[0][0] - held_state.cells[0][0]).max() > 1e-4


def test_the_price_of_silence_is_the_loss_of_a_model_without_recurrence(studied: Studied) -> None:
    model = studied.model
    found = price(studied, silenced(model.network.cells[0]))
    shut = replace(studied)
    kept = model.params.copy()
    model.params["rnn.W"][-8:] = 0  # the candidate: h stays at 0
    model.params["rnn.U"][-8:] = 0
    for name in ("rnn.b", "rnn.b_U"):
        model.params[name][-8:] = 0
    assert found.loss == pytest.approx(mean_loss(shut.model, shut.split), rel=1e-5)
    model.params.flat[...] = kept.flat


def test_what_is_left_of_the_picture(workshop: Workshop, studied: Studied, lstm: Path) -> None:
    """A merge model adds the picture behind its gates; one that begins with the picture has it from them alone."""
    begins = studied_of(workshop, lstm, "LSTM")
    assert price(begins, silenced(begins.model.network.cells[0])).picture == pytest.approx(0, abs=1e-6)
    assert abs(price(begins, []).picture) > 1e-5
    assert abs(price(studied, silenced(studied.model.network.cells[0])).picture) > 1e-5


def test_losses_can_be_taken_over_the_first_pictures(studied: Studied) -> None:
    few, names = studied.first(2), studied.split.names
    assert few.split.names == names[:2]
    assert studied.first(None) is studied
    batch, words = few.split.batch(np.arange(len(few.split.ids))), few.split.words
    assert words == sum(
        studied.split.lengths[studied.split.of_picture[k]].sum() - len(studied.split.of_picture[k]) for k in (0, 1)
    )
    assert mean_loss(studied.model, few.split) == pytest.approx(studied.model.loss(batch), rel=1e-6)


def test_every_gate_has_its_interventions(studied: Studied) -> None:
    found = interventions_of(studied.run(range(4)))
    gates = ("reset frozen", "reset removed", "update frozen", "update removed", "candidate frozen")
    assert tuple(found) == (*gates, "all units silenced")


def test_words_and_pictures_that_are_not_there_are_refused(studied: Studied) -> None:
    with pytest.raises(CaptioningError, match=r"'zebrra' is not in the vocabulary of \d+ words"):
        studied.words_of("a zebrra")
    with pytest.raises(CaptioningError, match=r"no picture 'nothing\.jpg' in this split; did you mean"):
        studied.picture_number("nothing.jpg")
    with pytest.raises(CaptioningError, match=r"at most \d+ words here, got 500"):
        studied.words_of("a " * 500)


def test_the_command_writes_a_page_for_every_model(
    workshop: Workshop, run: Path, lstm: Path, tmp_path: Path, open_page: Open
) -> None:
    page = tmp_path / "new" / "study.html"
    done = captioning("study", str(run), str(lstm), *workshop.given, "--page", str(page), "--words", "a")
    assert done.code == 0, done.err
    found = open_page(page.as_uri())
    assert found.problems == []
    assert [address for address in found.asked if not address.startswith(("file:", "data:"))] == []
    assert found.locator("#systems button").all_inner_texts() == ["GRU", "LSTM"]
    assert [chip.split("\n")[0] for chip in found.locator("#words button").all_inner_texts()] == ["startseq", "a"]
    assert found.locator("#shown").get_attribute("src").startswith("data:image/jpeg")
    assert found.get_by_label("hold reset").count() == 0
    studied = studied_of(workshop, run)
    expected = studied.reading(0, studied.words_of("a")).run([0])
    np.testing.assert_allclose(found.evaluate("study.values.update"), expected["update"][:, 0], rtol=1e-6)


@pytest.fixture
def served(workshop: Workshop, run: Path, lstm: Path) -> Iterator[Server]:
    models = [studied_of(workshop, run), studied_of(workshop, lstm, "LSTM")]
    server = study_server(models, load_dataset(workshop.scenes), models[0].split.names[0], "")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_served_page_reads_other_words_and_holds_gates(
    served: Server, workshop: Workshop, run: Path, open_page: Open
) -> None:
    found, studied = open_page(served.address), studied_of(workshop, run)
    three = three_words(studied)
    found.locator("#picture").select_option(studied.split.names[1])
    found.locator("#sentence").fill(" ".join(three))
    found.get_by_role("button", name="run").click()
    found.wait_for_function("study.systems[0].tokens.length === 4")
    expected = studied.reading(1, studied.words_of(" ".join(three))).run([0])
    np.testing.assert_allclose(found.evaluate("study.values.update"), expected["update"][:, 0], rtol=1e-6)
    found.get_by_label("hold update", exact=True).check()
    found.get_by_label("value of update", exact=True).fill("0.75")
    found.wait_for_function("Math.abs(study.values.update[2][0] - 0.75) < 1e-6")
    with held(studied.model, [Clamp("update", 0.75, [0])]):
        expected = studied.reading(1, studied.words_of(" ".join(three))).run([0])
    np.testing.assert_allclose(found.evaluate("study.values.h"), expected["h"][:, 0], atol=1e-6)
    found.locator("#sentence").fill("a zebrra")
    found.get_by_role("button", name="run").click()
    found.wait_for_function("document.getElementById('error').textContent.includes('zebrra')")
    assert found.evaluate("study.values.h.length") == 4  # what was shown stays


def test_the_command_measures_and_keeps_all(workshop: Workshop, run: Path, lstm: Path, tmp_path: Path) -> None:
    file = tmp_path / "measures.json"
    done = captioning("study", str(run), str(lstm), *workshop.given, "--json", str(file), "--captions", "9", "--quiet")
    assert done.code == 0, done.err
    kept = read_json(file)
    assert list(kept["models"]) == ["GRU", "LSTM"]
    found = kept["models"]["LSTM"]
    assert len(found["half_life"]) == 8
    assert found["captions"] == 9
    assert list(found["gates_by_epoch"][0][0]) == ["input", "forget", "output", "candidate"]
    assert found["gradient_by_lag"]["median"][0] == 1
    assert set(found["prices"]) >= {"as trained", "forget removed", "forget bias +1", "all units silenced"}
    trained = studied_of(workshop, lstm, "LSTM")
    assert found["prices"]["as trained"]["loss"] == pytest.approx(mean_loss(trained.model, trained.split), abs=1e-5)
    assert "picture's information" in done.out
    assert str(workshop.folder) not in json.dumps({k: v for k, v in kept.items() if k != "command"})
    assert not (tmp_path / "study.html").exists()


def test_the_command_prints_a_unit_and_saves_every_step(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    saved, studied = tmp_path / "saved", studied_of(workshop, run)
    three = three_words(studied)
    words = ("--words", " ".join(three), "--unit", "2", "--save", str(saved))
    done = captioning("study", str(run / "checkpoint.safetensors"), *workshop.given, *words)
    assert done.code == 0, done.err
    assert three[2] in done.out
    values: dict[str, Any] = load_file(saved / "GRU.safetensors")
    expected = studied.reading(0, studied.words_of(" ".join(three))).run([0])
    np.testing.assert_allclose(values["value/update"], expected["update"], rtol=1e-6)
    assert (saved / "GRU.csv").read_text().count("\n") == 1 + 4 * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--unit", "8"), "GRU has units 0 to 7, not 8"),
        (("--picture", "nothing.jpg"), "no picture 'nothing.jpg'"),
        (("--words", "zebrra"), "'zebrra' is not in the vocabulary"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: tuple[str, ...], message: str, workshop: Workshop, run: Path, tmp_path: Path
) -> None:
    page = ("--page", str(tmp_path / "study.html"))
    assert message in one_error(captioning("study", str(run), *workshop.given, *page, *arguments))
    assert list(tmp_path.iterdir()) == []
