"""Entry points: short absl mains over the library."""

import signal
import sys


def _is_program(arguments: list[str]) -> bool:
    """Test whether the interpreter was started to run an entry point of this package."""
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""
    return module.split(".")[0] == "experiments"


# Importing the libraries takes seconds: Ctrl-C ends a program then as well, without the source code of the imports.
if _is_program(sys.orig_argv) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
