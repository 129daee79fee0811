"""Fingerprints of logs: the same for a copy, another for every change."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ff_jax.data.fingerprint import changed_part, fingerprint
from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.loader import scaled
from tests.ff_jax.data import tiny


@pytest.fixture
def folder(tmp_path):
    return write_folder(tiny.make_scene(tmp_path / "log"), tmp_path / "scene")


def stored(scene):
    return json.loads(json.dumps(fingerprint(scene)))


def test_a_moved_log_and_rounding_are_no_change(folder, tmp_path):
    before = stored(read_folder(folder))
    shutil.copytree(folder, tmp_path / "copy")
    scene = read_folder(tmp_path / "copy")
    assert changed_part(before, fingerprint(scene)) is None
    frames = tuple(replace(f, world_from_camera=f.world_from_camera * (1 + 1e-15)) for f in scene.frames)
    assert changed_part(before, fingerprint(replace(scene, frames=frames))) is None


def repaint(folder):
    path = sorted((folder / "images").iterdir())[0]
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def edit(change):
    def apply(folder):
        content = json.loads((folder / "scene.json").read_text())
        change(content)
        (folder / "scene.json").write_text(json.dumps(content))

    return apply


def move(content):
    content["frames"][2]["world_from_camera"][0][3] += 1e-3


def swap(content):
    first, second = content["frames"][0], content["frames"][2]
    first["world_from_camera"], second["world_from_camera"] = second["world_from_camera"], first["world_from_camera"]


CHANGES = {
    "pixel": (repaint, "images"),
    "pose": (edit(move), "poses"),
    "order": (edit(swap), "poses"),
    "split": (edit(lambda content: content["frames"][1].update(split="test")), "frames"),
    "focal length": (edit(lambda content: content["frames"][1]["K"][0].__setitem__(0, 21.0)), "intrinsics"),
    "no boxes": (edit(lambda content: content.update(boxes=[])), "boxes"),
    "a file": (lambda folder: sorted((folder / "lidar").iterdir())[1].write_bytes(b"x"), "sizes of files"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_noticed(folder, name):
    change, part = CHANGES[name]
    befores = [stored(read_folder(folder)), stored(scaled(read_folder(folder), width=12))]
    change(folder)
    for before, scene in zip(befores, (read_folder(folder), scaled(read_folder(folder), width=12)), strict=True):
        assert changed_part(before, fingerprint(scene)) in (part, "sizes of files")


def test_a_damaged_fingerprint_is_another(folder):
    now = fingerprint(read_folder(folder))
    for damage in ({}, now | {"poses": "x"}, now | {"poses": [{}] * 16}, now | {"images": None}):
        assert changed_part(damage, now) is not None
