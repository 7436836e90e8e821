"""Recipes: the paper's values, bases and overrides, and every wrong key, type and value named."""

from pathlib import Path
from typing import Any

import pytest

from captioning.config import RECIPES, Recipe, Training, load_recipe, parse_override
from captioning.errors import CaptioningError

CHANGES: list[tuple[str, Any, str]] = [
    ("training.epoch", 5, r"unknown key in \[training\]: 'epoch'; did you mean 'epochs'\?"),
    ("trainig.epochs", 5, r"unknown section: 'trainig'; did you mean 'training'\?"),
    ("training.epochs", "5", "training.epochs must be a whole number, not '5'"),
    ("training.epochs", 2.0, "training.epochs must be a whole number, not 2.0"),
    ("training.epochs", True, "training.epochs must be a whole number, not True"),
    ("training.epochs", 0, "training.epochs must be at least 1, not 0"),
    ("training.seed", -1, "training.seed must be at least 0, not -1"),
    ("training.learning_rate", 0, "training.learning_rate must be above 0, not 0.0"),
    ("training.learning_rate", float("nan"), "training.learning_rate must be above 0, not nan"),
    ("training.learning_rate", float("inf"), "training.learning_rate must be above 0, not inf"),
    ("training.optimiser", "adagrad", "training.optimiser must be one of adam, adamw, sgd, not 'adagrad'"),
    ("training.early_stopping", "cider", "must be one of none, CIDEr-D, not 'cider'"),
    ("training.schedule_factor", 1.0, "must be above 0 and below 1, not 1.0"),
    ("training.schedule_floor", 1.5, "must be at least 0 and at most 1, not 1.5"),
    ("model.word_dropout", 1, "model.word_dropout must be at least 0 and below 1, not 1.0"),
    ("model.word_dropout", -0.1, "model.word_dropout must be at least 0 and below 1, not -0.1"),
    ("model.cell", "lstm", "must be one of RNN, LSTM, GRU, GRU-before.* or module:Class, not 'lstm'"),
    ("model.cell", "a module:Class", "module:Class, not 'a module:Class'"),
    ("text.max_length", 2, "text.max_length must be at least 3, not 2"),
    ("text.keep_one_letter", 1, "text.keep_one_letter must be true or false, not 1"),
    ("embedding.vectors", ["glove"], "embedding.vectors must be a string, not"),
]


def test_the_papers_recipe() -> None:
    recipe = load_recipe("paper")
    text, embedding, model, training = recipe.text, recipe.embedding, recipe.model, recipe.training
    assert (text.keep_one_letter, text.remove_stop_words, text.unknown_token) == (False, False, False)
    assert (text.min_count, text.max_length) == (10, 34)
    assert (embedding.size, embedding.vectors, embedding.train) == (200, "glove", False)
    assert (model.hidden, model.dense) == (256, 256)
    assert (model.picture_dropout, model.word_dropout, model.output_dropout) == (0.5, 0.5, 0.0)
    assert (training.epochs, training.pictures_per_batch, training.learning_rate) == (30, 3, 1e-3)
    assert (training.optimiser, training.clip_norm, training.schedule) == ("adam", 0.0, "constant")
    assert training.early_stopping == "none"


def test_the_default_recipe() -> None:
    recipe = load_recipe("default")
    assert recipe.text.keep_one_letter
    assert recipe.text.unknown_token
    assert recipe.text.min_count == 5
    assert recipe.embedding.train
    assert recipe.training.early_stopping == "CIDEr-D"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_as_plain_values(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_dict(name, recipe.to_dict()) == recipe
    assert len(recipe.hash) == 64


def test_the_hash_is_of_the_values_alone() -> None:
    recipe = load_recipe("paper")
    assert Recipe.from_dict("other", recipe.to_dict()).hash == recipe.hash
    assert recipe.with_overrides({"training.seed": 1}).hash != recipe.hash
    assert recipe.with_overrides({"training.learning_rate": 1e-3}).hash == recipe.hash


def test_overrides_change_one_key() -> None:
    recipe = load_recipe("paper")
    changed = recipe.with_overrides({"training.epochs": 5, "model.cell": "mymodule.cells:MyCell"})
    assert changed.training.epochs == 5
    assert changed.model.cell == "mymodule.cells:MyCell"
    assert changed.text == recipe.text
    assert recipe.training.epochs == 30


def test_whole_numbers_serve_as_numbers() -> None:
    rate = load_recipe("paper").with_overrides({"training.learning_rate": 1}).training.learning_rate
    assert rate == 1.0
    assert type(rate) is float


@pytest.mark.parametrize(("key", "value", "message"), CHANGES)
def test_wrong_values_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(CaptioningError, match=f"^paper: .*{message}"):
        load_recipe("paper").with_overrides({key: value})


def test_sections_check_themselves() -> None:
    values = load_recipe("paper").to_dict()["training"]
    with pytest.raises(CaptioningError, match=r"training\.epochs must be at least 1"):
        Training(**(values | {"epochs": -3}))
    with pytest.raises(CaptioningError, match=r"schedule_warmup must be below training\.epochs \(30\), not 30"):
        Training(**(values | {"schedule": "cosine", "schedule_warmup": 30}))


def test_a_file_gives_only_what_differs_from_its_base(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "paper"\n[training]\nepochs = 3\n')
    (tmp_path / "deeper.toml").write_text('base = "mine.toml"\n[model]\nhidden = 64\n')
    recipe = load_recipe(tmp_path / "deeper.toml")
    assert recipe == Recipe.from_dict(
        str(tmp_path / "deeper.toml"),
        load_recipe("paper").with_overrides({"training.epochs": 3, "model.hidden": 64}).to_dict(),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "paper"\n[training]\nepochs = 0\n', r"training\.epochs must be at least 1"),
        ('base = "paper"\n[training]\nepohcs = 1\n', r"'epohcs'; did you mean 'epochs'"),
        ('base = "paper"\ntraining = 3\n', r"\[training\] is missing or not a table"),
        ('base = "mine.toml"\n', "its own base"),
        ("base = 3\n", "base must be the name or path of a recipe, not 3"),
        ('base = "nothing.toml"\n', r"there is no recipe '.*nothing\.toml'"),
        ("[text]\nmin_count = 3\n", r"\[text\] lacks keep_one_letter, .*begin the file with base"),
        ("[text\n", "cannot be read as a recipe"),
        ("", r"\[text\] is missing"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(CaptioningError, match=message) as caught:
        load_recipe(path)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_name_names_the_recipes() -> None:
    with pytest.raises(CaptioningError, match=r"no recipe 'papr': give one of default, paper, init, .* or the path"):
        load_recipe("papr")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("training.epochs=5", ("training.epochs", 5)),
        ("training.learning_rate = 1e-4", ("training.learning_rate", 1e-4)),
        ("embedding.train=false", ("embedding.train", False)),
        ("model.cell=GRU", ("model.cell", "GRU")),
        ('model.cell="GRU"', ("model.cell", "GRU")),
        ("model.cell=my.cells:Mine", ("model.cell", "my.cells:Mine")),
    ],
)
def test_settings_are_parsed_as_toml_or_words(text: str, pair: tuple[str, object]) -> None:
    assert parse_override(text) == pair


@pytest.mark.parametrize("text", ["training.epochs", "epochs=5", "=5", ""])
def test_other_settings_are_refused(text: str) -> None:
    with pytest.raises(CaptioningError, match="is no setting; write section"):
        parse_override(text)
