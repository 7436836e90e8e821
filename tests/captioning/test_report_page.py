"""The page as a person uses it, in a headless browser: search, choice, order, how a caption was said."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioning.report import write_reports
from captioning.report.details import details, script_data
from tests.captioning.results import NAMES, NASTY, REFERENCES, one_system, paired_test

GRID = np.zeros((8, 8))
GRID[1, 6] = 0.75
GRID[5, 2] = 0.25


def explained(result: dict[str, Any], name: str) -> None:
    """Gives the LSTM's caption of a picture words with attention and a beam, the GRU's words alone."""
    lstm, gru = (result["systems"][cell]["decoders"]["beam 3"] for cell in ("LSTM", "GRU"))
    looked = [["LSTM", 0.9, GRID.tolist()], ["sees", 0.5, GRID.tolist()], ["endseq", 0.25, GRID.tolist()]]
    lstm["words"] = {name: looked}
    lstm["beams"] = {name: [["LSTM sees a dog", -2.0, -0.5], ["LSTM sees a cat", -3.0, -0.75], ["a dog", -4.0, -1.25]]}
    gru["words"] = {name: [["GRU", 0.4, None], ["endseq", 0.1, None]]}


@pytest.fixture
def result() -> dict[str, Any]:
    systems = {"LSTM": one_system("LSTM", 0.0), "GRU": one_system("GRU", 0.0)}
    for k, name in enumerate(NAMES):
        systems["LSTM"]["per_picture"][name] = {"CIDEr-D": 10.0 * k}
        systems["GRU"]["per_picture"][name] = {"CIDEr-D": 10.0 * k + (5 if k < 3 else -2)}
    for system in systems.values():
        system["decoders"]["beam 3"]["captions"]["p5.jpg"] = "both say so"
    return {
        "title": "LSTM and GRU", "command": "", "date": "2026-11-24", "machine": {}, "seed": 0, "recipe": {},
        "dataset": {"name": "Flickr8k", "train": 6, "validation": 1, "test": 8, "vocabulary": 9},
        "encoder": {"description": "", "hash": ""}, "systems": systems, "tests": [paired_test(-0.5, 0.01, None)],
    }  # fmt: skip


@pytest.fixture(params=[False, True], ids=["embedded", "beside"])
def written(request: pytest.FixtureRequest, result: dict[str, Any], tmp_path: Path) -> Callable[[], Path]:
    """A function that writes the page of the result as it then is."""
    for name in NAMES[1:]:
        Image.new("RGB", (320, 160), (200, 30, 30)).save(tmp_path / name)
    files = lambda name: tmp_path / name if (tmp_path / name).is_file() else None  # noqa: E731
    return lambda: write_reports(result, tmp_path / "out", REFERENCES, files, 60, request.param)[-1]


def names_shown(page: Any) -> list[str]:
    return page.eval_on_selector_all(".card:not([hidden])", "cards => cards.map((card) => card.dataset.name)")


def test_search_choice_and_order(open_page: Any, result: dict[str, Any], written: Callable[[], Path]) -> None:
    page = open_page(written().as_uri())
    assert names_shown(page) == NAMES[::-1]
    page.fill("input[name=search]", "p3.jpg NUMBER")
    assert names_shown(page) == ["p3.jpg"]
    assert page.inner_text(".controls output") == "1 of 8 shown"
    page.fill("input[name=search]", "xylophone")
    assert names_shown(page) == []
    page.fill("input[name=search]", "")
    page.select_option("select[name=which]", "GRU")
    assert names_shown(page) == ["p2.jpg", "p1.jpg", "p0.jpg"]
    page.select_option("select[name=order]", "worst")
    assert names_shown(page) == ["p0.jpg", "p1.jpg", "p2.jpg"]
    page.fill("input[name=search]", "p1.jpg")
    assert names_shown(page) == ["p1.jpg"]
    page.fill("input[name=search]", "")
    page.select_option("select[name=which]", "alike")
    assert names_shown(page) == ["p5.jpg"]
    page.select_option("select[name=which]", "differ")
    assert len(names_shown(page)) == 7
    assert page.problems == []


def test_tables_are_tables(open_page: Any, written: Callable[[], Path]) -> None:
    """Every cell stands under its head: styles of other parts must not reach into the tables."""
    page = open_page(written().as_uri())
    for table in page.locator("table").all():
        heads, cells = (table.locator(part).all() for part in ("thead tr:last-child th", "tbody tr:first-child td"))
        assert len(heads) == len(cells) > 0
        tops = {head.bounding_box()["y"] for head in heads}
        assert len(tops) == 1
        for head, cell in zip(heads, cells, strict=True):
            assert head.bounding_box()["x"] == pytest.approx(cell.bounding_box()["x"], abs=1)


def test_every_picture_is_seen(open_page: Any, written: Callable[[], Path]) -> None:
    page = open_page(written().as_uri())
    page.eval_on_selector_all(
        "img", "all => Promise.all(all.map((one) => { one.loading = 'eager'; return one.decode(); }))"
    )
    widths = page.eval_on_selector_all("img", "all => all.map((one) => one.naturalWidth)")
    assert widths == [224] * 7
    assert page.text_content(".nopicture").startswith("p0.jpg")
    assert page.problems == []


def test_how_a_caption_was_said(open_page: Any, result: dict[str, Any], written: Callable[[], Path]) -> None:
    explained(result, "p4.jpg")
    page = open_page(written().as_uri())
    assert page.locator("button.how").count() == 1
    page.click('.card[data-name="p4.jpg"] button.how')
    first, second = page.locator("dialog section").all()
    assert first.locator(".words b").all_inner_texts() == ["LSTM", "sees", "(end)"]
    assert first.locator(".words small").all_inner_texts() == ["0.90", "0.50", "0.25"]
    assert second.locator(".words b").all_inner_texts() == ["GRU", "(end)"]
    assert (first.locator("canvas").count(), second.locator("canvas, svg").count()) == (3, 0)
    assert page.locator("dialog .head li").count() == 5
    # The tree: what captions begin with alike stands there once.
    drawn = first.locator("svg.tree text:not(.value)").all_text_contents()
    assert drawn == ["LSTM", "sees", "a", "dog", "(end)", "cat", "(end)", "a", "dog", "(end)"]
    assert first.locator("svg.tree .value").all_text_contents() == ["-0.50", "-0.75", "-1.25"]
    assert first.locator("svg.tree path").count() == 8
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.problems == []


def test_light_lies_where_attention_lay(open_page: Any, result: dict[str, Any], written: Callable[[], Path]) -> None:
    explained(result, "p4.jpg")
    page = open_page(written().as_uri())
    page.click('.card[data-name="p4.jpg"] button.how')
    page.wait_for_timeout(300)
    canvas = page.locator("dialog canvas").first
    box = canvas.bounding_box()
    shot = page.screenshot(clip=box, path=None)
    picture = Image.open(io.BytesIO(shot)).convert("L")
    values = np.asarray(picture.resize((8, 8), Image.Resampling.BOX), float)
    assert np.unravel_index(values.argmax(), (8, 8)) == (1, 6)
    assert values[1, 6] > 1.3 * values[5, 2]
    assert values[5, 2] > 1.3 * values[3, 4]


def test_what_a_caption_says_cannot_end_the_script(
    open_page: Any, result: dict[str, Any], written: Callable[[], Path]
) -> None:
    explained(result, "p4.jpg")
    nasty = f"</script>{NASTY}<!--"
    result["systems"]["LSTM"]["decoders"]["beam 3"]["beams"]["p4.jpg"][0][0] = nasty
    result["systems"]["LSTM"]["decoders"]["beam 3"]["captions"]["p4.jpg"] = nasty
    page = open_page(written().as_uri())
    page.click('.card[data-name="p4.jpg"] button.how')
    assert page.locator("dialog .caption").first.inner_text() == " ".join(nasty.split())
    assert page.problems == []


def test_the_page_asks_for_nothing_but_its_pictures(open_page: Any, written: Callable[[], Path]) -> None:
    page = open_page(written().as_uri())
    page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
    page.wait_for_timeout(200)
    assert all(address.startswith(("file:", "data:")) for address in page.asked)


def test_a_map_is_bytes_full_at_the_largest_weight(result: dict[str, Any]) -> None:
    explained(result, "p4.jpg")
    lstm, gru = details(result, NAMES)["p4.jpg"]
    packed = np.frombuffer(base64.b64decode(lstm["words"][0][2]), np.uint8).reshape(lstm["grid"])
    assert lstm["grid"] == [8, 8]
    assert (packed[1, 6], packed[5, 2], packed.sum()) == (255, 85, 340)
    assert gru["words"][0] == ["GRU", 0.4, None]
    assert "beams" not in gru
    assert list(details(result, NAMES)) == ["p4.jpg"]
    text = script_data({"a": "</script>\u2028"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script>\u2028"}
