"""Differentiation rules of `project` as a kernel.

    forward(parameters, degree)              -> the arrays of `Projected`
    tangent(parameters, degree, dparameters) -> their tangents     linear; transposes to adjoint; in jnp
    adjoint(parameters, degree, v)           -> vparameters        linear in v; transposes to tangent

Forward and adjoint are kernels. Tangents, and all derivatives of the linear maps, are those of the jnp reference.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad
from jaxtyping import Int

from kernels.common.primitives import bind, define, zero_tangent
from kernels.project import pallas_gpu, reference
from kernels.project.types import CameraMatrices, Gaussians3D, Projected, ProjectionOptions

FORWARD = Primitive("project_forward")
TANGENT = Primitive("project_tangent")
ADJOINT = Primitive("project_adjoint")
NUM_GAUSSIAN_ARRAYS = len(Gaussians3D._fields)
NUM_PARAMETERS = NUM_GAUSSIAN_ARRAYS + len(CameraMatrices._fields)


def project_primitive(
    gaussians: Gaussians3D, camera: CameraMatrices, degree: int | Int[Array, ""], options: ProjectionOptions
) -> Projected:
    """Project Gaussians with differentiable primitives; see `reference.project`."""
    parameters = [jnp.asarray(x, jnp.float32) for x in (*gaussians, *camera)]
    return Projected(*bind(FORWARD, *parameters, jnp.asarray(degree, jnp.int32), options=options))


def _records(parameters: Sequence[Array]) -> tuple[Gaussians3D, CameraMatrices]:
    """Group the operands of a primitive as records."""
    split = NUM_GAUSSIAN_ARRAYS
    return Gaussians3D(*parameters[:split]), CameraMatrices(*parameters[split:NUM_PARAMETERS])


def _reference(degree: Int[Array, ""], options: ProjectionOptions) -> Callable[..., list[Array]]:
    """Build the reference as a function of the parameters alone."""

    def run(*parameters: Array) -> list[Array]:
        return list(reference.project(*_records(parameters), degree, options))

    return run


def _forward(*operands: Array, options: ProjectionOptions, interpret: bool) -> list[Array]:
    return pallas_gpu.forward(*_records(operands), operands[NUM_PARAMETERS], options, interpret)


def _tangent(*operands: Array, options: ProjectionOptions, interpret: bool = False) -> list[Array]:
    parameters, degree, tangents = _split(operands)
    return jax.jvp(_reference(degree, options), parameters, tangents)[1]


def _adjoint(*operands: Array, options: ProjectionOptions, interpret: bool) -> list[Array]:
    parameters, degree, v = _split(operands)
    return pallas_gpu.adjoint(*_records(parameters), degree, list(v), options, interpret)


def _adjoint_reference(*operands: Array, options: ProjectionOptions) -> list[Array]:
    parameters, degree, v = _split(operands)
    _, pullback = jax.vjp(_reference(degree, options), *parameters)
    return list(pullback(list(v)))


def _split(operands: Sequence[Any]) -> tuple[tuple, Any, tuple]:
    """Split the operands of a linear map into parameters, degree and linear operands."""
    return tuple(operands[:NUM_PARAMETERS]), operands[NUM_PARAMETERS], tuple(operands[NUM_PARAMETERS + 1 :])


def _projected_shapes(means: Any, *_: Any, **__: Any) -> list:
    N = means.shape[0]
    return [means.update(shape=(N, n) if n > 1 else (N,)) for n in pallas_gpu.OUTPUT_COLUMNS]


def _parameter_shapes(*operands: Any, **_: Any) -> list:
    return list(operands[:NUM_PARAMETERS])


define(FORWARD, _forward, _projected_shapes)
define(TANGENT, _tangent, _projected_shapes)
define(ADJOINT, _adjoint, _parameter_shapes)


def _instantiate(tangents: Sequence[Any], like: Sequence[Any]) -> list[Array]:
    """Replace symbolic zeros among tangents or cotangents by arrays of zeros."""
    return [jnp.zeros(x.shape, x.dtype) if type(t) is ad.Zero else t for t, x in zip(tangents, like, strict=True)]


def _forward_jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[list, list]:
    results = bind(FORWARD, *primals, **params)
    if all(type(t) is ad.Zero for t in tangents[:NUM_PARAMETERS]):
        return results, [zero_tangent(r) for r in results]
    directions = _instantiate(tangents[:NUM_PARAMETERS], primals[:NUM_PARAMETERS])
    return results, bind(TANGENT, *primals, *directions, **params)


def _linear_jvp(primitive: Primitive, run: Callable[..., list[Array]]) -> Callable:
    """Build the jvp of a linear map: itself along its linear operands, the reference along the parameters."""

    def jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[list, list]:
        results = bind(primitive, *primals, **params)
        parameters, degree, linear = _split(primals)
        d_parameters, _, d_linear = _split(_instantiate(tangents, primals))
        if all(type(t) is ad.Zero for t in tangents[: NUM_PARAMETERS + 1]):
            return results, bind(primitive, *parameters, degree, *d_linear, **params)

        def apply(parameters: tuple, linear: tuple) -> list[Array]:
            return run(*parameters, degree, *linear, **params)

        return results, jax.jvp(apply, (parameters, linear), (d_parameters, d_linear))[1]

    return jvp


def _linear_transpose(transposed: Primitive) -> Callable:
    """Build the transpose rule of a linear map; it gives None for the operands that are not linear."""

    def transpose(cotangents: Sequence, *operands: Any, **params: Any) -> list:
        if all(type(c) is ad.Zero for c in cotangents):
            return [None] * len(operands)
        parameters, degree, linear = _split(operands)
        shapes = [c.aval if type(c) is ad.Zero else c for c in cotangents]
        results = bind(transposed, *parameters, degree, *_instantiate(cotangents, shapes), **params)
        of_linear = [r if ad.is_undefined_primal(x) else None for r, x in zip(results, linear, strict=True)]
        return [None] * (NUM_PARAMETERS + 1) + of_linear

    return transpose


ad.primitive_jvps[FORWARD] = _forward_jvp
ad.primitive_jvps[TANGENT] = _linear_jvp(TANGENT, _tangent)
ad.primitive_jvps[ADJOINT] = _linear_jvp(ADJOINT, _adjoint_reference)
ad.primitive_transposes[TANGENT] = _linear_transpose(ADJOINT)
ad.primitive_transposes[ADJOINT] = _linear_transpose(TANGENT)
