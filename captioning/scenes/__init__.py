"""The demo's own data set: drawn scenes with captions, in the format in which Flickr8k is published."""

from captioning.scenes.dataset import make_scenes, manifest_of, read_manifest, word_accuracy
from captioning.scenes.draw import draw_scene
from captioning.scenes.words import captions, check_caption
from captioning.scenes.world import Scene, Thing, describe, make_scene

__all__ = [
    "Scene",
    "Thing",
    "captions",
    "check_caption",
    "describe",
    "draw_scene",
    "make_scene",
    "make_scenes",
    "manifest_of",
    "read_manifest",
    "word_accuracy",
]
