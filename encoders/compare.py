"""Two sets of features of the same pictures, compared by cosine."""

from dataclasses import dataclass

import numpy as np

from encoders.errors import EncoderError
from encoders.features import Features


@dataclass(frozen=True)
class Comparison:
    """Cosines cos = a·b / (|a| |b|) over the pictures of the second set; ``worst`` names the lowest."""

    pictures: int
    min_cosine: float
    mean_cosine: float
    worst: str
    max_difference: float


def compare(ours: Features, theirs: Features, output: str = "features", block: int = 1024) -> Comparison:
    """Compare every picture of ``theirs`` with ours; MissingFeatures names those we lack."""
    if not theirs.names:
        raise EncoderError("there is nothing to compare with: the second set of features is empty")
    cosines, differences = [], []
    for start in range(0, len(theirs), block):
        names = theirs.names[start : start + block]
        a, b = (each.rows(names, output).reshape(len(names), -1).astype(np.float64) for each in (ours, theirs))
        if a.shape != b.shape:
            raise EncoderError(f"{output}: rows of {a.shape[1]} numbers against rows of {b.shape[1]}")
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        if not norms.all():
            raise EncoderError(f"{names[int(norms.argmin())]}: a row is all zero and has no direction")
        cosines.append((a * b).sum(axis=1) / norms)
        differences.append(np.abs(a - b).max())
    cosine = np.concatenate(cosines)
    low = int(cosine.argmin())
    return Comparison(len(cosine), float(cosine[low]), float(cosine.mean()), theirs.names[low], float(max(differences)))
