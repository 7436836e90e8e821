"""See what the gates of a trained captioner do: `captioning study`."""

from captioning.study.page import study_page, study_server
from captioning.study.prices import Price, interventions_of, measures_of, price
from captioning.study.studied import PICTURE, Studied, held

__all__ = [
    "PICTURE",
    "Price",
    "Studied",
    "held",
    "interventions_of",
    "measures_of",
    "price",
    "study_page",
    "study_server",
]
