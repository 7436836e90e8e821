"""Every measure against a closed form, or against a loop that counts one step at a time."""

import math

import numpy as np
import pytest

from rnncore.cells import CELLS, find_cell
from rnncore.study import Carry, carry_of, half_life, saturation, token_correlation, token_share, usage
from tests.rnncore.study.runs import LENGTHS, constant_forget, small_run


@pytest.mark.parametrize("f", [0.1, 0.5, 0.9, 0.999])
def test_the_half_life_of_a_constant_forget_gate(f: float) -> None:
    run = constant_forget(f)
    tau = half_life(run)
    np.testing.assert_allclose(tau, math.log(0.5) / math.log(f), rtol=1e-9)
    left = run["c"][:, 0, 0] / run.initial[1][0, 0]  # and it is what the state does
    np.testing.assert_allclose(left, 0.5 ** (np.arange(1, 13) / tau[0]), rtol=1e-8)


def test_the_half_life_of_a_gate_that_changes_is_that_of_the_product() -> None:
    run = small_run("GRU", lengths=[6])
    left = run["update"][:, 0].prod(0)
    np.testing.assert_allclose(left, 0.5 ** (6 / half_life(run)), rtol=1e-12)


def test_half_lives_at_the_ends() -> None:
    assert np.isinf(half_life(constant_forget(1.0))).all()
    assert (half_life(constant_forget(0.0)) == 0).all()
    assert np.isinf(half_life(small_run("Greff-NFG"))).all()
    run = small_run("minGRU")
    np.testing.assert_allclose(half_life(run), math.log(0.5) / np.log(1 - run.rows("update")).mean(0), rtol=1e-12)
    with pytest.raises(ValueError, match="no gate of RNN carries h"):
        half_life(small_run("RNN"))


def test_the_gate_that_carries_is_found_in_every_cell() -> None:
    found = {}
    for name in CELLS:
        if name != "RNN":
            found[name] = carry_of(find_cell(name))
    assert found.pop("Greff-NFG") == Carry("c", None)
    assert found.pop("minGRU") == Carry("h", "update", keeps=False)
    for name, carry in found.items():
        expected = Carry("h", "update") if "GRU" in name else Carry("c", "forget")
        assert carry == expected, name


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "LSTM-layernorm"])
def test_saturation_is_a_count_over_real_steps(cell: str) -> None:
    run = small_run(cell, seed=4)
    for gate in run.cell.gates:
        got = saturation(run, gate, low=0.4, high=0.6)
        left, right = np.zeros(run.hidden), np.zeros(run.hidden)
        for b, n in enumerate(LENGTHS):
            for t in range(n):
                for k in range(run.hidden):
                    value = run[gate][t, b, k]
                    value = (value + 1) / 2 if gate == "candidate" else value
                    left[k] += value < 0.4
                    right[k] += value > 0.6
        np.testing.assert_allclose(got.left, left / sum(LENGTHS), rtol=1e-12)
        np.testing.assert_allclose(got.right, right / sum(LENGTHS), rtol=1e-12)
        assert got.left.sum() + got.right.sum() > 0


def test_usage_is_the_average_over_units_too() -> None:
    run = small_run("GRU")
    used = usage(run)["update"]
    flat = np.concatenate([run["update"][:n, b].ravel() for b, n in enumerate(LENGTHS)])
    assert used.mean == pytest.approx(flat.mean(), rel=1e-12)
    assert used.deviation == pytest.approx(flat.std(), rel=1e-12)
    assert used.left == pytest.approx((flat < 0.1).mean())
    assert used.right == pytest.approx((flat > 0.9).mean())


def test_token_correlation_is_pearsons_with_an_indicator() -> None:
    tokens = [
        ["the", "dog", "runs", "on", "the", "grass"],
        ["the", "dog", "on"],
        [],
        ["on", "grass", "the", "dog", "runs"],
    ]
    run = small_run(tokens=tokens)
    found = token_correlation(run, "c", least=2)
    assert found.tokens == ("dog", "grass", "on", "runs", "the")
    assert found.counts == (3, 2, 3, 2, 4)
    for row, word in enumerate(found.tokens):
        indicator = np.array([w == word for w in run.words()], float)
        for k in range(run.hidden):
            expected = np.corrcoef(indicator, run.rows("c")[:, k])[0, 1]
            assert found.table[row, k] == pytest.approx(expected, abs=1e-12)
    word, value = found.strongest(1, n=1)[0]
    assert abs(value) == np.abs(found.table[:, 1]).max()
    assert found.table[found.tokens.index(word), 1] == value
    unit, _, best = found.best_units(1)[0]
    assert abs(best) == np.abs(found.table).max() == np.abs(found.table[:, unit]).max()
    assert token_correlation(run, "c", least=9).best_units() == []


def test_token_correlation_of_a_dead_unit_is_zero_and_of_a_word_never_read_refused() -> None:
    tokens = [["a", "b"] * 3]
    run = small_run(lengths=[6], tokens=tokens)
    run.values["h"][..., 0] = 0.25  # type: ignore[index]
    found = token_correlation(run, "h", ["a"])
    assert found.table[0, 0] == 0
    assert found.table[0, 1] != 0
    with pytest.raises(ValueError, match="steps with and without"):
        token_correlation(run, "h", ["zebra"])


def test_the_share_of_a_token_is_that_of_an_analysis_of_variance() -> None:
    tokens = [list("abcabcabbc"), list("aabbccabca")]
    run = small_run(lengths=[10, 10], steps=10, tokens=tokens)
    v, read = run.rows("c")[:, 1], np.array(run.words())
    within = sum(((v[read == w] - v[read == w].mean()) ** 2).sum() for w in "abc")
    expected = 1 - (19 / 17) * within / ((v - v.mean()) ** 2).sum()
    assert token_share(run, "c")[1] == pytest.approx(expected, rel=1e-12)


def test_the_share_of_a_token_is_one_where_it_settles_all_and_none_where_it_says_nothing() -> None:
    run = small_run(lengths=[600], steps=600, tokens=[[str(k % 3) for k in range(600)]])
    run.values["h"][:, 0, 0] = np.arange(600) % 3
    run.values["h"][:, 0, 1] = np.random.default_rng(0).normal(size=600)
    run.values["h"][:, 0, 2] = 0.5
    found = token_share(run, "h")
    assert found[0] == pytest.approx(1)
    assert abs(found[1]) < 0.02
    assert found[2] == 0
    with pytest.raises(ValueError, match="tokens come back"):
        token_share(small_run(lengths=[3], steps=3, tokens=[["a", "b", "c"]]), "h")
