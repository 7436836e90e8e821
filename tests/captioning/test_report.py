"""The report: right numbers in every form, one whole page, nothing from outside, nothing unescaped."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from captioning.errors import CaptioningError
from captioning.report import markdown_table, terminal_table, write_reports
from captioning.report.curves import charts, epoch_ticks, nice_ticks
from captioning.report.gallery import choose
from captioning.report.numbers import format_p, format_seconds
from captioning.report.thumbnails import embedded
from tests.captioning.results import NAMES, NASTY, REFERENCES, comparison, one_system


@pytest.fixture
def result() -> dict[str, Any]:
    return comparison()


@pytest.fixture
def picture_file(tmp_path: Path) -> Callable[[str], Path | None]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES[:6]:
        Image.new("RGB", (640, 320), (200, 30, 30)).save(folder / name)
    (folder / NAMES[6]).write_bytes((folder / NAMES[0]).read_bytes()[:300])
    return lambda name: folder / name if (folder / name).exists() else None


class _Reader(HTMLParser):
    """Checks that tags nest, and gathers what a browser would run, fetch or show."""

    VOID = {"meta", "img", "input", "br", "line", "circle", "path", "polyline"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str | None] = set()
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.scripts += tag == "script" and values.get("type") != "application/json"
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        self.ids.add(values.get("id"))
        if tag == "img":
            self.images.append(values)
        if tag not in self.VOID:
            self.open.append(tag)
        assert not any(name.startswith("on") for name in values), f"an event handler in <{tag}>"

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None], count: int = 60) -> str:
    paths = write_reports(result, tmp_path / "out", REFERENCES, picture_file, count)
    return paths[-1].read_text(encoding="utf-8")


def test_every_form_is_written_and_the_json_is_the_result(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    paths = write_reports(result, tmp_path / "new" / "out", REFERENCES, picture_file)
    assert [path.name for path in paths] == ["comparison.json", "comparison.md", "report.html"]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == result
    assert paths[1].read_text(encoding="utf-8") == markdown_table(result)
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(path.name for path in paths)


def test_the_page_is_well_formed_self_contained_and_escaped(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    result["systems"]["GRU"]["decoders"]["beam 3"]["captions"]["p1.jpg"] = NASTY
    result["systems"][NASTY] = one_system("own", 0.1)
    result["recipe"][NASTY] = NASTY
    result["protocols"]["COCO"] = NASTY
    page = _page(result, tmp_path, picture_file)
    read = _Reader(page)
    assert read.scripts == 1
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in read.links)
    assert "http://" not in page
    assert "https://" not in page
    assert all(link[1:] in read.ids for link in read.links if link.startswith("#"))
    assert NASTY in read.text
    assert "default-src 'none'" in page


def test_pictures_are_small_copies_with_words_for_those_who_do_not_see_them(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    page = _page(result, tmp_path, picture_file)
    read = _Reader(page)
    assert len(read.images) == 6
    assert all((image["width"], image["height"]) == ("224", "112") for image in read.images)
    assert all("LSTM sees a dog" in str(image["alt"]) for image in read.images)
    assert page.count("is not here or cannot be read") == 2  # one truncated, one missing
    for text in ("GRU sees a dog in p3.jpg", "a dog number 2 on p3.jpg"):
        assert text in read.text


def test_the_number_of_pictures_is_limited(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    read = _Reader(_page(result, tmp_path, picture_file, 3))
    assert "3 of the 8 pictures, spread evenly from the best to the worst" in read.text
    assert len(re.findall("sees a dog in", read.text)) == 6
    assert "All 8 pictures" in _Reader(_page(result, tmp_path, picture_file)).text


def test_pictures_are_spread_from_best_to_worst() -> None:
    names = [f"{k:03d}" for k in range(101)]
    scores = {"A": {name: float(k) for k, name in enumerate(names)}}
    assert choose(names, scores, 5) == ["100", "075", "050", "025", "000"]
    assert choose(names, {}, 3) == ["000", "050", "100"]
    assert choose(names, scores, 1) == ["100"]
    assert choose(names, scores, 0) == []
    assert len(choose(names, scores, 200)) == 101


def test_the_markdown_table_holds_the_numbers_with_the_best_in_bold(result: dict[str, Any]) -> None:
    lines = markdown_table(result).splitlines()
    assert "| LSTM, beam 3 | 60.0 | **18.0** | 45.0 |" in lines
    assert "| GRU, beam 3 | **60.5** | 17.5 | **45.5** |" in lines
    assert "| LSTM, greedy | 50.0 | – | – |" in lines
    assert "| best constant caption | 40.4 | – | 8.4 |" in lines
    assert "| LSTM, the paper | 3.3268 | 0.01695 | 0.19144 |" in lines
    assert "| GRU, beam 3 | 2.7000 | 0.02200 | 0.19000 |" in lines
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {5, 6, 10}  # three columns of numbers, four of the tests, eight of the costs


def test_names_with_bars_do_not_break_the_markdown_table(result: dict[str, Any]) -> None:
    result["systems"]["a|b"] = one_system("own", 0.1)
    row = next(line for line in markdown_table(result).splitlines() if line.startswith(r"| a\|b, greedy"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


def test_the_terminal_shows_every_row(result: dict[str, Any]) -> None:
    result["systems"]["[red]own[/red]"] = one_system("own", 0.1)
    console = Console(width=140, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        for table in terminal_table(result):
            console.print(table)
        text = console.export_text()
    for row in ("LSTM, greedy", "GRU, beam 3", "best constant caption", "LSTM, the paper", "[red]own[/red], greedy"):
        assert row in text


def test_one_system_alone_without_paper_baselines_or_scores(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    for key in ("paper", "baselines", "protocols"):
        del result[key]
    del result["systems"]["GRU"]
    del result["systems"]["LSTM"]["per_picture"]
    result["systems"]["LSTM"]["decoders"]["beam 3"]["metrics"]["COCO"]["SPICE"] = 12.0
    page = _page(result, tmp_path, picture_file)
    read = _Reader(page)
    assert "the LSTM reaches CIDEr-D 45.0" in read.text
    assert "SPICE" in read.text
    assert "beside ours" not in read.text
    assert "for scale" not in read.text


def test_three_systems_and_unequal_epochs(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    result["systems"]["RNN"] = one_system("RNN", -0.5)
    result["systems"]["RNN"]["epochs"] = result["systems"]["RNN"]["epochs"][:1]
    read = _Reader(_page(result, tmp_path, picture_file))
    assert "RNN sees a dog" in read.text
    assert "CIDEr-D (45.5 against 45.0)" in read.text


def test_a_diverged_training_is_refused_by_name_and_nothing_is_written(
    result: dict[str, Any], tmp_path: Path, picture_file: Callable[[str], Path | None]
) -> None:
    result["systems"]["GRU"]["epochs"][1]["train_loss"] = float("nan")
    with pytest.raises(CaptioningError, match="/systems/GRU/epochs/1/train_loss"):
        write_reports(result, tmp_path / "out", REFERENCES, picture_file)
    assert not (tmp_path / "out").exists()


def test_curves_stay_in_their_frame_and_carry_their_values(result: dict[str, Any]) -> None:
    loss, metric = charts(result)
    for points in re.findall(r'points="([^"]*)"', loss + metric):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 48 <= x <= 448
            assert 12 <= y <= 250
    assert loss.count("<polyline") == 4
    assert metric.count("<polyline") == 2
    assert "LSTM training ends at 1.333" in loss
    assert "&quot;2&quot;: &quot;20.5&quot;" in metric


def test_ticks_are_round_and_enclose_the_values() -> None:
    assert nice_ticks([2.08, 4.11]) == [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    for values in ([0.0, 0.0], [3.0], [1e-5, 9e-5], [-3.0, 250.0]):
        ticks = nice_ticks(values)
        assert ticks[0] <= min(values)
        assert max(values) <= ticks[-1]
        assert 2 <= len(ticks) <= 8
    assert epoch_ticks(1, 4) == [1, 2, 3, 4]
    assert epoch_ticks(1, 30) == [1, 5, 10, 15, 20, 25, 30]
    assert epoch_ticks(3, 3) == [3]


def test_times_and_thumbnails(tmp_path: Path) -> None:
    assert [format_seconds(s) for s in (4.25, 59.96, 588.2, 7505.0, None)] == [
        "4.2 s",
        "1 min 00 s",
        "9 min 48 s",
        "2 h 05 min",
        "–",
    ]
    assert [format_p(p) for p in (0.0002, 0.0123, 0.0994, 0.5, None)] == ["< 0.001", "0.012", "0.099", "0.50", "–"]
    Image.new("RGBA", (30, 60), (1, 2, 3, 100)).save(tmp_path / "small.png")
    thumbnail = embedded(lambda name: None if name == "none" else tmp_path / name)
    small = thumbnail("small.png")
    assert small is not None
    assert small[1:] == (30, 60)
    assert thumbnail("nobody.png") is None
    assert thumbnail("none") is None
