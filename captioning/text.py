"""From a raw caption to words. Every vocabulary, reference and candidate passes through `clean`."""

import re
import unicodedata
from dataclasses import dataclass

START, END = "startseq", "endseq"
"""The marker words that open and close a caption; no caption keeps them as words of its own."""

# Every character that is neither letter, digit nor space: in ASCII exactly `string.punctuation`.
_PUNCTUATION = re.compile(r"[^\w\s]|_")

# The usual English list (nltk's), shipped because nltk's own needs a download. The contractions stand
# without their apostrophe, as cleaning leaves them.
STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves what which who whom this that these those am is
    are was were be been being have has had having do does did doing a an the and but if or because as until
    while of at by for with about against between into through during before after above below to from up
    down in out on off over under again further then once here there when where why how all any both each few
    more most other some such no nor not only own same so than too very s t can will just don should now d ll
    m o re ve y ain aren couldn didn doesn hadn hasn haven isn ma mightn mustn needn shan shouldn wasn weren
    won wouldn youre youve youll youd shes thatll dont shouldve arent couldnt didnt doesnt hadnt hasnt havent
    isnt mightnt mustnt neednt shant shouldnt wasnt werent wont wouldnt
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Cleaning:
    """How raw captions become words.

    Lower-casing, deleting punctuation (`dog's` becomes `dogs`) and dropping tokens that are not wholly
    alphabetic always happen; these are the choices that remain.

    keep_one_letter: keep words of one letter, such as `a`.
    remove_stop_words: drop the words of `STOP_WORDS`.
    """

    keep_one_letter: bool
    remove_stop_words: bool = False


PAPER = Cleaning(keep_one_letter=False)
"""The paper's cleaning. It says that stop words went too, but its counts are only reached with them."""

SCORING = Cleaning(keep_one_letter=True)
"""The cleaning of references and candidates before any metric, the same for every system."""


def clean(caption: str, cleaning: Cleaning) -> list[str]:
    """The words of a raw caption, in order; empty where nothing survives."""
    plain = _PUNCTUATION.sub("", unicodedata.normalize("NFC", caption).lower())
    return [word for word in plain.split() if _kept(word, cleaning)]


def _kept(word: str, cleaning: Cleaning) -> bool:
    if not word.isalpha() or word in (START, END):
        return False
    if len(word) == 1 and not cleaning.keep_one_letter:
        return False
    return not (cleaning.remove_stop_words and word in STOP_WORDS)
