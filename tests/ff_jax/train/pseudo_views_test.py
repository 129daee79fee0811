"""The ring buffer of pseudo-views."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.train.pseudo_views import PseudoClip, append, emptied, init_pseudo_views, pseudo_batch
from tests.random_inputs import seeded_rng

H, W = 24, 40


def clip_of(images):
    count = len(images)
    K, poses = jnp.tile(jnp.eye(3), (count, 1, 1)), jnp.tile(jnp.eye(4), (count, 1, 1))
    return PseudoClip(images, images[..., 0], images[..., 1], K, poses, jnp.arange(float(count)))


def test_the_buffer_is_a_ring():
    rng = seeded_rng()
    views = init_pseudo_views(5, H, W)
    clips = [jnp.asarray(rng.uniform(size=(3, H, W, 3)), jnp.float32) for _ in range(2)]
    for clip in clips:
        views = append(views, clip_of(clip))
    assert int(views.filled) == 5 and int(views.cursor) == 1
    np.testing.assert_array_equal(views.images[0], clips[1][2])  # the oldest frame was overwritten
    np.testing.assert_array_equal(views.images[1], clips[0][1])
    batch = pseudo_batch(views, jnp.int32(4), jnp.int32(7))
    np.testing.assert_array_equal(batch.image, clips[1][1])
    np.testing.assert_array_equal(batch.lidar, clips[1][1][..., 1])
    assert int(batch.view.exposure) == 11 and bool(batch.novel) and int(batch.view.frame) == -1


@pytest.mark.slow
def test_an_emptied_buffer_starts_again_at_its_first_slot():
    views = append(init_pseudo_views(3, H, W), clip_of(jnp.ones((2, H, W, 3))))
    views = append(emptied(views), clip_of(jnp.zeros((1, H, W, 3))))
    assert int(views.filled) == int(views.cursor) == 1 and not views.images[0].any()


def test_a_clip_longer_than_the_buffer_is_an_error():
    with pytest.raises(ValueError, match="a clip of 3 frames does not fit into pseudo_view_capacity=2"):
        append(init_pseudo_views(2, H, W), clip_of(jnp.zeros((3, H, W, 3))))


@pytest.mark.parametrize("with_offsets", [True, False])
def test_offsets_of_cameras_are_stored_where_something_depends_on_them(with_offsets):
    rng = seeded_rng()
    offsets = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    clip = clip_of(jnp.zeros((2, H, W, 3)))._replace(offsets=offsets)
    views = append(init_pseudo_views(3, H, W, with_offsets=with_offsets), clip)
    offset = pseudo_batch(views, jnp.int32(1), jnp.int32(0)).view.offset
    assert (offset is not None) == with_offsets
    if with_offsets:
        np.testing.assert_array_equal(offset, offsets[1])
