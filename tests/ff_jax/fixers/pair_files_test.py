"""Pairs in files, and crops of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers import pair_files as pairs
from ff_jax.fixers.triples import Triples, as_colors, psnr
from tests.random_inputs import seeded_rng


def random_pairs(count=3, height=6, width=9):
    rng = seeded_rng()
    image = lambda: rng.integers(0, 256, (count, height, width, 3), np.uint8)
    plane = lambda: rng.exponential(1.0, (count, height, width)).astype(np.float16)
    shift, steps = rng.normal(size=count).astype(np.float32), rng.integers(1, 999, count).astype(np.int32)
    K, poses = rng.normal(size=(count, 3, 3)).astype(np.float32), rng.normal(size=(count, 4, 4))
    separate = rng.integers(0, 256, (count, 2, height, width, 4), np.uint8)
    weight = np.full((count, height, width), 255, np.uint8)
    return pairs.Pairs(image(), image(), image(), separate, weight, plane(), plane(), shift, steps, K, poses)


def test_files_round_trip(tmp_path):
    first, second = random_pairs(), random_pairs(2)
    for seed, part in ((7, first), (12, second)):
        pairs.save(pairs.shard_path(tmp_path, seed), part)
    found = pairs.load([pairs.shard_path(tmp_path, 7), tmp_path / "street-00012.npz"])
    for name, array in vars(found).items():
        np.testing.assert_array_equal(array, np.concatenate([getattr(first, name), getattr(second, name)]))
        assert array.dtype == getattr(first, name).dtype
    assert sorted(path.name for path in tmp_path.iterdir()) == ["street-00007.npz", "street-00012.npz"]


def test_files_without_pairs_are_refused(tmp_path):
    broken = tmp_path / "street-00001.npz"
    broken.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"street-00001\.npz holds no pairs .*delete it"):
        pairs.load([broken])
    np.savez(tmp_path / "other.npz", render=np.zeros(3))
    with pytest.raises(ValueError, match="holds no pairs"):
        pairs.load([tmp_path / "other.npz"])
    with pytest.raises(ValueError, match="no pairs to load"):
        pairs.load([])


def test_triples_are_colors_and_nats():
    stored = random_pairs()
    stored.eig[0, 0, 0] = -1e-3
    found = as_colors(pairs.triples(stored, "nearest"))
    np.testing.assert_allclose(found.references, stored.nearest / 255.0, atol=1e-6)
    np.testing.assert_allclose(found.targets, stored.truth / 255.0, atol=1e-6)
    np.testing.assert_allclose(found.eigs, np.maximum(stored.eig.astype(np.float32), 0), atol=0)
    np.testing.assert_array_equal(found.weights, np.ones_like(found.eigs))
    np.testing.assert_array_equal(pairs.triples(stored, "separate").references, stored.separate)
    share = stored.separate[:, 0, ..., 3:] / 255.0
    aligned = (1 - share) * stored.render + share * stored.separate[:, 0, ..., :3]
    np.testing.assert_allclose(pairs.triples(stored).references, aligned, atol=0.51)
    with pytest.raises(ValueError, match="invalid reference='blurred': expected one of separate, aligned, nearest"):
        pairs.triples(stored, "blurred")


def test_crops_are_parts_of_one_triple_and_some_are_mirrored():
    count, height, width = 3, 6, 9
    # Every pixel stores its own position, in all four images alike.
    n, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    place = np.stack([n, y, x], -1).astype(np.uint8)
    eigs = (100 * n + 10 * y + x).astype(np.float16)
    stored = jax.tree.map(jnp.asarray, Triples(place, eigs, place, place, weight_eigs=2 * eigs))
    found = pairs.draw_crops(jax.random.key(seeded_rng().integers(1 << 30)), stored, 64, (4, 5))
    place_of = np.rint(255 * np.asarray(found.renders)).astype(int)
    assert place_of.shape == (64, 4, 5, 3)
    np.testing.assert_array_equal(
        np.asarray(found.eigs), 100 * place_of[..., 0] + 10 * place_of[..., 1] + place_of[..., 2]
    )
    for other in (found.references, found.targets):
        np.testing.assert_array_equal(other, found.renders)
    np.testing.assert_array_equal(found.weight_eigs, 2 * np.asarray(found.eigs))
    assert found.blend_eigs is None and found.weights is None
    assert (place_of[..., 0] == place_of[:, :1, :1, 0]).all() and (np.diff(place_of[..., 1], axis=1) == 1).all()
    steps = np.diff(place_of[..., 2], axis=2)
    assert (steps == steps[:, :1, :1]).all() and set(np.unique(steps)) == {-1, 1}
    assert len(np.unique(place_of[:, 0, 0, 0])) == count and len(np.unique(place_of[:, 0, 0, 1])) == height - 3
    whole = pairs.draw_crops(jax.random.key(0), stored, 2, (99, 99))
    assert whole.renders.shape == (2, height, width, 3)


def test_clips_are_consecutive_views_and_are_cropped_alike():
    stored = pairs.as_clips(pairs.triples(random_pairs(6)), 3)
    assert stored.eigs.shape == (2, 3, 6, 9) and stored.renders.shape == (2, 3, 6, 9, 3)
    with pytest.raises(ValueError, match="6 views are not clips of 4 frames: make them with --clip=4"):
        pairs.as_clips(pairs.triples(random_pairs(6)), 4)
    t, n, y, x = (axis.swapaxes(0, 1) for axis in np.meshgrid(*map(np.arange, (3, 2, 6, 9)), indexing="ij"))
    place = np.stack([10 * n + t, y, x], -1).astype(np.uint8)
    stored = jax.tree.map(jnp.asarray, Triples(place, (10 * y + x).astype(np.float16), place, place))
    found = pairs.draw_crops(jax.random.key(seeded_rng().integers(1 << 30)), stored, 16, (4, 5))
    place_of = np.rint(255 * np.asarray(found.targets)).astype(int)
    assert place_of.shape == (16, 3, 4, 5, 3) and found.eigs.shape == (16, 3, 4, 5)
    np.testing.assert_array_equal(np.asarray(found.eigs), 10 * place_of[..., 1] + place_of[..., 2])
    np.testing.assert_array_equal(place_of[..., 0] % 10, np.broadcast_to(np.arange(3)[:, None, None], (16, 3, 4, 5)))
    assert (place_of[..., 1:] == place_of[:, :1, ..., 1:]).all() and (
        place_of[..., 0] // 10 == place_of[:, :1, :1, :1, 0] // 10
    ).all()
    assert set(np.unique(np.diff(place_of[..., 2], axis=3))) == {-1, 1}


def test_psnr_of_every_image():
    images, truth = seeded_rng().random((2, 4, 5, 6, 3), np.float32)
    expected = [-10 * np.log10(((a - b) ** 2).mean()) for a, b in zip(images, truth, strict=True)]
    np.testing.assert_allclose(psnr(jnp.asarray(images), jnp.asarray(truth)), expected, rtol=1e-4)
