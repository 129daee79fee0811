"""Measure how many frames per second a server of scenes (`ff serve`) delivers to its clients.

    python -m experiments.serve --run=runs/demo
    python -m experiments.benchmarks.serving --sizes=512x320,1920x1080 --clients=1,4,16
    python -m experiments.benchmarks.serving --clients=4 --seconds=3600         # a soak test

The clients are threads of this process. They follow the recorded drive; every call of a client waits for the answer to
the one before, as a simulator does. Every size is compiled before it is measured. The rate of the last quarter of the
time tells whether the server becomes slower.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from absl import flags

from experiments.benchmarks.recorded_drive import Answered, RecordedDrive, figures
from experiments.cli import command_line

_ADDRESS = flags.DEFINE_string("address", "127.0.0.1:50051", "HOST:PORT of the server.")
_SCENE = flags.DEFINE_string("scene", "", "scene_id; default: the first one of the server.")
_SIZES = flags.DEFINE_list("sizes", ["512x320", "1280x768"], "Image sizes, WIDTHxHEIGHT.")
_CLIENTS = flags.DEFINE_list("clients", ["1", "4", "16"], "Numbers of clients.")
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Time for each row.", lower_bound=0.1, upper_bound=1e6)
_FORMAT = flags.DEFINE_enum("format", "JPEG", ["JPEG", "PNG", "RGB_UINT8_PLANAR"], "Encoding of the images.")
_CALL = flags.DEFINE_enum(
    "call",
    "render_rgb",
    ["render_rgb", "batch_render_rgb", "render_trust"],
    "Call; a batch has all cameras of the log.",
)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")


def measure(address: str, drive: RecordedDrive, size: tuple[int, int], num_clients: int) -> dict[str, Any]:
    """Let clients render for the time of a row; return its figures."""
    from ff_jax.simulation.client import Client

    name, encoding, seconds = _CALL.value, _FORMAT.value, _SECONDS.value
    with Client(address) as client:
        images, _ = drive.call(client, name, 0, size, encoding)  # compiles
    start, barrier = 0.0, threading.Barrier(num_clients + 1)

    def use(first: int) -> list[Answered]:
        answers = []
        with Client(address) as client:
            barrier.wait()
            for index in count(first):
                before = time.perf_counter()
                if before - start > seconds:
                    return answers
                _, num_bytes = drive.call(client, name, index, size, encoding)
                after = time.perf_counter()
                answers.append(Answered(after - start, after - before, num_bytes))
        return answers

    with ThreadPoolExecutor(num_clients) as threads:
        running = [threads.submit(use, 7 * number) for number in range(num_clients)]
        start = time.perf_counter()
        barrier.wait()
        answers = [answer for part in running for answer in part.result()]
    return {"size": f"{size[0]}x{size[1]}", "clients": num_clients} | figures(answers, images)


def main(_: list[str]) -> None:
    """Measure every size with every number of clients, and print a table."""
    try:
        import grpc

        from ff_jax.simulation.client import Client
    except ImportError as error:
        raise ValueError(f"the clients need pip install grpcio protobuf ({error}).") from None
    sizes = [command_line.parse_pair(size, "x", "sizes") for size in _SIZES.value]
    numbers = command_line.parse_numbers(_CLIENTS, int)
    if 0 in numbers:
        raise ValueError("invalid --clients=0: expected at least one client.")
    try:
        with Client(_ADDRESS.value) as client:
            client.call("get_version", timeout=10)
            drive = RecordedDrive(client, _SCENE.value)
        rows = [measure(_ADDRESS.value, drive, size, clients) for size in sizes for clients in numbers]
    except grpc.RpcError as error:
        raise ValueError(f"{_ADDRESS.value}: {error.code().name}: {error.details()}") from None
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(value if isinstance(value, str) else f"{value:.4g}" for value in row.values()) + " |")
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps({"call": _CALL.value, "format": _FORMAT.value, "rows": rows}, indent=2))


if __name__ == "__main__":
    command_line.run(main)
