"""Weights files: which one is taken, that a download is whole or absent, and clear errors for damaged files."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save_file

from ff_jax.runtime.weight_files import WeightsSource, check_shapes, locate_weights, read_arrays
from tests.random_inputs import seeded_rng


@pytest.fixture
def arrays():
    rng = seeded_rng()
    return {"a.kernel": rng.random((3, 4), np.float32), "a.bias": rng.random(70_000, np.float32)}


@pytest.fixture
def remote(tmp_path, arrays):
    path = tmp_path / "remote" / "net.npz"
    path.parent.mkdir()
    np.savez(path, **arrays)
    return path


@pytest.fixture
def server(remote):
    """Serve the folder of `remote` and list the paths that were asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(remote.parent))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}", asked
        http.shutdown()
        thread.join()


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_path_that_exists_wins_and_is_checked_only_if_a_digest_is_given(tmp_path, remote):
    weights = WeightsSource(str(remote), url="http://127.0.0.1:1/unreachable.npz")
    assert locate_weights(weights, "FID", tmp_path / "cache") == remote
    assert (
        locate_weights(WeightsSource(str(remote), sha256=digest(remote).upper()), "FID", tmp_path / "cache") == remote
    )
    with pytest.raises(ValueError, match=f"{digest(remote)}.*{'0' * 64}"):
        locate_weights(WeightsSource(str(remote), sha256="0" * 64), "FID", tmp_path / "cache")
    assert remote.is_file()
    assert not (tmp_path / "cache").exists()


def test_a_download_is_kept_under_its_digest_and_used_without_network(tmp_path, remote, server):
    address, asked = server
    weights = WeightsSource(str(tmp_path / "absent"), f"{address}/net.npz?version=2", digest(remote))
    path = locate_weights(weights, "FID", tmp_path / "cache")
    assert path == tmp_path / "cache" / f"{digest(remote)}.npz"
    assert path.read_bytes() == remote.read_bytes()
    assert asked == ["/net.npz?version=2"]
    remote.unlink()
    assert locate_weights(weights, "FID", tmp_path / "cache") == path
    assert len(asked) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_download_is_fetched_again(tmp_path, remote):
    weights = WeightsSource(url=remote.as_uri(), sha256=digest(remote))
    path = locate_weights(weights, "FID", tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-1])
    assert locate_weights(weights, "FID", tmp_path / "cache").read_bytes() == remote.read_bytes()


def test_a_wrong_digest_leaves_nothing_behind(tmp_path, remote, server):
    for url in (remote.as_uri(), f"{server[0]}/net.npz"):
        with pytest.raises(ValueError, match=f"{digest(remote)}.*{'1' * 64}"):
            locate_weights(WeightsSource(url=url, sha256="1" * 64), "FID", tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


def test_a_failed_download_is_one_sentence(tmp_path, server):
    for url in (f"{server[0]}/absent.npz", "http://127.0.0.1:1/net.npz", (tmp_path / "absent").as_uri(), "http:///x"):
        with pytest.raises(ValueError, match=r"LPIPS: .* cannot be downloaded"):
            locate_weights(WeightsSource(url=url, sha256="1" * 64), "LPIPS", tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (WeightsSource(), r"lanes: no weights: .*path='', url='', sha256=''"),
        (WeightsSource("/absent/net.npz"), "path='/absent/net.npz'"),
        (WeightsSource(url="https://example.org/net.npz"), "url and its sha256.*example.org"),
        (WeightsSource(sha256="1" * 64), "no weights"),
        (WeightsSource(url="ftp://example.org/net.npz", sha256="1" * 64), "http, https, file"),
        (WeightsSource(url="https://example.org/net.npz", sha256="../../etc"), "64 hexadecimal digits"),
    ],
)
def test_what_is_missing_is_said(tmp_path, weights, words):
    with pytest.raises(ValueError, match=words):
        locate_weights(weights, "lanes", tmp_path)


def test_both_formats_give_the_arrays_back(tmp_path, arrays, remote):
    save_file(arrays, tmp_path / "net.safetensors")
    for path in (remote, tmp_path / "net.safetensors"):
        read = read_arrays(path)
        assert read.keys() == arrays.keys()
        for key, value in arrays.items():
            np.testing.assert_array_equal(read[key], value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_truncated_files_are_one_sentence(tmp_path, arrays, suffix):
    path = tmp_path / f"net{suffix}"
    np.savez_compressed(path, **arrays) if suffix == ".npz" else save_file(arrays, path)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, *seeded_rng().integers(9, len(whole), 20)]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cannot be read \(.*\)"):
            read_arrays(path)


def test_flipped_bytes_are_one_sentence_or_harmless(tmp_path, arrays):
    rng = seeded_rng()
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **arrays)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    # Heads of the members and the table at the end are where damage does more than fail a checksum.
    places = np.concatenate([np.arange(60), len(whole) - 1 - np.arange(260), rng.integers(0, len(whole), 30)])
    refused = 0
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= rng.integers(1, 256, dtype=np.uint8)
        path.write_bytes(damaged.tobytes())
        try:
            read_arrays(path)
        except ValueError as error:
            refused += "cannot be read" in str(error)
    assert refused > 50


def test_other_files_are_refused(tmp_path, arrays):
    objects = tmp_path / "objects.npz"
    np.savez(objects, net=np.array([{"a": 1}], dtype=object))
    plain = tmp_path / "plain.npz"
    with open(plain, "wb") as file:
        np.save(file, arrays["a.kernel"])
    for path in (objects, plain, tmp_path / "absent.npz", tmp_path / "absent.safetensors"):
        with pytest.raises(ValueError, match="cannot be read"):
            read_arrays(path)
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        read_arrays(tmp_path / "net.pth")


def test_wrong_sets_of_arrays_are_named(arrays):
    shapes = {key: value.shape for key, value in arrays.items()}
    check_shapes(arrays, shapes, "FID")
    faulty = {"b": np.zeros(2), "a.bias": np.zeros((2, 3))}
    with pytest.raises(ValueError, match=r"missing: a.kernel; surplus: b; misshapen: a.bias \(2, 3\) instead of"):
        check_shapes(faulty, shapes, "FID")
    with pytest.raises(ValueError, match="missing: k0, k1, k2 and 6 more"):
        check_shapes({}, {f"k{i}": (1,) for i in range(9)}, "FID")
