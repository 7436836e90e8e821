"""The errors of this package: each says what was expected, what came, and the remedy."""


class EncoderError(Exception):
    """Something about a picture, a model, a store or a download is wrong, and the message says what to do."""
