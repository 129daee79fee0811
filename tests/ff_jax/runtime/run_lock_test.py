"""A folder belongs to one live process at a time."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ff_jax.runtime.run_lock import is_locked, lock_run

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from ff_jax.runtime.run_lock import lock_run
with lock_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_refused_and_told_by_whom(other, tmp_path):
    sentence = rf"{tmp_path} is in use by process {other.pid} on \S+ since .*: wait for it, or name another folder\."
    with pytest.raises(ValueError, match=sentence), lock_run(tmp_path):
        pass


def test_a_dead_process_holds_nothing(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock_run(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")
    with lock_run(tmp_path):
        pass


def test_who_asks_does_not_take_it(other, tmp_path):
    assert is_locked(tmp_path)
    os.kill(other.pid, signal.SIGSTOP)  # stopped is not dead
    assert is_locked(tmp_path)
    other.kill()
    other.wait()
    assert not is_locked(tmp_path) and not is_locked(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with lock_run(tmp_path):
        assert is_locked(tmp_path)


def test_a_file_system_without_locks_is_warned_about(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with lock_run(tmp_path), lock_run(tmp_path):
        pass
    assert f"{tmp_path} cannot be locked" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=f"{folder} cannot be written .*: name another folder"), lock_run(folder):
            pass


@pytest.mark.parametrize("name", [".lock", "recon", "fused/metrics.jsonl"])
def test_links_in_a_folder_are_not_followed(tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(ValueError, match=f"{link} is a symbolic link"), lock_run(tmp_path / "run"):
        pass
    assert precious.read_text() == "mine"


def test_a_lock_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(OSError, match="is no file"), lock_run(tmp_path):
        pass


def test_another_name_of_a_file_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "run").mkdir()
    os.link(tmp_path / "thesis.txt", tmp_path / "run" / ".lock")
    with lock_run(tmp_path / "run"):
        assert is_locked(tmp_path / "run")
    assert (tmp_path / "thesis.txt").read_text() == "precious"
