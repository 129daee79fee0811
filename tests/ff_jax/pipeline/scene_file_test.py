"""Where the Gaussians of a PLY file are in the world of a log, and the settings that they need."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import SceneData
from ff_jax.data.units import scaled_units
from ff_jax.export.formats.files import read_gaussians, write_gaussians
from ff_jax.export.ply import write_ply
from ff_jax.export.ply_layouts import read_splat_header
from ff_jax.pipeline.scene_file import (
    from_points,
    parse_scene_file,
    scene_comments,
    with_scene_file,
    world_from_scene,
)
from tests.ff_jax.viewer.tiny_run import CONFIG
from tests.random_inputs import seeded_rng
from tests.scenes import random_gaussians


def make_config(path, **changes):
    init = dataclasses.replace(CONFIG.init, scene=str(path))
    return dataclasses.replace(CONFIG, **({"init": init} | changes))


def make_log(world_from_files):
    frames = ()
    return SceneData("log", "a test", "none", np.zeros(1), np.eye(4)[None], frames, world_from_files=world_from_files)


@pytest.fixture
def file(tmp_path):
    rng = seeded_rng()
    path = tmp_path / "scene.ply"
    gaussians = random_gaussians(rng, 20, coefficients=9)
    gaussians = gaussians.replace(sh=gaussians.sh.at[:, 4:].set(0))  # its second band is not used
    write_ply(path, gaussians, np.ones(20, bool))
    return path


def test_settings_follow_the_file(file):
    config = with_scene_file(make_config(file))
    assert (config.recon.sh_degree, config.recon.first_sh_degree, config.actors.slots) == (2, 1, 0)
    assert not config.render.antialiased and with_scene_file(make_config(f"{file}?antialiased=yes")).render.antialiased
    assert with_scene_file(config) == config and with_scene_file(CONFIG) == CONFIG
    recon = dataclasses.replace(CONFIG.recon, sh_degree=3)
    schedule = dataclasses.replace(CONFIG.schedule, start=0)
    trained = with_scene_file(make_config(file, recon=recon))
    untrained = with_scene_file(make_config(file, recon=recon, steps=0, schedule=schedule))
    assert (trained.recon.sh_degree, untrained.recon.sh_degree) == (3, 2)  # untrained scenes go out as they came in
    assert not from_points(config).init.scene and from_points(config).recon.first_sh_degree == 0


@pytest.mark.parametrize("suffix", [".spz", ".sog", ".splat"])
def test_other_formats_go_in_as_ply_does(file, tmp_path, suffix):
    """The header and the Gaussians decide as those of a PLY file; damaged files are one sentence."""
    path = tmp_path / f"scene{suffix}"
    write_gaussians(path, read_gaussians(file).gaussians, ["SplatRenderMode: mip"])
    config = with_scene_file(make_config(path))
    assert (config.recon.sh_degree, config.render.antialiased) == ((0, False) if suffix == ".splat" else (2, True))
    assert not with_scene_file(make_config(f"{path}?antialiased=no")).render.antialiased
    recon = dataclasses.replace(CONFIG.recon, budget=19)
    with pytest.raises(ValueError, match=r"holds 20 Gaussians, more than recon\.budget=19"):
        with_scene_file(make_config(path, recon=recon))
    path.write_bytes(path.read_bytes()[:-70] + b"x")
    with pytest.raises(ValueError, match=rf"scene\{suffix}: .*restore"):
        with_scene_file(make_config(path))


def test_files_that_do_not_fit_are_refused_in_one_sentence(file, tmp_path):
    recon = dataclasses.replace(CONFIG.recon, budget=19)
    with pytest.raises(ValueError, match=r"holds 20 Gaussians, more than recon\.budget=19: set --config\S+budget=20"):
        with_scene_file(make_config(file, recon=recon))
    write_ply(tmp_path / "empty.ply", random_gaussians(seeded_rng(), 2), np.zeros(2, bool))
    for name, text in (
        ("empty.ply", "holds no Gaussians"),
        ("none.ply", "no such file"),
        ("scene.ply?size=3", "invalid option 'size'.*antialiased"),
        ("scene.ply?world=1", "expected yes or no"),
    ):
        with pytest.raises(ValueError, match=text):
            with_scene_file(make_config(tmp_path / name))


def find(text, log, source="nowhere"):
    file = parse_scene_file(str(text))
    return world_from_scene(file, read_splat_header(file.path), log, str(source))


def random_similarity(rng):
    matrix = np.eye(4)
    matrix[:3, :3] = rng.uniform(0.1, 5) * Rotation.random(random_state=rng).as_matrix()
    matrix[:3, 3] = rng.normal(0, 20, 3)
    return matrix


def test_coordinates_are_those_of_the_files_of_the_log(file):
    moved = np.eye(4)
    moved[:3, 3] = seeded_rng().normal(size=3)
    log = scaled_units(make_log(moved), 2.5)
    np.testing.assert_allclose(find(file, log), np.diag([2.5, 2.5, 2.5, 1]) @ moved)
    assert (find(f"{file}?world=yes", log) == np.eye(4)).all()


def test_a_comment_of_the_file_says_its_coordinates(file):
    rng = seeded_rng()
    log, gaussians = make_log(random_similarity(rng)), random_gaussians(rng, 3)
    for world_from_file in (np.eye(4), random_similarity(rng)):
        comments = scene_comments(world_from_file, log, antialiased=True)
        write_ply(file, gaussians, np.ones(3, bool), comments)
        np.testing.assert_allclose(find(file, log), world_from_file, atol=1e-9)
        assert read_splat_header(file).antialiased
        np.testing.assert_allclose(find(f"{file}?transform=none", log), log.world_from_files)
    assert find(file, make_log(log.world_from_files)) is not None
    write_ply(file, gaussians, np.ones(3, bool), ["log_from_scene: 1 2 3"])
    with pytest.raises(ValueError, match="no similarity"):
        find(file, log)
    assert len(scene_comments(np.eye(4), make_log(np.eye(4)), antialiased=False)) == 1


def test_the_transform_of_nerfstudio_is_undone(file, tmp_path):
    rng = seeded_rng()
    log, oriented, scale = make_log(random_similarity(rng)), np.eye(4), rng.uniform(0.1, 2)
    oriented[:3, :3], oriented[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    applied = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    (tmp_path / "data").mkdir()
    content = {"frames": [], "applied_transform": applied[:3].tolist()}
    (tmp_path / "data" / "transforms.json").write_text(json.dumps(content))
    # Nerfstudio stores the product with `applied_transform`, which its data set already contains.
    stored = {"transform": (oriented @ applied)[:3].tolist(), "scale": scale}
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(stored))
    log_point, turned = rng.normal(size=3), oriented[:3, :3]
    in_scene = scale * (turned @ log_point + oriented[:3, 3])
    found = find(file, log, f"{tmp_path / 'data'}?scale=1")
    expected = log.world_from_files[:3, :3] @ log_point + log.world_from_files[:3, 3]
    np.testing.assert_allclose(found[:3, :3] @ in_scene + found[:3, 3], expected, atol=1e-9)
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"transform": oriented.tolist(), "scale": scale}))
    np.testing.assert_allclose(find(f"{file}?transform={own}", log, tmp_path / "data"), found, atol=1e-9)
    np.testing.assert_allclose(find(f"{file}?transform=none", log), log.world_from_files)
    for broken in ({}, {"transform": [[1, 2]]}, {"transform": np.zeros((3, 4)).tolist()}):
        own.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=r"own\.json"):
            find(f"{file}?transform={own}", log)
