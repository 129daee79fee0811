import numpy as np
import pytest

from tests.random_inputs import seeded_rng

pytest.importorskip("tensorflow_datasets")
pytest.importorskip("grain")

from ff_jax.data.loader import load_image
from ff_jax.data.tfds.stream import frame_stream


def places(elements):
    return [tuple(element["world_from_camera"][:3, 3].tolist()) for element in elements]


def draw(iterator, count):
    return [next(iterator) for _ in range(count)]


def test_the_stream_gives_every_training_image_once_an_epoch(data_set):
    folder, scenes = data_set
    training = {tuple(f.world_from_camera[:3, 3].tolist()): f for f in scenes["tiny"].frames if f.split == "train"}
    seed = int(seeded_rng().integers(1000))
    elements = draw(iter(frame_stream(folder, "tiny", seed=seed)), 20 * len(training))
    epochs = [tuple(places(elements)[i : i + len(training)]) for i in range(0, len(elements), len(training))]
    assert all(sorted(epoch) == sorted(training) for epoch in epochs) and len(set(epochs)) > 1
    for element, place in zip(elements[:5], places(elements), strict=False):
        frame = training[place]
        np.testing.assert_array_equal(element["image"], load_image(frame))
        np.testing.assert_array_equal(element["K"], frame.K)
        assert (element["time_index"], element["exposure_id"]) == (frame.time_index, frame.exposure_id)


def test_hosts_share_an_epoch(data_set):
    folder, scenes = data_set
    training = [f for f in scenes["bare log"].frames if f.split == "train"]
    hosts = [frame_stream(folder, "bare log", seed=4, process_index=i, process_count=3) for i in range(3)]
    for _ in range(2):
        sample = [places(draw(iter(host), 2)) for host in hosts]
        assert len(training) == 6 and len({place for host in sample for place in host}) == 6


def test_a_stream_goes_on_where_it_stopped(data_set):
    folder, _ = data_set
    count = int(seeded_rng().integers(1, 12))
    iterator = iter(frame_stream(folder, "tiny", seed=1))
    draw(iterator, count)
    state = iterator.get_state()
    expected = places(draw(iterator, 9))
    fresh = iter(frame_stream(folder, "tiny", seed=1))
    fresh.set_state(state)
    assert places(draw(fresh, 9)) == expected


def test_more_hosts_than_images_are_refused(data_set):
    folder, _ = data_set
    for index, count in ((2, 2), (0, 9), (-1, 2)):
        with pytest.raises(ValueError, match=f"process_index={index} of process_count={count} with 5 training images"):
            frame_stream(folder, "tiny", process_index=index, process_count=count)
