"""The Flax classes of diffusers, importable although torchvision may be broken, and without their warnings.

Nothing here needs torchvision. But if it is present, diffusers and transformers import it beside PyTorch, and fail with
it when it was built for another version of PyTorch. Import this module before other parts of diffusers.
"""

import contextlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden_if_broken(package: str) -> Iterator[None]:
    """Make `package` look absent while the context is open, if it is present but cannot be imported."""
    if package in sys.modules or importlib.util.find_spec(package) is None:
        yield
        return
    try:
        importlib.import_module(package)
        is_broken = False
    except (ImportError, RuntimeError, OSError):  # missing symbols, unregistered operators, missing libraries
        is_broken = True
        sys.modules[package] = None  # pyright: ignore[reportArgumentType]: documented as "absent"
    try:
        yield
    finally:
        if is_broken:
            del sys.modules[package]


def _is_other_warning(record: logging.LogRecord) -> bool:
    return "Flax classes are deprecated" not in str(record.msg)


# Every Flax class warns where it is defined and used that diffusers 0.40 removes it; the requirements exclude that one.
for _module in (
    "attention",
    "embeddings",
    "modeling",
    "resnet",
    "vae",
    "unets.unet_2d_blocks",
    "unets.unet_2d_condition",
):
    _name = f"diffusers.models.{_module}_flax" + ("_utils" if _module == "modeling" else "")
    logging.getLogger(_name).addFilter(_is_other_warning)

# Diffusers looks for other packages while it is imported.
with hidden_if_broken("torchvision"):
    from diffusers.models.attention_flax import FlaxAttention, FlaxGEGLU, FlaxTransformer2DModel
    from diffusers.models.unets.unet_2d_condition_flax import FlaxUNet2DConditionModel
    from diffusers.models.vae_flax import FlaxAutoencoderKL, FlaxDownEncoderBlock2D, FlaxUpDecoderBlock2D

__all__ = [
    "FlaxAttention",
    "FlaxAutoencoderKL",
    "FlaxDownEncoderBlock2D",
    "FlaxGEGLU",
    "FlaxTransformer2DModel",
    "FlaxUNet2DConditionModel",
    "FlaxUpDecoderBlock2D",
    "hidden_if_broken",
]
