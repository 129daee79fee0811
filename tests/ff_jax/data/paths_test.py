"""Paths of a log: nothing outside of its folder is read."""

import os
from dataclasses import replace

import pytest

from ff_jax.data.folder import write_folder
from ff_jax.data.formats.registry import open_source
from ff_jax.data.lazy_arrays import ImageFile
from ff_jax.data.paths import check_scene_files, inside
from tests.ff_jax.data import tiny


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/passwd", "", ".", "a/..", "x\0.png", 3, None])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    with pytest.raises(ValueError) as error:
        inside(tmp_path / "log", name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("name", ["x.png", "a/x.png", "a/../x.png", "..x/y..png", "a:b.png"])
def test_names_below_the_folder_are_resolved(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


def test_links_are_followed(tmp_path):
    root = tmp_path / "log"
    root.mkdir()
    (tmp_path / "log2").mkdir()
    (root / "within").symlink_to(root / "real.png")
    (root / "out.png").symlink_to("/etc/passwd")
    (root / "folder").symlink_to(tmp_path / "log2")  # the name of the folder is its beginning
    (root / "circle").symlink_to(root / "circle")
    assert inside(root, "within") and inside(root, "circle")
    for name in ("out.png", "folder/x.png"):
        with pytest.raises(ValueError, match=name):
            inside(root, name)
    os.symlink(root, tmp_path / "link")  # a log may itself be reached by a link
    assert inside(tmp_path / "link", "x.png")


def test_every_file_of_a_log_is_checked_when_it_is_opened(tmp_path):
    scene = tiny.make_scene(tmp_path / "log")
    check_scene_files(scene, tmp_path / "log")
    foreign = replace(scene.frames[4], image=ImageFile(tmp_path / "x.png"))
    with pytest.raises(ValueError, match=r"x\.png"):
        check_scene_files(replace(scene, frames=(*scene.frames[:4], foreign)), tmp_path / "log")
    path = write_folder(scene, tmp_path / "scene")
    image = sorted((path / "images").iterdir())[0]
    image.unlink()
    image.symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=image.name):
        open_source(str(path))
