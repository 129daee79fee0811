"""Measure a server of scenes under the load of several clients: one row of the table of `serving`."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

import grpc

from experiments.benchmarks.dying_client import die
from experiments.benchmarks.recorded_drive import Answered, Work, figures
from experiments.benchmarks.server_process import ServerProcess
from ff_jax.simulation.client import Client
from ff_jax.simulation.messages import SENSORSIM_SERVICE

WARM_UP = 8  # poses, evenly spaced along the drive, that are rendered before a row is measured
PAUSE = 0.05  # seconds that a client waits after a call that failed
CALLS = 4  # under way when a client is killed


class Row(NamedTuple):
    """What is measured in a row."""

    work: Work
    clients: int
    seconds: float
    dying: int  # clients that are killed


class _Load(NamedTuple):
    """What the clients of a row have done so far."""

    answers: list[Answered]
    errors: Counter[str]  # by status code
    start: float


def measure(server: ServerProcess, row: Row) -> dict[str, Any]:
    """Let clients render for the time of a row; return its figures.

    Raises:
        ValueError: the server sends other bytes after a client has died.
    """
    work, stop = row.work, threading.Event()
    with Client(server.address) as client:
        images = _warm_up(client, work)
        reference = work.answer(client, 0)
        with ThreadPoolExecutor(row.clients) as threads:
            load = _Load([], Counter(), time.perf_counter())
            users = [threads.submit(_use, server.address, work, 7 * i, load, stop) for i in range(row.clients)]
            try:
                memory = _watch(server, client, row, reference)
            finally:
                stop.set()
        [user.result() for user in users]
        failed = sum(load.errors.values())
    what = {"size": f"{work.size[0]}x{work.size[1]}", "clients": row.clients}
    codes = " ".join(f"{code} {number}" for code, number in sorted(load.errors.items()))
    return what | figures(load.answers, images) | {"errors": failed, "codes": codes} | memory


def _warm_up(client: Client, work: Work) -> int:
    """Compile, and raise the renderer's capacity to what the drive needs; return the number of images of a call."""
    poses = len(work.drive.poses)
    return max(work.call(client, i * max(poses // WARM_UP, 1))[0] for i in range(min(WARM_UP, poses)))


def _use(address: str, work: Work, first: int, load: _Load, stop: threading.Event) -> None:
    """Make calls one after the other until the row ends."""
    with Client(address) as client:
        for index in count(first):
            before = time.perf_counter()
            if stop.is_set():
                return
            try:
                num_bytes = work.call(client, index)[1]
            except grpc.RpcError as error:
                load.errors[error.code().name] += 1
                time.sleep(PAUSE)
                continue
            except ValueError:  # an image of a batch failed
                load.errors["BATCH"] += 1
                continue
            after = time.perf_counter()
            if not stop.is_set():
                load.answers.append(Answered(after - load.start, after - before, num_bytes))


def _watch(server: ServerProcess, client: Client, row: Row, reference: bytes) -> dict[str, Any]:
    """Kill clients at equal times and read the memory of the server, until the time of a row is over."""
    start, memory, killed = time.perf_counter(), [server.memory_mb()], 0
    while (spent := time.perf_counter() - start) < row.seconds:
        if len(memory) == 1 and spent > row.seconds / 4:
            memory.append(server.memory_mb())
        if killed < row.dying and spent > row.seconds * (killed + 0.5) / row.dying:
            _kill_one(server, client, row.work, reference)
            killed += 1
        time.sleep(min(0.05, row.seconds / 20))
    names = ("memory_mb_start", "memory_mb_quarter", "memory_mb_end")
    return {"killed_clients": killed} | dict(zip(names, [*memory, server.memory_mb()], strict=False))


def _kill_one(server: ServerProcess, client: Client, work: Work, reference: bytes) -> None:
    """Let a client die, and check that another one still gets the image of before."""
    request = work.drive.request(0, work.size, work.encoding).SerializeToString()
    die(server.address, f"/{SENSORSIM_SERVICE}/render_rgb", CALLS, request)
    if work.answer(client, 0) != reference:
        raise ValueError(f"{server.address} sends another image for the same request after a client has died.")
