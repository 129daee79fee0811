import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ff_jax.data.formats.registry import open_source
from ff_jax.data.pictures import choose_pictures, find_pictures, sharpness
from ff_jax.export.video import write_mp4
from tests.random_inputs import seeded_rng


def images(count, blurred=()):
    """Make pictures whose brightness tells their number; those of `blurred` are not sharp."""
    rng = seeded_rng()
    for i in range(count):
        image = np.repeat(rng.random((32, 48, 1)), 3, 2) * 0.5 + 0.4 * i / count
        yield ndimage.gaussian_filter(image, (2, 2, 0)) if i in blurred else image


def test_sharp_frames_of_a_video_are_chosen_with_their_times(tmp_path):
    sharp = (1, 5, 8, 14)
    write_mp4(tmp_path / "drive.mp4", images(16, set(range(16)) - set(sharp)), fps=8)
    for source in (tmp_path / "drive.mp4", tmp_path):
        pictures = choose_pictures(source, 4, tmp_path)
        assert [int(picture.file.stem) for picture in pictures] == list(sharp)
        np.testing.assert_allclose([p.time for p in pictures], (np.array(sharp) - 1) / 8, atol=1e-6)
        assert np.asarray(Image.open(pictures[0].file)).shape == (32, 48, 3)
        for picture in pictures:
            picture.file.unlink()


def test_images_of_a_folder_are_in_natural_order_and_evenly_spaced(tmp_path):
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images(12, blurred=(0, 2, 4, 6, 8, 10))):
        Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / f"images/f{i}.png")
    assert [p.file.stem for p in choose_pictures(tmp_path, 99, tmp_path)] == [f"f{i}" for i in range(12)]
    few = choose_pictures(tmp_path, 6, tmp_path)
    assert [p.file.stem for p in few] == [f"f{i}" for i in range(1, 12, 2)]
    np.testing.assert_allclose([p.time for p in few], 0.2 * np.arange(6), atol=1e-9)


def test_what_has_no_poses_is_told_how_to_get_them(tmp_path):
    for i, image in enumerate(images(2)):
        Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / f"{i}.jpg")
    with pytest.raises(ValueError, match=r"has 2 images without poses: find them with .*experiments\.prepare"):
        open_source(str(tmp_path))
    (tmp_path / "drive.MP4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="has a video without poses"):
        open_source(str(tmp_path / "drive.MP4"))
    with pytest.raises(ValueError, match=r"the video cannot be decoded"):
        choose_pictures(tmp_path / "drive.MP4", 4, tmp_path)
    (tmp_path / "empty").mkdir()
    assert find_pictures(tmp_path / "empty") == []
    with pytest.raises(ValueError, match="holds 0 images and no video"):
        choose_pictures(tmp_path / "empty", 4, tmp_path)


def test_sharpness_orders_blurred_images():
    (image,) = images(1)
    blurred = [sharpness(ndimage.gaussian_filter(image, (s, s, 0))) for s in (0.1, 1, 3)]
    assert blurred[0] > blurred[1] > blurred[2]
