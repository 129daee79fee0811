"""Call functions of the Python files that users write: configs and sweeps."""

import inspect
import runpy
from pathlib import Path
from typing import Any

from ff_jax.runtime.untrusted_files import check_regular, reason


def call_function(path: str | Path, name: str, *arguments: str) -> Any:
    """Run a file and call one of its functions.

    Raises:
        ValueError: the file does not exist, fails, has no such function, or the function fails or returns nothing.
    """
    check_regular(path)
    try:
        function = runpy.run_path(str(path)).get(name)
        if function is None:
            raise ValueError(f"it has no function {name}")
        inspect.signature(function).bind(*arguments)
        result = function(*arguments)
    except Exception as error:  # whatever the user's code raises
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{path} cannot be used ({kind}{reason(error)}); correct the file.") from error
    if result is None:
        raise ValueError(f"{path} cannot be used ({name} returns nothing); correct the file.")
    return result
