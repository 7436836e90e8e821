"""What a report concludes, and what its tables hold beside the scores."""

import copy
from typing import Any

import pytest

from captioning.report import markdown_table, summary
from captioning.report.summary import conclusion
from tests.captioning.results import comparison, one_system, paired_test


@pytest.fixture
def result() -> dict[str, Any]:
    return comparison()


def test_the_summary_follows_the_numbers(result: dict[str, Any]) -> None:
    lead, chance, loss, cost = summary(result)
    assert "the GRU is ahead on CIDEr-D (45.5 against 45.0) and BLEU-1 (60.5 against 60.0)" in lead
    assert "the LSTM is ahead on BLEU-4 (18.0 against 17.5)" in lead
    assert chance == conclusion(result)
    assert "The GRU is 0.5 CIDEr-D ahead of the LSTM" in chance
    assert "2.700 for the GRU and 3.200 for the LSTM" in loss
    assert "The GRU has 25% fewer parameters in its cell than the LSTM and trained in 1.00 of its time" in cost
    swapped = copy.deepcopy(result)
    swapped["systems"] = {"LSTM": one_system("LSTM", 0.5), "GRU": one_system("GRU", 0.0)}
    assert "the LSTM is ahead on CIDEr-D" in summary(swapped)[0]


def test_what_the_tests_say_is_concluded(result: dict[str, Any]) -> None:
    ahead = "The GRU is 0.5 CIDEr-D ahead of the LSTM (95 % of picture samples: -0.5 to 1.5; p = 0.012 by paired"
    assert conclusion(result).startswith(ahead)
    assert conclusion(result).endswith("one training run each says nothing of other runs.")
    for p, p_runs, said in (
        (0.2, None, "0.20 by randomisation): too close to call."),
        (0.0001, 0.02, "over 3 training runs each, Welch's t-test): more than the choice of pictures or of training"),
        (0.0001, 0.3, "too close to call, since training runs differ as much."),
        (0.3, 0.0004, "p < 0.001 over 3"),
        (0.3, 0.3, "too close to call, since samples of the pictures differ as much."),
    ):
        result["tests"] = [paired_test(-0.5, p, p_runs)]
        assert said in conclusion(result)
    result["tests"] = []
    assert conclusion(result) == ""


def test_the_conclusion_sets_the_best_beside_the_best_of_another_cell() -> None:
    result = comparison()
    larger = one_system("GRU", 0.4)  # between the GRU, which is 0.5 ahead, and the LSTM
    result["systems"] = {"GRU (572 units)": larger, **result["systems"]}
    assert conclusion(result).startswith("The GRU is 0.5 CIDEr-D ahead of the LSTM")
    del result["systems"]["LSTM"]
    result["tests"].append({**paired_test(0.1, 0.9), "first": "GRU", "second": "GRU (572 units)"})
    assert conclusion(result).startswith("The GRU is 0.1 CIDEr-D ahead of the GRU (572 units)")


def test_tests_costs_and_deviations_stand_in_the_tables(result: dict[str, Any]) -> None:
    result["seeds"], result["jobs"] = [0, 1, 2], 2
    result["tests"] = [paired_test(-0.5, 0.0123, 0.04)]
    result["further"] = {"METEOR": "not measured: no WordNet"}
    for system in result["systems"].values():
        system |= {"units": 256, "cell_flop": 933_888, "step_mib": 34.7}
        block = system["decoders"]["beam 3"]
        block["deviations"] = {"COCO": {"BLEU-1": 0.31, "BLEU-4": 0.2, "CIDEr-D": 0.94}}
        block["intervals"] = {"BLEU-1": [58.25, 61.75], "CIDEr-D": [40.04, 50.06]}
        block["further"] = {"METEOR": None, "distinct": 61.25, "words used": 512.0}
    table = markdown_table(result)
    assert "| LSTM against GRU, CIDEr-D | -0.5 | -1.5 to +0.5 | 0.012 | 0.012 | 0.040 |" in table
    assert "45.0 ± 0.9" in table
    assert "| LSTM, beam 3 | 58.2 to 61.8 | 40.0 to 50.1 |" in table
    assert "Mean ± standard deviation of 3 training runs." in table
    assert "| LSTM, beam 3 | – | 61.2 | 512 |" in table
    assert "METEOR: not measured: no WordNet" in table
    assert "| 256 | 467,968 | 1,813,268 | 934 | 34.7 |" in table
    assert "2 runs at a time, one thread each" in table
    assert "(45.5 ± 0.9 against 45.0 ± 0.9)" in summary(result)[0]


def test_equal_numbers_are_level_and_bold_nowhere(result: dict[str, Any]) -> None:
    result["systems"] = {"LSTM": one_system("LSTM", 0.0), "GRU": one_system("GRU", 0.0)}
    assert "the first two are level on CIDEr-D (45.0), BLEU-4 (18.0) and BLEU-1 (60.0)" in summary(result)[0]
