"""A small result of a comparison, made up, with everything in it that could break a page."""

from __future__ import annotations

from typing import Any

NASTY = '<script>alert("x")</script> & a "dog" | [bold]'
NAMES = [f"p{k}.jpg" for k in range(8)]
REFERENCES = {name: [f"a dog number {k} on {name}" for k in range(4)] + [NASTY] for name in NAMES}


def one_system(cell: str, lead: float) -> dict[str, Any]:
    epochs = [
        {
            "epoch": e,
            "train_loss": 4.0 / e - lead,
            "validation_loss": 4.5 / e - lead,
            "seconds": 2.0,
            "words_per_second": 1000.0 * e,
            "validation": {"CIDEr-D": 10.0 * e + lead} if e > 1 else None,
        }
        for e in (1, 2, 3)
    ]
    metrics = {
        "COCO": {"BLEU-1": 60.0 + lead, "BLEU-4": 18.0 - lead, "CIDEr-D": 45.0 + lead},
        "sentence BLEU, smoothed": {"BLEU-4": 0.017 + lead / 100, "ROUGE-L": 0.19},
    }
    captions = {name: f"{cell} sees a dog in {name}" for name in NAMES}
    return {
        "cell": cell,
        "parameters": 1_813_268,
        "cell_parameters": 467_968 if cell == "LSTM" else 351_744,
        "seconds": 588.0,
        "best_epoch": 2,
        "epochs": epochs,
        "losses": {"train": 2.5, "validation": 3.1, "test": 3.2 - lead},
        "decoders": {
            "greedy": {"metrics": {"COCO": {"BLEU-1": 50.0}}, "captions": captions},
            "beam 3": {"metrics": metrics, "captions": captions},
        },
        "per_picture": {name: {"CIDEr-D": 10.0 * k + lead * (1 + k % 2)} for k, name in enumerate(NAMES)},
    }


def paired_test(difference: float, p: float, p_runs: float | None = None, metric: str = "CIDEr-D") -> dict[str, Any]:
    """What a comparison says of the LSTM, its first system, and the GRU."""
    numbers = {"difference": difference, "low": difference - 1, "high": difference + 1}
    over_pictures = {"p_bootstrap": p, "p_randomisation": p}
    runs = [1, 1] if p_runs is None else [3, 3]
    return {
        "first": "LSTM",
        "second": "GRU",
        "metric": metric,
        **numbers,
        **over_pictures,
        "runs": runs,
        "p_runs": p_runs,
    }


def comparison() -> dict[str, Any]:
    """A result of LSTM and GRU on eight pictures, as `captioning.compare` gives it."""
    baseline = {"metrics": {"COCO": {"BLEU-1": 40.4, "CIDEr-D": 8.4}}, "note": NASTY}
    return {
        "title": f"LSTM and GRU {NASTY}",
        "command": "captioning compare --data flickr8k",
        "date": "2026-11-22",
        "machine": {"cpu": "a processor", "cores": 2, "gpu": None, "environment": {}},
        "seed": 7,
        "recipe": {"model": {"width": 256, "tied": False, "cells": ["lstm", "gru"]}},
        "dataset": {"name": "Flickr8k", "train": 6000, "validation": 1000, "test": 1000, "vocabulary": 1652},
        "encoder": {"description": "Inception v3", "hash": "c0ffee"},
        "systems": {"LSTM": one_system("LSTM", 0.0), "GRU": one_system("GRU", 0.5)},
        "baselines": {"best constant caption": baseline},
        "paper": {
            "LSTM": {"loss": 3.3268, "BLEU": 0.01695, "ROUGE": 0.19144},
            "GRU": {"loss": 3.225, "BLEU": 0.01569, "ROUGE": 0.17871},
        },
        "tests": [paired_test(-0.5, 0.0123), paired_test(0.3, 0.6, metric="BLEU-4")],
        "protocols": {"COCO": "COCO's definitions", "sentence BLEU, smoothed": "a reading of the paper"},
    }
