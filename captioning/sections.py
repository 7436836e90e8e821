"""The sections of a recipe, typed and checked; `captioning.config` reads them from files.

A default here is what a checkpoint means that was written before the key existed: a recipe's file gives every key.
"""

from dataclasses import dataclass
from typing import Annotated

from captioning.checking import Checked, OneOf, Within
from captioning.entry import ENTRIES
from captioning.errors import CaptioningError
from captioning.head import ACTIVATIONS
from rnncore.cells import CELLS

_Count = Annotated[int, Within(1)]
_Whole = Annotated[int, Within(0)]
_Amount = Annotated[float, Within(0)]
_Rate = Annotated[float, Within(0, 1, below=True)]


@dataclass(frozen=True)
class Text(Checked):
    """Cleaning and vocabulary; `max_length` counts a caption's words and both markers."""

    keep_one_letter: bool
    remove_stop_words: bool
    min_count: _Count
    unknown_token: bool
    max_length: Annotated[int, Within(3)]


@dataclass(frozen=True)
class Embedding(Checked):
    """Word vectors: their size, where they come from, and whether training changes them."""

    size: _Count
    vectors: Annotated[str, OneOf(("glove", "random"))]
    train: bool


@dataclass(frozen=True)
class Model(Checked):
    """The captioner's parts, their sizes and their dropout rates.

    cell: of the recurrent network; may be a person's own `module:Class`. hidden: its units, in each of its layers.
    dense: units between the network and the vocabulary, 0 for none; dense_activation: what they go through.
    standardise_features: by mean and deviation over the training pictures.
    picture: where the picture's vector enters (captioning.entry).
    layers: of the network, one above the other; layer_dropout: between them.
    recurrent_dropout: of what the recurrent product sees, one mask a caption; variational_dropout: whether the words
        and the output, too, have one mask a caption rather than one a word (Gal & Ghahramani 2016).
    tied: whether the vocabulary's matrix is the embedding's (Press & Wolf 2017); the rows must be of equal length.
    attention: whether the network looks at the picture's grid before each word, `gated` with Xu et al.'s selector.
    attention_size: of keys and query. grid_components: to how many principal components the grid's channels are
        reduced. annotation: numbers in the vector of a place that is learnt from them.
    attention_penalty: weight of (1 - sum over time of a place's weight)^2, summed over places (Xu et al. 2015, 4.2.1).
    """

    cell: Annotated[str, OneOf(tuple(CELLS), own=True)]
    hidden: _Count
    dense: _Whole
    picture_dropout: _Rate
    word_dropout: _Rate
    output_dropout: _Rate
    standardise_features: bool
    dense_activation: Annotated[str, OneOf(ACTIVATIONS)] = "relu"
    picture: Annotated[str, OneOf(ENTRIES)] = "merge-add"
    layers: _Count = 1
    layer_dropout: _Rate = 0.0
    recurrent_dropout: _Rate = 0.0
    variational_dropout: bool = False
    tied: bool = False
    attention: Annotated[str, OneOf(("none", "additive", "gated"))] = "none"
    attention_size: _Count = 256
    grid_components: _Count = 512
    annotation: _Count = 512
    attention_penalty: _Amount = 0.0


@dataclass(frozen=True)
class Training(Checked):
    """Optimisation. `clip_norm` 0 means no clipping; each `schedule_` key serves the schedules named.

    schedule_every: epochs between two falls of the learning rate (step).
    schedule_factor: what the learning rate is multiplied by at a fall (step, plateau).
    schedule_patience: validations in a row without a better loss before a fall (plateau).
    schedule_warmup: epochs, fractions allowed, over which the learning rate rises from 0 (cosine).
    schedule_floor: the last learning rate as a fraction of `learning_rate` (cosine).
    patience: epochs without a better score before training stops (early stopping).
    label_smoothing: share of each target that is spread over the whole vocabulary.
    scheduled_sampling: share of the words read that are the model's own in the last epoch; it rises evenly from 0.
    averaging: what is validated and kept: the weights, their exponential moving average by the step (ema), or the mean
        of those at the ends of epochs (swa); averaging_decay: of ema. averaging_from: the first epoch averaged over.
    objective: of the likelihood of the captions, or self-critical: the expected reward CIDEr-D (Rennie et al. 2017).
    samples: captions drawn a picture. baseline: what their reward is compared with, that of the greedy caption or the
        mean of the other samples' (self-critical). temperature: what logits are divided by to draw them: below 1 the
        draws come closer to what a beam finds.
    fused: whether cells, softmax and Adam run as compiled loops, which is faster and takes a C compiler; numbers differ
        by rounding. To caption with what was trained takes none.
    """

    epochs: _Count
    pictures_per_batch: _Count
    learning_rate: Annotated[float, Within(0, above=True)]
    optimiser: Annotated[str, OneOf(("adam", "adamw", "sgd"))]
    weight_decay: _Amount
    clip_norm: _Amount
    schedule: Annotated[str, OneOf(("constant", "step", "cosine", "plateau"))]
    schedule_every: _Count
    schedule_factor: Annotated[float, Within(0, 1, above=True, below=True)]
    schedule_patience: _Count
    schedule_warmup: _Amount
    schedule_floor: Annotated[float, Within(0, 1)]
    early_stopping: Annotated[str, OneOf(("none", "CIDEr-D"))]
    patience: _Count
    seed: _Whole
    label_smoothing: _Rate = 0.0
    scheduled_sampling: Annotated[float, Within(0, 1)] = 0.0
    averaging: Annotated[str, OneOf(("none", "ema", "swa"))] = "none"
    averaging_decay: _Rate = 0.999
    averaging_from: _Count = 1
    objective: Annotated[str, OneOf(("likelihood", "self-critical"))] = "likelihood"
    samples: _Count = 5
    baseline: Annotated[str, OneOf(("greedy", "others"))] = "others"
    temperature: Annotated[float, Within(0, above=True)] = 1.0
    fused: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.averaging_from > self.epochs:
            raise CaptioningError(
                f"training.averaging_from must be at most training.epochs ({self.epochs}), not {self.averaging_from}"
            )
        if self.schedule == "cosine" and self.schedule_warmup >= self.epochs:
            raise CaptioningError(
                f"training.schedule_warmup must be below training.epochs ({self.epochs}), not {self.schedule_warmup:g}"
            )


@dataclass(frozen=True)
class Decoding(Checked):
    """How captions are found: by beam search, of which a beam of 1 is greedy, or by drawing words at random.

    beam: captions kept for each picture at every step. max_length: words of a caption, without markers.
    length_normalisation: a score is divided by length to this power.
    groups: parts of the beam that are searched one after the other; diversity: what each word costs a group that a
        group before it has taken at this step (diverse beam search, Vijayakumar et al. 2018).
    no_repeat: length of the word sequences that may not occur twice in a caption, 0 for no such rule.
    sample: whether words are drawn; `beam` is then how many captions. temperature: what logits are divided by.
    top_k: draw from the k likeliest words only, 0 for all (Fan et al. 2018).
    nucleus: draw from the likeliest words that have this probability together (Holtzman et al. 2020).
    seed: of the draws.
    """

    beam: _Count
    max_length: _Count
    length_normalisation: _Amount
    groups: _Count = 1
    diversity: _Amount = 0.5
    no_repeat: _Whole = 0
    sample: bool = False
    temperature: Annotated[float, Within(0, above=True)] = 1.0
    top_k: _Whole = 0
    nucleus: Annotated[float, Within(0, 1, above=True)] = 1.0
    seed: _Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beam % self.groups:
            raise CaptioningError(
                f"decoding.beam must be a multiple of decoding.groups, not {self.beam} of {self.groups}"
            )
