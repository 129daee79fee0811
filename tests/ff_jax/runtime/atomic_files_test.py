"""Files appear whole or not at all."""

import errno

import pytest

from ff_jax.runtime.atomic_files import DiskFullError, atomic_write, explain_full_disk


def test_a_file_takes_its_place_only_when_whole(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.suffix == ".txt"
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("tw")
        raise KeyError("stopped")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_links_are_replaced_and_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "x")
    precious, path = tmp_path / "precious", tmp_path / "a.txt"
    precious.write_text("mine")
    path.symlink_to(precious)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert precious.read_text() == "mine" and path.read_text() == "new" and not path.is_symlink()
    temporary.symlink_to(precious)
    with pytest.raises(FileExistsError), atomic_write(path) as temporary:
        temporary.write_text("foreign")
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("write: No space left on device [source 1]"),
        ExceptionGroup("several", [KeyError("a"), OSError(errno.ENOSPC, "x")]),
    ],
)
def test_every_form_of_a_full_disk_names_the_path(tmp_path, error):
    with pytest.raises(DiskFullError, match=f"no space is left on the disk to write {tmp_path}") as caught:
        with explain_full_disk(tmp_path):
            try:
                raise error
            finally:
                pass
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT) and caught.value.__cause__ is error


def test_the_cause_of_a_wrapped_error_is_found_and_others_pass_through(tmp_path):
    with pytest.raises(DiskFullError), explain_full_disk(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as cause:
            raise RuntimeError("saving failed") from cause
    with pytest.raises(KeyError), explain_full_disk(tmp_path):
        raise KeyError("other")


def test_a_limit_of_the_files_is_named(tmp_path):
    with pytest.raises(DiskFullError, match=r"files may not grow large enough to write .* raise the limit") as caught:
        with explain_full_disk(tmp_path):
            raise ValueError("Failed to write 12 bytes to file 7: File too large [os_error_code='27']")
    assert caught.value.errno == errno.EFBIG
