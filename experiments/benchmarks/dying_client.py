"""A client that is killed while its calls are under way, as `serving` does it to see what a server makes of that."""

import subprocess
import sys
import time

import grpc


def start_calls(address: str, path: str, count: int, request: bytes) -> None:
    """Start calls, print a line when all of them are sent, and wait to be killed."""
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        calls = [channel.unary_unary(path).future(request) for _ in range(count)]
        print(f"{len(calls)} calls", flush=True)
        time.sleep(60)


def die(address: str, path: str, count: int, request: bytes) -> None:
    """Run a client in a process of its own, and kill it as soon as it has sent its calls.

    Args:
        address: HOST:PORT of the server.
        path: of the call, /SERVICE/NAME.
        count: number of calls.
        request: the message of all calls, serialized.

    Raises:
        RuntimeError: the client could not send its calls.
    """
    program = "import sys; from experiments.benchmarks import dying_client as d; a = sys.argv; "
    program += "d.start_calls(a[1], a[2], int(a[3]), sys.stdin.buffer.read())"
    command = [sys.executable, "-c", program, address, path, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(request)
        process.stdin.close()
        line = process.stdout.readline()
        process.kill()
    if not line:
        raise RuntimeError(f"a client that was to be killed could not reach {address}.")
