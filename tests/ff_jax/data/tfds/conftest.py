"""Two tiny logs stored as a TFDS data set."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ff_jax.data.lazy_arrays import EncodedImage, MaskFile, Source
from ff_jax.data.scene_data import SceneData
from tests.ff_jax.data.tiny import HEIGHT, WIDTH, make_scene
from tests.random_inputs import seeded_rng


def with_every_kind_of_source(scene, rng) -> SceneData:
    """The log, with one image that is computed, one inside another file, one test frame, and colored points."""
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg")
    first, second, third, *rest = scene.frames
    first = replace(first, image=Source("computed", lambda: pixels.astype(np.float32) / 255))
    second = replace(second, image=EncodedImage("inside", buffer.getvalue), masks={"valid": MaskFile(third.image.path)})
    third = replace(third, split="test", masks={}, distortion=np.array([0.1, 0, 0.01, 0, 0]))
    points = replace(scene.points, rgb=rng.random(scene.points.xyz.shape))
    return replace(scene, frames=(first, second, third, *rest), points=points)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """The folder, and the logs by name."""
    pytest.importorskip("tensorflow_datasets")
    from ff_jax.data.tfds import ff_driving

    folder, rng = tmp_path_factory.mktemp("tfds"), seeded_rng()
    scene = with_every_kind_of_source(make_scene(folder / "a", rng), rng)
    bare = replace(make_scene(folder / "b", rng), name="bare log", sweeps=(), boxes=(), lanes=(), points=None)
    bare = replace(bare, has_meters=False, world_from_files=np.diag([2.5, 2.5, 2.5, 1.0]))
    ff_driving.build([scene, bare], folder / "data")
    return folder / "data", {"tiny": scene, "bare log": bare}
