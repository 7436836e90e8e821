"""The one error that the captioner raises for anything a person can put right."""


class CaptioningError(Exception):
    """Bad input or configuration; the message says what was expected, what came, and the remedy."""
