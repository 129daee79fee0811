"""Damaged and hostile files: one sentence that names the file, without waiting and without much memory."""

import io
import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest

from ff_jax.data.lazy_arrays import ImageFile, image_size
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_regular, read_file, read_json, read_npz
from tests.random_inputs import seeded_rng


def test_special_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("fifo", "device", "folder", "circle", "missing"):
        for read in (check_regular, read_file, read_json, read_npz, image_size, lambda path: ImageFile(path).load()):
            with pytest.raises(UnreadableFileError, match=name):
                read(tmp_path / name)


def test_nested_json_is_one_sentence(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UnreadableFileError, match=r"a\.json.*deep") as error:
        read_json(path)
    assert "\n" not in str(error.value)
    path.write_text("\ufeff[1]", "utf-8")
    assert read_json(path) == [1]


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    rng, path = seeded_rng(), tmp_path / "a.npz"
    arrays = {"x": rng.random((3, 4)).T, "empty": np.zeros((0, 3)), "text": np.array(["a", "bc"]), "one": np.int64(5)}
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)
        read = read_npz(path)
        assert list(read) == list(arrays) and read["x"].flags.writeable
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
        assert list(read_npz(path, ["one", "none"])) == ["one"]


def member(header_shape, data):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": header_shape})
    return file.getvalue() + data


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        {"x.npy": member((10**15,), b"12345678")},  # a header that promises more than there is
        {"x.npy": member((-1,), b"12345678")},
        {"x.txt": b"text"},
        {"x.npy": b"no array"},
        {"x.npy": b"\0" * (1 << 29)},  # a bomb: 500 kB on the disk
    ],
)
def test_odd_archives_are_refused(tmp_path, members):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UnreadableFileError, match=r"a\.npz"):
        read_npz(path)


def test_plain_arrays_and_objects_are_no_archives(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UnreadableFileError, match=r"a\.npz"):
        read_npz(path)
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(UnreadableFileError, match="objects"):
        read_npz(path)


def test_an_image_is_not_decoded_if_its_header_promises_too_many_pixels(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "a.png"
    for side in (9000, 30_000, 100_000):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")))
        with pytest.raises(ValueError, match=r"a\.png") as error:
            ImageFile(path).load()
        assert "\n" not in str(error.value)


def test_content_that_is_no_json_names_the_file(tmp_path):
    for data in (b"{", b"\xff\xfe", b"1" * 5000, json.dumps("\ud800").encode()[:3]):
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(UnreadableFileError, match=r"a\.json"):
            read_json(tmp_path / "a.json")
