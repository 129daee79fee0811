import pytest

from experiments.cli.command_line import to_config
from experiments.configs import waymo_recondreamer as scenes
from experiments.studies.measures.robustness.writers.protobuf import tfrecord
from experiments.studies.measures.robustness.writers.waymo import Segment
from ff_jax.data.formats.registry import open_source
from tests.random_inputs import seeded_rng


@pytest.mark.parametrize("index", scenes.SCENES)
def test_every_scene_has_forty_frames_of_a_twenty_second_segment(index):
    config = to_config(scenes.get_config(str(index)))
    path, _, frames = config.data.source.partition("?frames=")
    first, stop = map(int, frames.split(":"))
    assert stop - first == 40 and 0 <= first and stop <= 198
    assert path.endswith("_with_camera_labels.tfrecord") and config.data.cameras == ("FRONT",)
    assert config.schedule.largest == 6 and set(config.evaluate.shifts) == {0, 3, 6}


def test_the_reader_takes_the_frames_that_a_scene_names(tmp_path):
    segment = Segment(seeded_rng())
    path = tmp_path / "segment-x_with_camera_labels.tfrecord"
    path.write_bytes(tfrecord([segment.record(i) for i in range(3)]))
    query = to_config(scenes.get_config("18")).data.source.partition("?")[2]
    with pytest.raises(ValueError, match="has the time steps 0:3, not 0:40"):
        open_source(f"{path}?{query}")
    assert len(open_source(f"{path}?frames=1:3").times) == 2


def test_an_unknown_index_is_an_error():
    """Entry points turn this error type into one sentence while they parse flags."""
    for index in ("6", "", "front"):
        with pytest.raises(
            AttributeError, match=rf"invalid scene '{index}': expected one of 5, 18, 27, .*, as in --config="
        ):
            scenes.get_config(index)
