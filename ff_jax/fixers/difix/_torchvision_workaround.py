"""Import diffusers where torchvision is installed for another version of PyTorch than the one that is there.

Nothing here needs torchvision, but diffusers and transformers import it if they find it, and fail with it.
"""

import importlib
import importlib.util
import sys


def hide_unfit_torchvision() -> None:
    """Let diffusers and transformers do without torchvision if it is there and cannot be imported."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):  # by missing symbols, unregistered operators, missing libraries
        sys.modules["torchvision"] = None
        for package in ("transformers", "diffusers"):
            if importlib.util.find_spec(package) is not None:
                importlib.import_module(f"{package}.utils.import_utils")._torchvision_available = False
