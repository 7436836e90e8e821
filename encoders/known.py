"""Files known by their bytes: they need no description beside them."""

from encoders.spec import EncoderSpec, Output, Preprocessing

# Inception as trained by Google takes 299×299 RGB in [-1, 1]; Keras and timm say the same (mean 0.5 and
# std 0.5 of x/255). timm's evaluation crops the central 87.5 % with bicubic resampling. Here the whole
# picture is squashed bilinearly, as captioners on Keras squash it: a crop hides what captions mention.
INCEPTION_V3 = Preprocessing()

# Google's weights of 2015-12-05 without two convolutions of the last blocks, hence its name.
TRUNK = EncoderSpec(
    sha256="d326ef68f14e45712febfeff0245ef3a866c1a4cee338ac1c3611452c8248310",
    input="input",
    outputs=(Output("features", "features", (2048,)), Output("grid", "grid", (2048, 8, 8))),
    preprocessing=INCEPTION_V3,
    description="Inception v3 trunk features (mixed_7 + mixed_9)",
)

MODELS = {TRUNK.sha256: TRUNK}

# Published .npz files and the encoder whose rows they hold.
NPZ = {"7a5716168989ccde29014d81d56f378ff93d19911dbdbc91b0d0f2dedc6bf5a4": TRUNK}
