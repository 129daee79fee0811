"""Start `serve` as a process of its own, and measure its memory."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from experiments.cli.signals import PARENT

STOP_SECONDS = 30.0  # that a server has to end after its signal


class ServerProcess(NamedTuple):
    """A server of scenes; `process` is None if another program started it."""

    address: str  # HOST:PORT
    process: subprocess.Popen | None = None

    def memory_mb(self) -> float | None:
        """Read the resident memory of the process, MB; None where it is not known (other processes, no Linux)."""
        status = Path(f"/proc/{self.process.pid}/status") if self.process else None
        if status is None or not status.is_file():
            return None
        match = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        return float(match[1]) * 1024e-6 if match else None


@contextmanager
def serve_run(run: str, start_seconds: float = 600.0) -> Iterator[ServerProcess]:
    """Serve the scene of a run on a free port of this machine, until the block ends.

    Raises:
        ValueError: the server ended, or took longer than `start_seconds`.
    """
    command = [sys.executable, "-m", "experiments.serve", f"--run={run}", "--port=0", "--any_camera"]
    with tempfile.TemporaryFile("w+") as output:
        environment = os.environ | {PARENT: str(os.getpid())}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            yield ServerProcess(_address(process, output.fileno(), start_seconds), process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen, output: int, start_seconds: float) -> str:
    """Wait for the address that a server prints to a file."""
    deadline, text = time.monotonic() + start_seconds, ""
    while time.monotonic() < deadline:
        has_ended = process.poll() is not None
        text = os.pread(output, 1 << 20, 0).decode(errors="replace")
        if match := re.search(r"^serving .* on (\S+)$", text, re.MULTILINE):
            return match[1]
        if has_ended:
            break
        time.sleep(0.1)
    lines = text.strip().splitlines() or ["no output"]
    raise ValueError(f"the server did not start: {lines[-1].removeprefix('error: ')}")
