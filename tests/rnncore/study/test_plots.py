"""Pictures show the numbers: what is asserted is the data drawn, not pixels."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")
import matplotlib.pyplot as plt

from rnncore.study import gradient_by_lag, half_life, perturbation, plots, saturation, spectrum, usage
from tests.rnncore.study.runs import LENGTHS, small_run

TOKENS = [["the", "dog", "runs", "on", "the", "grass"], ["the", "a", "b"], [], list("abcde")]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def image(axes: plt.Axes) -> np.ndarray:
    [found] = axes.get_images()
    return np.asarray(found.get_array())


def test_a_heat_map_has_a_row_a_unit_and_a_word_a_column() -> None:
    run = small_run(tokens=TOKENS)
    axes = plots.heat(run, "forget", sequence=3, units=[2, 0])
    np.testing.assert_array_equal(image(axes), run["forget"][:5, 3][:, [2, 0]].T)
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abcde")
    assert axes.get_images()[0].get_clim() == (0, 1)
    signed = plots.heat(run, "c")
    low, high = signed.get_images()[0].get_clim()
    assert high == -low == np.abs(run["c"][:, 0]).max()


def test_a_heat_map_takes_the_axes_given_and_returns_them() -> None:
    run = small_run("GRU")
    _, axes = plt.subplots()
    for draw in (
        lambda: plots.heat(run, "update", axes=axes),
        lambda: plots.lines(run, 0, axes=axes),
        lambda: plots.trajectory(run, axes=axes),
        lambda: plots.histogram(run, axes=axes),
        lambda: plots.saturation_scatter(run, axes=axes),
        lambda: plots.half_lives(run, axes=axes),
        lambda: plots.eigenvalues(run, axes=axes),
        lambda: plots.gradient_flow(run, axes=axes),
        lambda: plots.memory(run, axes=axes),
        lambda: plots.usage_over_epochs([usage(run)], axes=axes),
        lambda: plots.saturation_over_epochs([usage(run)], axes=axes),
    ):
        assert draw() is axes


def test_the_forty_liveliest_units_of_many_are_shown() -> None:
    run = small_run(H=60, lengths=[6])
    shown = image(plots.heat(run, "c"))
    assert shown.shape == (40, 6)
    kept = np.sort(run["c"][:, 0].std(0))[-40:]
    np.testing.assert_allclose(np.sort(shown.std(1)), kept)
    assert (np.diff(shown.mean(1)) <= 0).all()


def test_cells_side_by_side_show_one_unit_a_row() -> None:
    lstm, gru = small_run("LSTM", tokens=TOKENS), small_run("GRU", tokens=TOKENS)
    grid = plots.side_by_side([lstm, gru])
    assert grid.shape == (5, 2)
    assert grid[0, 0].get_title() == "LSTM: input"
    assert not grid[4, 1].get_images()
    order = [int(np.flatnonzero((lstm["c"][:, 0] == row[:, None]).all(0))[0]) for row in image(grid[4, 0])]
    np.testing.assert_array_equal(image(grid[1, 0]), lstm["forget"][:, 0, order].T)
    assert [label.get_text() for label in grid[3, 1].get_xticklabels()] == TOKENS[0]


def test_lines_are_the_gates_of_one_unit() -> None:
    run = small_run(tokens=TOKENS)
    axes = plots.lines(run, 1, sequence=1)
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines() if line.get_label() in run.values}
    assert set(drawn) == {*run.cell.gates, *run.cell.state}
    for name, y in drawn.items():
        np.testing.assert_array_equal(y, run[name][:3, 1, 1])


def test_a_trajectory_keeps_distances_as_far_as_two_components_do() -> None:
    run = small_run("GRU", H=2, tokens=TOKENS)
    axes = plots.trajectory(run, sequences=[0, 3])
    for line, b in zip(axes.get_lines(), (0, 3), strict=True):
        at, h = np.asarray(line.get_xydata()), run["h"][: LENGTHS[b], b]
        np.testing.assert_allclose(np.linalg.norm(at[:1] - at, axis=1), np.linalg.norm(h[:1] - h, axis=1))
    assert {text.get_text() for text in axes.texts} == {*TOKENS[0], *TOKENS[3]}


def test_a_histogram_counts_every_value_once() -> None:
    run = small_run()
    axes = plots.histogram(run, ["forget", "candidate"], bins=8)
    outline = {patch.get_label(): patch for patch in axes.patches}
    heights, edges, _ = outline["forget"].get_data()  # type: ignore[attr-defined]
    assert heights.sum() == pytest.approx(1)
    assert (edges[0], edges[-1]) == (-1, 1)
    np.testing.assert_allclose(heights, np.histogram(run.rows("forget"), edges)[0] / run.rows("forget").size)


def test_points_of_the_scatter_are_shares() -> None:
    run = small_run()
    axes = plots.saturation_scatter(run, ["forget"])
    found = saturation(run, "forget")
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([found.left, found.right], 1))
    shown = [text.get_text() for text in plots.saturation_scatter([run, small_run("GRU")]).get_legend().get_texts()]
    assert shown == ["LSTM input", "LSTM forget", "LSTM output", "GRU reset", "GRU update"]


def test_half_lives_are_sorted() -> None:
    run = small_run()
    axes = plots.half_lives(run)
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), np.sort(half_life(run)))


def test_weights_are_shown_gate_by_gate_on_one_scale() -> None:
    run = small_run()
    row = plots.weights(run, "W")
    for k, axes in enumerate(row):
        np.testing.assert_array_equal(image(axes), run.weights["W"][3 * k : 3 * k + 3])
    assert len({axes.get_images()[0].get_clim() for axes in row}) == 1


def test_eigenvalues_are_those_of_the_spectrum() -> None:
    run = small_run("RNN")
    axes = plots.eigenvalues(run)
    values = spectrum(run)["hidden"]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([values.real, values.imag], 1))


def test_curves_are_medians_over_sequences_that_are_long_enough() -> None:
    run = small_run("GRU")
    line = plots.gradient_flow(run).get_lines()[0]
    curve = gradient_by_lag(run)
    np.testing.assert_allclose(line.get_ydata(), np.nanmedian(curve[:3], axis=1))  # three sequences reach lag 2
    line = plots.memory(run).get_lines()[0]
    np.testing.assert_allclose(line.get_ydata()[:2], np.nanmedian(perturbation(run)[:2], axis=1))


def test_usage_over_epochs_is_a_line_a_gate() -> None:
    used = [usage(small_run("GRU", seed=k)) for k in range(3)]
    axes = plots.usage_over_epochs(used, [1, 2, 5])
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["update"].get_xdata(), [1, 2, 5])
    np.testing.assert_allclose(lines["update"].get_ydata(), [each["update"].mean for each in used])


def test_saturation_over_epochs_is_two_lines_a_gate() -> None:
    used = [usage(small_run("GRU", seed=k)) for k in range(3)]
    lines = plots.saturation_over_epochs(used, [1, 2, 5]).get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 3
    np.testing.assert_array_equal(lines[3].get_xdata(), [1, 2, 5])
    np.testing.assert_allclose(lines[2].get_ydata(), [each["update"].right for each in used])
    np.testing.assert_allclose(lines[3].get_ydata(), [each["update"].left for each in used])


@pytest.mark.parametrize(("name", "first"), [("a.svg", b"<?xml"), ("b.PNG", b"\x89PNG"), ("c.pdf", b"%PDF")])
def test_a_picture_drawn_again_is_saved_as_the_same_file(name: str, first: bytes, tmp_path: Path) -> None:
    axes = plots.heat(small_run("GRU"), "update")
    plots.save(axes, tmp_path / name)
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(first)
    plots.save(plots.heat(small_run("GRU"), "update").figure, tmp_path / name)
    assert (tmp_path / name).read_bytes() == drawn
    with pytest.raises(ValueError, match="'docx' is not supported"):
        plots.save(axes, tmp_path / "d.docx")
    assert [path.name for path in tmp_path.iterdir()] == [name]
