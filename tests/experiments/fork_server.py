"""Runs entry points as `python -m` does, whenever asked, in forks of one process that imports their libraries once.

Importing takes longer than most small runs. `run_each` of `forks` is for many calls of one program at once.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, CompletedProcess

from tests.experiments.forks import ROOT, become, import_libraries


class ForkServer:
    """The process; close it when all is done."""

    def __init__(self, modules: list[str], folder: Path, **environment: str):
        """Start it.

        Args:
            modules: entry points whose libraries are imported.
            folder: an empty folder for what runs print.
            environment: variables that differ from those of this process.
        """
        command = [sys.executable, "-m", __name__, str(folder), *modules]
        variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
        self._process = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=PIPE, stdout=PIPE, text=True)
        self._folder, self._number = folder, 0

    def run(self, module: str, *arguments: object) -> CompletedProcess:
        """Run `python -m module` and return its end."""
        self._number += 1
        call = [str(self._number), module, *map(str, arguments)]
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        said = [(self._folder / f"{self._number}.{stream}").read_text() for stream in ("out", "err")]
        return CompletedProcess(call, code, *said)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def main(folder: str, *modules: str) -> None:
    """Fork for each call that is read from stdin; print its exit code."""
    for module in modules:
        import_libraries(module)
    gc.disable()  # runs are short, and tracing makes garbage by the million that is never looked at again
    for line in iter(sys.stdin.readline, ""):
        number, module, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            return become(module, arguments, f"{folder}/{number}")
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
