"""Measure how many frames per second a server of scenes (`ff serve`) delivers to its clients, and how it lasts.

    python -m experiments.benchmarks.serving --run=runs/demo                        # starts a server, and ends it
    python -m experiments.benchmarks.serving --run=runs/demo --sizes=1920x1080 --clients=64 --seconds=10
    python -m experiments.benchmarks.serving --run=runs/demo --sizes=208x128 --clients=4 --minutes=10  # a soak test
    python -m experiments.benchmarks.serving --address=127.0.0.1:50051 --clients=1,4,16   # a server that runs already

The clients are threads of this process. They follow the recorded drive; every call of a client waits for the answer to
the one before, as a simulator does. Every size is compiled before it is measured. Calls that fail are counted. The rate
of the last quarter of the time, and the memory of the server's process at the start, after a quarter and at the end,
tell whether it becomes slower or larger. In a soak test clients are killed while their calls are under way
(`--dying_clients`), and after each of them the server has to send the same bytes for the same request as at the start.
"""

import json
from contextlib import nullcontext
from pathlib import Path

import jax
from absl import flags

from experiments.benchmarks.recorded_drive import RecordedDrive, Work
from experiments.benchmarks.server_process import ServerProcess, serve_run
from experiments.cli import command_line

_RUN = flags.DEFINE_string("run", None, "Folder of a run, for which a server is started; default: use --address.")
_ADDRESS = flags.DEFINE_string("address", "127.0.0.1:50051", "HOST:PORT of a server that runs already.")
_SCENE = flags.DEFINE_string("scene", "", "scene_id; default: the first one of the server.")
_SIZES = flags.DEFINE_list("sizes", ["512x320", "1920x1080"], "Image sizes, WIDTHxHEIGHT.")
_CLIENTS = flags.DEFINE_list("clients", ["1", "16", "64"], "Numbers of clients.")
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Time for each row.", lower_bound=0.1, upper_bound=1e6)
_MINUTES = flags.DEFINE_float("minutes", None, "Time for each row of a soak test.", lower_bound=0.01, upper_bound=1e4)
_DYING = flags.DEFINE_integer(
    "dying_clients",
    None,
    "Clients that are killed during each row; default: 10 in a soak test, else none.",
    lower_bound=0,
    upper_bound=10_000,
)
_FORMAT = flags.DEFINE_enum("format", "JPEG", ["JPEG", "PNG", "RGB_UINT8_PLANAR"], "Encoding of the images.")
_CALL = flags.DEFINE_enum(
    "call",
    "render_rgb",
    ["render_rgb", "batch_render_rgb", "render_trust"],
    "Call; a batch has all cameras of the log.",
)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")


def measure_rows(server: ServerProcess, sizes: list[tuple[int, int]], numbers: tuple[int, ...]) -> list[dict]:
    """Measure every size with every number of clients.

    Raises:
        ValueError: the server cannot be reached or refuses, or sends other bytes after a client has died.
    """
    import grpc

    from experiments.benchmarks.serving_row import Row, measure
    from ff_jax.simulation.client import Client

    seconds = _SECONDS.value if _MINUTES.value is None else 60 * _MINUTES.value
    dying = _DYING.value if _DYING.value is not None else 10 * (_MINUTES.value is not None)
    try:
        with Client(server.address) as client:
            client.call("get_version", timeout=10)
            drive = RecordedDrive(client, _SCENE.value)
        works = [Work(drive, _CALL.value, size, _FORMAT.value) for size in sizes]
        return [measure(server, Row(work, clients, seconds, dying)) for work in works for clients in numbers]
    except grpc.RpcError as error:
        raise ValueError(f"{server.address}: {error.code().name}: {error.details()}") from None


def main(_: list[str]) -> None:
    """Measure every size with every number of clients, and print a table."""
    try:
        import grpc  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the clients need pip install grpcio protobuf ({error}).") from None
    sizes = [command_line.parse_pair(size, "x", "sizes") for size in _SIZES.value]
    numbers = command_line.parse_numbers(_CLIENTS, int)
    if 0 in numbers:
        raise ValueError("invalid --clients=0: expected at least one client.")
    jax.config.update("jax_platforms", "cpu")  # of the clients: the accelerator is the server's
    with serve_run(_RUN.value) if _RUN.value else nullcontext(ServerProcess(_ADDRESS.value)) as server:
        rows = measure_rows(server, sizes, numbers)
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(_cell(value) for value in row.values()) + " |")
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps({"call": _CALL.value, "format": _FORMAT.value, "rows": rows}, indent=2))


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"


if __name__ == "__main__":
    command_line.run(main)
