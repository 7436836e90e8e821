"""`captioning caption`: any picture files, in any number, with the encoder that the captioner was trained with."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioning.caption import caption_files, find_encoder, picture_files
from captioning.checkpoint import load_checkpoint
from captioning.data import load_dataset
from captioning.decode import beam_search
from captioning.errors import CaptioningError
from captioning.evaluate import Evaluator
from encoders import load_spec, open_features
from encoders.sidecar import sidecar
from tests.captioning.workshop import Outcome, Workshop, captioning, one_error, read_json
from tests.encoders.tiny import tiny_encoder


def caption(run: Path, *arguments: Any) -> Outcome:
    return captioning("caption", *map(str, arguments), "--checkpoint", str(run))


def captions_in(path: Path) -> dict[str, Any]:
    return {Path(row["picture"]).name: row["captions"] for row in read_json(path)["captions"]}


def test_one_picture_gives_its_caption_alone(workshop: Workshop, run: Path) -> None:
    arguments = [workshop.pictures(1)[0], "--encoder", workshop.encoder]
    done = caption(run / "checkpoint.safetensors", *arguments, "--beam", "1")
    assert (done.code, done.err) == (0, "")
    words = done.out.split()
    assert done.out.count("\n") == 1
    assert 0 < len(words) <= 12
    assert set(words) <= set(load_checkpoint(run / "checkpoint.safetensors").vocabulary.words)


def test_several_and_folders_give_a_line_each_with_the_name(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    first, second, third = workshop.pictures(3)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    shutil.copy(second, tmp_path / "photos" / "deep" / "two.jpg")
    shutil.copy(third, tmp_path / "photos" / "one.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    done = caption(run, first, tmp_path / "photos", first)
    assert (done.code, done.err) == (0, "")
    expected = [first, tmp_path / "photos" / "deep" / "two.jpg", tmp_path / "photos" / "one.jpg"]
    assert [line.split(": ")[0] for line in done.out.splitlines()] == list(map(str, expected))
    assert picture_files([first, tmp_path / "photos", first]) == expected


def test_two_pictures_of_one_name_are_both_captioned(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    for folder, picture in zip(("a", "b"), workshop.pictures(2), strict=True):
        (tmp_path / folder).mkdir()
        shutil.copy(picture, tmp_path / folder / "photo.jpg")
    done = caption(run, tmp_path / "a", tmp_path / "b" / "photo.jpg")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2


def test_the_captions_are_those_of_the_evaluation(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    """From the picture files as from the stored features, which are rounded to 16 bits."""
    stored = load_checkpoint(run / "checkpoint.safetensors")
    evaluator = Evaluator.of(stored, load_dataset(workshop.scenes), open_features(workshop.features), "test", "cpu")
    names, features = evaluator.split.names, evaluator.split.features
    expected = beam_search(evaluator.model, features, stored.vocabulary, stored.recipe.decoding)
    out = tmp_path / "captions.json"
    assert caption(run, *(workshop.scenes / "pictures" / name for name in names), "--json", out).code == 0
    found = captions_in(out)
    assert list(found) == list(names)
    tops = [beams[0].log_probability for beams in expected]
    assert min(abs(a - b) for k, a in enumerate(tops) for b in tops[:k]) > 0.01, "the pictures must differ"
    for name, beams in zip(names, expected, strict=True):
        assert [p for _, p in found[name]] == pytest.approx([h.log_probability for h in beams], abs=5e-3)


def test_an_unreadable_picture_is_named_and_the_rest_goes_on(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    good = workshop.pictures(2)
    cut, fake, empty = tmp_path / "cut.jpg", tmp_path / "fake.png", tmp_path / "empty.jpg"
    cut.write_bytes(good[0].read_bytes()[:600])
    fake.write_text("I am no picture")
    empty.write_bytes(b"")
    out = tmp_path / "captions.json"
    done = caption(run, good[0], tmp_path, good[1], "--json", out)
    assert done.code == 1
    assert [line.split(": ")[0] for line in done.out.splitlines()] == list(map(str, good))
    errors = done.err.splitlines()
    assert len(errors) == 3
    for path, line in zip((cut, empty, fake), errors, strict=True):
        assert line.startswith(f"error: {path}: ")
    rows = read_json(out)["captions"]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    assert [len(row["captions"]) for row in rows] == [3, 0, 0, 0, 3]


def test_only_unreadable_pictures(run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("I am no picture")
    assert "x.jpg: not a picture" in one_error(caption(run, tmp_path / "x.jpg"))


def test_missing_paths_and_empty_folders_are_said(run: Path, tmp_path: Path) -> None:
    assert "gone.jpg: no such file or folder" in one_error(caption(run, tmp_path / "gone.jpg"))
    assert f"no pictures in {tmp_path}" in one_error(caption(run, tmp_path))


def test_the_beam_is_as_asked(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    picture, counts = workshop.pictures(1)[0], {}
    for beam in ("1", "2", "5", None):
        out = tmp_path / "captions.json"
        assert caption(run, picture, "--json", out, *(["--beam", beam] if beam else [])).code == 0
        (captions,) = captions_in(out).values()
        assert [p for _, p in captions] == sorted((p for _, p in captions), reverse=True)
        assert len({text for text, _ in captions}) == len(captions)
        counts[beam] = len(captions)
    assert counts == {"1": 1, "2": 2, "5": 5, None: 3}


def probability(run: Path, path: Path) -> float:
    (one,) = caption_files(load_checkpoint(run / "checkpoint.safetensors"), run.parent / "tiny.onnx", [path])
    assert one.error is None
    return one.captions[0][1]


def test_the_kinds_of_pictures_that_people_have(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    """Each kind gives what its plain RGB form gives, and not what its ignored parts would."""
    rgb = Image.open(workshop.pictures(1)[0]).convert("RGB")
    rgb.save(tmp_path / "rgb.png")
    plain = probability(run, tmp_path / "rgb.png")

    hole = rgb.convert("RGBA")
    hole.putalpha(Image.fromarray(np.tile(np.arange(rgb.width) % 256, (rgb.height, 1)).astype(np.uint8)))
    hole.save(tmp_path / "alpha.png")
    Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), hole).convert("RGB").save(tmp_path / "on-white.png")
    alpha = probability(run, tmp_path / "alpha.png")
    assert alpha == pytest.approx(probability(run, tmp_path / "on-white.png"), abs=1e-5)
    assert alpha != pytest.approx(plain, abs=1e-3)

    grey = rgb.convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "grey-rgb.png")
    assert probability(run, tmp_path / "grey.png") == pytest.approx(
        probability(run, tmp_path / "grey-rgb.png"), abs=1e-5
    )

    turned = rgb.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise before it is shown
    turned.save(tmp_path / "turned.png", exif=exif)
    assert probability(run, tmp_path / "turned.png") == pytest.approx(plain, abs=1e-5)

    for name, kind in (("palette.gif", "P"), ("small.bmp", "RGB"), ("print.tif", "CMYK")):
        rgb.convert(kind).save(tmp_path / name)
    done = caption(run, *(tmp_path / name for name in ("palette.gif", "small.bmp", "print.tif")))
    assert (done.code, len(done.out.splitlines())) == (0, 3)


def other_encoder(folder: Path) -> Path:
    """An encoder like the tiny one but for its preprocessing: the sidecar says BGR."""
    path = folder / "other.onnx"
    tiny_encoder(path)
    text = sidecar(path).read_text()
    assert '"RGB"' in text
    sidecar(path).write_text(text.replace('"RGB"', '"BGR"'))
    return path


def test_another_encoder_is_refused_and_both_are_named(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    other = other_encoder(tmp_path)
    message = one_error(caption(run, workshop.pictures(1)[0], "--encoder", other))
    mine, theirs = load_spec(workshop.encoder).hash, load_spec(other).hash
    assert mine != theirs
    assert mine in message
    assert theirs in message


def test_the_encoder_is_found_beside_the_run_and_nothing_else_is_taken(
    workshop: Workshop, run: Path, tmp_path: Path
) -> None:
    stored = load_checkpoint(run / "checkpoint.safetensors")
    (tmp_path / "junk.onnx").write_text("no model")
    other_encoder(tmp_path)
    with pytest.raises(CaptioningError, match=stored.features.hash) as caught:
        find_encoder(stored, [tmp_path, tmp_path / "nowhere"])
    assert "--encoder FILE" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert find_encoder(stored, [tmp_path, workshop.folder]) == workshop.encoder


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_checkpoint_cut_short_is_refused(workshop: Workshop, run: Path, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((run / "checkpoint.safetensors").read_bytes()[:size])
    message = one_error(caption(cut, workshop.pictures(1)[0], "--encoder", workshop.encoder))
    assert f"{cut}: expected a whole safetensors file" in message


def test_a_run_without_a_checkpoint_is_said(workshop: Workshop, tmp_path: Path) -> None:
    message = one_error(caption(tmp_path, workshop.pictures(1)[0]))
    assert f"{tmp_path / 'checkpoint.safetensors'}: no such checkpoint" in message


def test_the_best_captions_are_printed_with_their_log_probabilities(workshop: Workshop, run: Path) -> None:
    """And kept as JSON, every word of the best with its probability."""
    path, kept = workshop.pictures(1)[0], run.parent / "said.json"
    given = [path, "-e", workshop.encoder, "--json", kept, "--best", "2"]
    told = caption(run, *given, "--set", "decoding.beam=4", "--set", "decoding.groups=2")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert len(lines) == 2
    content = read_json(kept)
    (said,) = content["captions"]
    assert content["decoding"]["groups"] == 2
    assert len(said["captions"]) == 4
    assert lines[0] == f"{said['captions'][0][0]}  ({said['captions'][0][1]:.2f})"
    assert [word for word, _, _ in said["words"]][:-1] == said["captions"][0][0].split()
    assert all(0 < p <= 1 and weights is None for _, p, weights in said["words"])


def test_only_decoding_can_be_set(workshop: Workshop, run: Path) -> None:
    told = caption(run, workshop.pictures(1)[0], "--set", "model.hidden=3")
    assert told.code == 1
    assert "only keys of [decoding] can be set" in " ".join(told.err.split())


def test_attention_from_pictures_to_captions(workshop: Workshop, tmp_path: Path) -> None:
    """Encode with the grid, train a captioner that looks at it, measure it, and say where it looked."""
    store, model, run, kept = (tmp_path / name for name in ("grids", "tiny.onnx", "run", "said.json"))
    shutil.copy(workshop.encoder, model)
    tiny_encoder(model)
    given = ["--data", str(workshop.scenes), "--features", str(store)]
    outputs = ["--output", "features", "--output", "grid"]
    done = [captioning("encode", *given[:2], "--model", str(model), "--store", str(store), *outputs)]
    settings = [f"--set={key}" for key in ("model.picture=init", "model.attention=gated", "model.attention_size=4")]
    done.append(captioning("train", *given, "--recipe", str(workshop.recipe), *settings, "--run", str(run)))
    kept_as = ["--figures", "--json", str(tmp_path / "figures.json")]
    done.append(captioning("evaluate", str(run), *given, "--shuffled", *kept_as))
    done.append(caption(run, workshop.pictures(1)[0], "--encoder", model, "--json", kept))
    assert [each.code for each in done] == [0, 0, 0, 0], [each.err for each in done]
    figures = read_json(tmp_path / "figures.json")
    assert "per_picture" not in figures
    assert all(set(block) == {"metrics", "intervals", "further"} for block in figures["decoders"].values())
    assert figures["trained"][0]["epochs"] == 2
    shuffled = figures["shuffled_pictures"]["COCO"]
    assert f"beam 3 of another picture: BLEU-1 {shuffled['BLEU-1']:.1f}" in " ".join(done[2].out.split())
    (said,) = read_json(kept)["captions"]
    assert all(np.shape(weights) == (4, 4) and abs(np.sum(weights) - 1) < 1e-3 for _, _, weights in said["words"])
    without = captioning("evaluate", str(run), "--data", str(workshop.scenes), "--features", str(workshop.features))
    assert "no output 'grid'" in one_error(without)
