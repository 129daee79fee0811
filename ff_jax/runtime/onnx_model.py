"""Run networks from ONNX files, such as detectors and lane segmenters.

onnxruntime is imported only here and is an optional requirement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ff_jax.runtime.untrusted_files import read_file, reason


class TensorSpec(NamedTuple):
    """Name, shape and element type of an input or output; a dynamic dimension is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A loaded network; made by `open_network`."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    session: Any  # onnxruntime.InferenceSession

    def run(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network on one array per input; outputs come in the order of `outputs`.

        Raises:
            ValueError: an input is missing, unknown, or of another shape or element type; or the network fails.
        """
        if set(arrays) != {spec.name for spec in self.inputs}:
            names = ", ".join(spec.name for spec in self.inputs)
            raise ValueError(f"{self.path} expects the inputs {names}, got {', '.join(arrays)}.")
        for spec in self.inputs:
            _check_input(self.path, spec, arrays[spec.name])
        try:
            return self.session.run(None, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
        except Exception as error:  # onnxruntime's errors have no common base
            raise ValueError(f"{self.path} failed ({reason(error)}); use inputs it was exported for.") from error


def open_network(path: Path | str) -> OnnxNetwork:
    """Open an ONNX file; it runs on an NVIDIA GPU if onnxruntime supports one, else on the CPU.

    Args:
        path: of the .onnx file.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file is missing or is not a network that onnxruntime can run.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX networks need onnxruntime: pip install onnxruntime (or onnxruntime-gpu).") from error
    path = Path(path)
    data = read_file(path)
    options = onnxruntime.SessionOptions()
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        session = onnxruntime.InferenceSession(
            data, options, providers=providers, enable_fallback=int(len(providers) > 1)
        )  # the fallback prints why
    except Exception as error:  # onnxruntime's errors have no common base
        raise ValueError(f"{path}: not a network that runs ({reason(error)}); download or export it again.") from error
    return OnnxNetwork(path, _specs(path, session.get_inputs()), _specs(path, session.get_outputs()), session)


def _specs(path: Path, values: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(value.name, _shape(value.shape), _dtype(path, value.type)) for value in values)


def _check_input(path: Path, spec: TensorSpec, array: np.ndarray) -> None:
    fits = len(array.shape) == len(spec.shape) and all(
        expected in (None, size) for expected, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.dtype != spec.dtype:
        shape = "x".join("?" if size is None else str(size) for size in spec.shape)
        raise ValueError(f"{path}: input {spec.name!r} must be {shape} {spec.dtype}, got {array.shape} {array.dtype}.")


def _shape(sizes: Sequence[Any]) -> tuple[int | None, ...]:
    """Replace dynamic sizes, which onnxruntime gives as names or as None, by None."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)


def _dtype(path: Path, name: str) -> np.dtype:
    """Convert a type name of onnxruntime, such as "tensor(float16)", to its element type."""
    element = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64"}.get(element, element))
    except TypeError as error:
        raise ValueError(f"{path}: {name} is not a tensor of numbers; export the network without it.") from error
