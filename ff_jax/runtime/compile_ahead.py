"""Compile programs in threads before they are called.

A program that is compiled at its first call stops a training for seconds. JAX keeps what `jitted.lower(...).compile()`
makes where a call of `jitted` with arguments of equal shapes finds it, so nothing but time depends on who compiles.
"""

import threading
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from ff_jax.runtime.progress import BACKGROUND, waiting_for


def shapes_of(tree: PyTree) -> PyTree:
    """Replace arrays and numbers by their shapes and dtypes: a donated array may be gone when a thread looks at it."""
    return jax.eval_shape(lambda: tree)


class CompileAhead:
    """Programs that threads compile, by the jitted function; one set of shapes each."""

    def __init__(self):
        """Start with no program."""
        self._threads: dict[Callable, threading.Thread] = {}

    def start(self, jitted: Any, *arguments: PyTree, **static: Any) -> None:
        """Begin to compile `jitted` for the shapes of the arguments, unless that was begun before.

        Args:
            jitted: result of `jax.jit`.
            arguments: shapes (`shapes_of`), or arrays that are not donated meanwhile.
            static: static arguments, by name.
        """
        if jitted in self._threads:
            return

        def work() -> None:
            try:
                jitted.lower(*arguments, **static).compile()
            except Exception:
                return  # the call compiles it again, and raises the error where it can be handled

        # Not a daemon: a program that ends while the compiler works in one may crash.
        thread = threading.Thread(target=work, name=f"{BACKGROUND} {getattr(jitted, '__name__', 'a program')}")
        self._threads[jitted] = thread
        thread.start()

    def wait(self, *programs: Any) -> None:
        """Wait until these programs are compiled, if that was begun: a call meanwhile would compile them twice."""
        for program in programs:
            thread = self._threads.get(program)
            if thread is not None and thread.is_alive():
                with waiting_for(thread.name.removeprefix(f"{BACKGROUND} ")):
                    thread.join()
