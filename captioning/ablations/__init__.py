"""Ablations and sensitivity: one file describes many trainings, one command runs them, one page shows what matters."""

from captioning.ablations.effects import Effect, effects
from captioning.ablations.plan import Axis, Grid, Point, load_grid

__all__ = ["Axis", "Effect", "Grid", "Point", "effects", "load_grid"]
