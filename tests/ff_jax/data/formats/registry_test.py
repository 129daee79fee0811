import pytest

from ff_jax.data.folder import write_folder
from ff_jax.data.formats.registry import FORMATS, open_source
from ff_jax.data.open import open_log
from ff_jax.pipeline.config import DataConfig
from tests.ff_jax.data.tiny import make_scene

REAL = {
    "data/kitti02_stereo_color": 40,
    "data/waymo_1frame_5cam": 5,
    "data/native/waymo/pvps_data_one_frame.tfrecord": 5,
    "data/native/dgp/scene_02": 18,
}


@pytest.mark.assets
@pytest.mark.parametrize("folder", REAL)
def test_every_log_is_recognized(assets, folder):
    assert len(open_source(str(assets / folder)).frames) == REAL[folder]


def test_a_part_of_a_log_is_named_behind_its_path(tmp_path):
    write_folder(make_scene(tmp_path / "files"), tmp_path / "log")
    part = open_log(DataConfig(source=f"{tmp_path}/log?frames=1:3", width=0))
    assert len(part.times) == 2 and len(part.frames) == 4 and part.times[0] == 0
    for query, message in {
        "frames=1": "invalid frames='1': expected frames=FIRST:STOP",
        "frames=1:9": "has the time steps 0:3, not 1:9",
        "scene=a": r"invalid option 'scene' of a scene folder \(scene.json\): expected one of frames\.",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_source(f"{tmp_path}/log?{query}")


def test_a_string_is_a_source_with_default_settings(tmp_path):
    write_folder(make_scene(tmp_path / "files"), tmp_path / "log")
    assert open_log(f"{tmp_path}/log").name == "tiny"
    street = open_log("world", shifts=(3.0,))
    assert street.name == "street-0" and {frame.split for frame in street.frames} == {"train", "test"}


def test_options_have_types(tmp_path):
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(ValueError, match=r"invalid \?scale=long"):
        open_source(f"{tmp_path}?scale=long")


def test_what_is_no_log_is_refused_with_all_that_would_be_one(tmp_path):
    message = r"is not a log of a known format \(scene folder .*; use the path of a log, or 'world'"
    with pytest.raises(ValueError, match=message) as error:
        open_source(str(tmp_path))
    assert all(format.name in str(error.value) for format in FORMATS)
    with pytest.raises(ValueError, match="none: no such file or folder"):
        open_source(f"{tmp_path}/none?frames=0:1")
