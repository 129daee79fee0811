"""Networks that come as ONNX files: detectors and lane segmenters that a metric is defined with.

onnxruntime is needed only here and is not among the requirements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class TensorSpec(NamedTuple):
    """Name, shape and element type of an input or output; a free dimension is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A network that is ready to run; made by `open_network`."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    session: Any  # onnxruntime.InferenceSession

    def run(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for one array per input, in the order of `outputs`.

        Raises:
            ValueError: an input is missing, not known, or of another shape or element type; or the network itself
                fails.
        """
        if set(arrays) != {spec.name for spec in self.inputs}:
            names = ", ".join(spec.name for spec in self.inputs)
            raise ValueError(f"{self.path} takes the inputs {names}, found {', '.join(arrays)}; give exactly these.")
        for spec in self.inputs:
            _check(self.path, spec, arrays[spec.name])
        try:
            return self.session.run(None, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
        except Exception as error:  # onnxruntime's errors have no common base
            raise ValueError(f"{self.path} failed ({_line(error)}); use inputs it was exported for.") from error


def open_network(path: Path | str, threads: int | None = None) -> OnnxNetwork:
    """Open an ONNX file; it runs on an NVIDIA GPU where onnxruntime has one, else on the CPU.

    Args:
        path: of the .onnx file.
        threads: CPU threads of one operator; None takes one for every core.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file is missing or is not a network that onnxruntime can run.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX networks need onnxruntime: pip install onnxruntime (or onnxruntime-gpu).") from error
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of an .onnx file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base
        raise ValueError(f"{path}: not a network that runs ({_line(error)}); download or export it again.") from error
    specs = lambda values: tuple(TensorSpec(v.name, _shape(v.shape), _dtype(path, v.type)) for v in values)
    return OnnxNetwork(path, specs(session.get_inputs()), specs(session.get_outputs()), session)


def _check(path: Path, spec: TensorSpec, array: np.ndarray) -> None:
    fits = len(array.shape) == len(spec.shape) and all(
        want in (None, size) for want, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.dtype != spec.dtype:
        shape = "x".join("?" if size is None else str(size) for size in spec.shape)
        raise ValueError(
            f"{path}: input {spec.name!r} is {shape} {spec.dtype}, found {array.shape} {array.dtype}; convert it."
        )


def _shape(sizes: list) -> tuple[int | None, ...]:
    """Return the sizes with None for the free ones, which onnxruntime gives as names or as None."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)


def _dtype(path: Path, name: str) -> np.dtype:
    """Return the element type of onnxruntime's "tensor(float16)" and the like."""
    element = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64"}.get(element, element))
    except TypeError as error:
        raise ValueError(f"{path}: {name} is no tensor of numbers; export the network without it.") from error


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
