"""The type checker of jaxtyping's import hook."""

import functools
from collections.abc import Callable

from beartype import beartype


def check(function: Callable) -> Callable:
    """Check arguments and results with beartype, but not the fields of pytree dataclasses.

    JAX rebuilds those with placeholders as leaves. They are told by their method `replace`, which `flax.struct` adds.
    The check of a function is made when it is first called: a test process imports thousands and calls some hundreds.
    """
    checked = None

    @functools.wraps(function)
    def check_call(*args, **kwargs):
        nonlocal checked
        if function.__name__ == "__init__" and hasattr(type(args[0]), "replace"):
            return function(*args, **kwargs)
        checked = checked or beartype(function)
        return checked(*args, **kwargs)

    return check_call
