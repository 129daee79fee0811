import struct

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import colmap
from ff_jax.data.formats.colmap_model import MODELS, ModelCamera
from ff_jax.data.loader import distort
from ff_jax.data.scene_data import invert_rigid
from ff_jax.data.validate import validate

CAMERAS = {3: ("OPENCV", [20.0, 21, 12, 8, 0.1, 0.02, 0.001, -0.002]), 7: ("SIMPLE_RADIAL", [19.0, 11.5, 8.5, -0.03])}
NAMES = ("front/b.png", "front/a.png", "left/a.png")


class Model:
    """A random reconstruction of two cameras, and its files as COLMAP's documentation describes them."""

    def __init__(self, rng):
        self.quaternions = Rotation.random(3, rng).as_quat()[:, [3, 0, 1, 2]]
        self.translations = rng.normal(size=(3, 3))
        self.xyz, self.rgb = rng.normal(size=(5, 3)), rng.integers(0, 256, (5, 3))
        self.cameras = (3, 3, 7)

    def text(self, folder):
        write(folder / "cameras.txt", [f"{n} {m} 24 16 {numbers(p)}" for n, (m, p) in CAMERAS.items()])
        images = []
        for i, name in enumerate(NAMES):
            pose = f"{numbers(self.quaternions[i])} {numbers(self.translations[i])}"
            images += [f"{9 - i} {pose} {self.cameras[i]} {name}", "1.5 2.5 -1 3.5 4.5 0" if i else ""]
        write(folder / "images.txt", images)
        rows = zip(self.xyz, self.rgb, strict=True)
        write(folder / "points3D.txt", [f"{i} {numbers(x)} {numbers(c)} 0.5 1 0 2 1" for i, (x, c) in enumerate(rows)])

    def binary(self, folder):
        cameras = [struct.pack("<iiQQ", n, MODELS.index(m), 24, 16) + doubles(p) for n, (m, p) in CAMERAS.items()]
        images = []
        for i, name in enumerate(NAMES):
            head = struct.pack("<I", 9 - i) + doubles(self.quaternions[i]) + doubles(self.translations[i])
            pixels = struct.pack("<Q", i) + struct.pack("<ddq", 1.5, 2.5, -1) * i
            images.append(head + struct.pack("<I", self.cameras[i]) + name.encode() + b"\0" + pixels)
        points = [
            struct.pack("<Q", i) + doubles(x) + bytes(c.tolist()) + doubles([0.5]) + struct.pack("<QII", 1, 0, 2)
            for i, (x, c) in enumerate(zip(self.xyz, self.rgb, strict=True))
        ]
        for stem, records in {"cameras": cameras, "images": images, "points3D": points}.items():
            (folder / f"{stem}.bin").write_bytes(struct.pack("<Q", len(records)) + b"".join(records))


def write(path, lines):
    path.write_text("\n".join(["# a comment", *lines, ""]))


def numbers(values):
    return " ".join(map(repr, np.asarray(values).tolist()))


def doubles(values):
    return struct.pack(f"<{len(values)}d", *values)


@pytest.fixture(params=["text", "binary"])
def reconstruction(request, tmp_path):
    rng, folder = np.random.default_rng(), tmp_path / "sparse/0"
    model = Model(rng)
    folder.mkdir(parents=True)
    getattr(model, request.param)(folder)
    for name in NAMES:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path, model


def test_both_forms_of_a_model_are_read(reconstruction):
    path, model = reconstruction
    scene = validate(colmap.load(path), decode=True)
    assert scene.cameras == ("front", "left") and len(scene.times) == 2
    actual = {frame.image.path.relative_to(path / "images").as_posix(): frame for frame in scene.frames}
    steps = [actual[name].time_index for name in NAMES]
    assert steps == [1, 0, 0]  # the names of a camera's images are its order in time
    expected = np.broadcast_to(np.eye(4), (3, 4, 4)).copy()
    expected[:, :3, :3] = Rotation.from_quat(model.quaternions[:, [1, 2, 3, 0]]).as_matrix()
    expected[:, :3, 3] = model.translations
    origin = invert_rigid(expected[1])[:3, 3]  # the world starts at the first image of the first camera
    for name, camera_from_world in zip(NAMES, expected, strict=True):
        scaled_points = invert_rigid(camera_from_world)
        scaled_points[:3, 3] -= origin
        np.testing.assert_allclose(actual[name].world_from_camera, scaled_points, atol=1e-9)
    np.testing.assert_allclose(scene.points.xyz, model.xyz - origin, atol=1e-9)
    np.testing.assert_allclose(scene.points.rgb, model.rgb / 255)
    assert actual[NAMES[0]].distortion.tolist() == [0.1, 0.02, 0.001, -0.002, 0]
    assert actual[NAMES[2]].distortion.tolist() == [-0.03, 0, 0, 0, 0]
    assert actual[NAMES[2]].K.tolist() == [[19, 0, 11.5], [0, 19, 8.5], [0, 0, 1]]


def test_scale_stretches_everything_but_the_lens(reconstruction):
    path, _ = reconstruction
    unit, scaled = colmap.load(path), colmap.load(path, scale=2.5)
    for a, b in zip(unit.frames, scaled.frames, strict=True):
        np.testing.assert_allclose(b.world_from_camera[:3, 3], 2.5 * a.world_from_camera[:3, 3], atol=1e-9)
        np.testing.assert_array_equal(b.world_from_camera[:3, :3], a.world_from_camera[:3, :3])
    np.testing.assert_allclose(scaled.points.xyz, 2.5 * unit.points.xyz, atol=1e-9)
    with pytest.raises(ValueError, match=r"scale=0.0; expected at least one image, and a positive scale"):
        colmap.load(path, scale=0.0)


def test_every_lens_follows_its_formula():
    """The formulas of COLMAP's camera models, written out."""
    rng = np.random.default_rng()
    rays = rng.uniform(-0.4, 0.4, (6, 2))
    r2 = (rays**2).sum(1)
    k1, k2, p1, p2 = rng.normal(0, 0.05, 4)
    u, v = rays.T
    radial = 1 + k1 * r2 + k2 * r2**2
    skewed = np.stack([2 * p1 * u * v + p2 * (r2 + 2 * u**2), p1 * (r2 + 2 * v**2) + 2 * p2 * u * v], -1)
    cases = {
        "SIMPLE_PINHOLE": ((30.0, 12, 8), rays, (30, 30)),
        "PINHOLE": ((30.0, 31, 12, 8), rays, (30, 31)),
        "SIMPLE_RADIAL": ((30.0, 12, 8, k1), rays * (1 + k1 * r2)[:, None], (30, 30)),
        "RADIAL": ((30.0, 12, 8, k1, k2), rays * radial[:, None], (30, 30)),
        "OPENCV": ((30.0, 31, 12, 8, k1, k2, p1, p2), rays * radial[:, None] + skewed, (30, 31)),
    }
    for model, (values, distorted, focal) in cases.items():
        K, coefficients = colmap.lens(ModelCamera(model, 24, 16, tuple(map(float, values))))
        actual = rays if coefficients is None else distort(rays, coefficients)
        np.testing.assert_allclose(actual @ K[:2, :2] + K[:2, 2], distorted * focal + [12, 8], atol=1e-9)


def test_damaged_models_give_one_sentence(reconstruction):
    path, _ = reconstruction
    folder = path / "sparse/0"
    suffix = "bin" if (folder / "cameras.bin").exists() else "txt"
    file = folder / f"images.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(ValueError, match=rf"images\.{suffix}: cannot be read as a COLMAP model"):
        colmap.load(path)
    file.write_bytes(whole)
    cameras = folder / f"cameras.{suffix}"
    fisheye = struct.pack("<QiiQQ", 1, 3, 8, 24, 16) if suffix == "bin" else b"3 OPENCV_FISHEYE 24 16 1 1 1 1 0 0 0 0"
    cameras.write_bytes(fisheye)
    with pytest.raises(ValueError, match=r"camera model .* is none of SIMPLE_PINHOLE"):
        colmap.load(path)
    (folder / f"points3D.{suffix}").unlink()
    cameras.write_bytes(struct.pack("<Q", 0) if suffix == "bin" else b"")
    with pytest.raises(ValueError, match=r"points3D.* cannot be read \(No such file"):
        colmap.load(path)
    cameras.unlink()
    with pytest.raises(ValueError, match="holds no COLMAP model; use the folder"):
        colmap.load(path)
