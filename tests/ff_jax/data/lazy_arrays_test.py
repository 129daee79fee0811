import numpy as np
import pytest
from PIL import Image

from ff_jax.data import lazy_arrays
from tests.random_inputs import seeded_rng


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_images_of_any_mode_become_three_channels(tmp_path, mode):
    rng, path = seeded_rng(), tmp_path / "a.png"
    if mode == "I;16":
        pixels = rng.integers(0, 65536, (5, 7), np.uint16)
        Image.fromarray(pixels).save(path)
        expected = np.repeat(pixels[..., None], 3, -1) / 65535
    else:
        image = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).convert(mode)
        image.save(path)
        expected = np.asarray(image.convert("RGB")) / 255
    np.testing.assert_allclose(lazy_arrays.ImageFile(path).load(), expected, atol=1e-6)
    assert lazy_arrays.image_size(path) == (7, 5)
    assert lazy_arrays.MaskFile(path).load().shape == (5, 7)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_broken_images_give_one_sentence(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(seeded_rng().integers(0, 256, (50, 70, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: cannot be read") as error:
        lazy_arrays.ImageFile(path).load()
    assert "\n" not in str(error.value)
    path.write_text("no image")
    with pytest.raises(ValueError, match="damaged or of another type"):
        lazy_arrays.image_size(path)
    with pytest.raises(ValueError, match=r"b\.png: no such file"):
        lazy_arrays.ImageFile(tmp_path / "b.png").load()


def test_points_with_and_without_intensity(tmp_path):
    rng, path = seeded_rng(), tmp_path / "p.npz"
    xyz, intensity = rng.normal(size=(6, 3)), rng.random(6)
    np.savez(path, xyz=xyz)
    np.testing.assert_allclose(lazy_arrays.PointFile(path).load(), np.pad(xyz, ((0, 0), (0, 1))), rtol=1e-6)
    np.savez(path, xyz=xyz, intensity=intensity)
    np.testing.assert_allclose(lazy_arrays.PointFile(path).load()[:, 3], intensity, rtol=1e-6)


def test_points_say_what_is_wrong(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, points=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"p\.npz: expected an array 'xyz' .* found nothing"):
        lazy_arrays.read_points(path)
    np.savez(path, xyz=np.zeros((2, 3)), intensity=np.zeros(3))
    with pytest.raises(ValueError, match=r"intensity has shape \(3,\) for 2 points"):
        lazy_arrays.read_points(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"p\.npz: cannot be read"):
        lazy_arrays.read_points(path)


def test_sources_are_compared_by_identity(tmp_path):
    a, b = lazy_arrays.ImageFile(tmp_path / "a.png"), lazy_arrays.ImageFile(tmp_path / "a.png")
    assert a != b and len({a, b}) == 2 and a.name == str(tmp_path / "a.png")


def test_images_inside_other_files(tmp_path):
    rng, path = seeded_rng(), tmp_path / "a.png"
    pixels = rng.integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    reads = []
    image = lazy_arrays.EncodedImage("a.tar: image 3", lambda: reads.append(1) or data)
    assert reads == []
    np.testing.assert_allclose(image.load(), pixels / 255, atol=1e-6)
    np.testing.assert_array_equal(image.load(), lazy_arrays.ImageFile(path).load())
    with pytest.raises(ValueError, match=r"a\.tar: image 3: cannot be read"):
        lazy_arrays.EncodedImage("a.tar: image 3", lambda: data[:40]).load()
