"""Differentiation rules of `project` as a kernel.

    forward(parameters, degree)              -> the arrays of `Projected`
    tangent(parameters, degree, dparameters) -> their tangents     linear; transposes to adjoint; in jnp
    adjoint(parameters, degree, v)           -> vparameters        linear in v; transposes to tangent

Forward and adjoint are kernels. Tangents, and all derivatives of the linear maps, are those of the jnp reference.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad
from jaxtyping import Int

from kernels.common.primitives import bind, define, zero
from kernels.project import pallas_gpu, reference
from kernels.project.reference import Options

FORWARD = Primitive("project_forward")
TANGENT = Primitive("project_tangent")
ADJOINT = Primitive("project_adjoint")
PARAMETERS = 7  # means, quats, scales, opacities, sh, camera_from_world, K


def project_primitive(*operands: Any) -> list[Array]:
    """Return the arrays of `Projected`; operands are those of `reference.project`."""
    *parameters, degree, options = operands
    parameters = [jnp.asarray(x, jnp.float32) for x in parameters]
    return bind(FORWARD, *parameters, jnp.asarray(degree, jnp.int32), options=options)


def _reference(degree: Int[Array, ""], options: Options) -> Any:
    """Return the reference as a function of the parameters alone."""
    return lambda *parameters: list(reference.project(*parameters, degree, options))


def _forward(*operands: Array, options: Options, interpret: bool) -> list[Array]:
    return pallas_gpu.forward(operands[:5], operands[5:7], operands[7], options, interpret)


def _tangent(*operands: Array, options: Options, interpret: bool = False) -> list[Array]:
    parameters, degree, tangents = operands[:PARAMETERS], operands[PARAMETERS], operands[PARAMETERS + 1 :]
    return jax.jvp(_reference(degree, options), parameters, tangents)[1]


def _adjoint(*operands: Array, options: Options, interpret: bool) -> list[Array]:
    return pallas_gpu.adjoint(operands[:5], operands[5:7], operands[7], list(operands[8:]), options, interpret)


def _adjoint_reference(*operands: Array, options: Options) -> list[Array]:
    _, pull = jax.vjp(_reference(operands[PARAMETERS], options), *operands[:PARAMETERS])
    return list(pull(list(operands[PARAMETERS + 1 :])))


def _projected_shapes(means: Any, *_: Any, **__: Any) -> list:
    N = means.shape[0]
    return [means.update(shape=(N, n) if n > 1 else (N,)) for n in pallas_gpu.OUTPUTS]


define(FORWARD, _forward, _projected_shapes)
define(TANGENT, _tangent, _projected_shapes)
define(ADJOINT, _adjoint, lambda *operands, **_: list(operands[:PARAMETERS]))


def _instantiate(tangents: Any, like: Any) -> list[Array]:
    """Return tangents or cotangents with zeros for those that are symbolic zeros."""
    return [jnp.zeros(x.shape, x.dtype) if type(t) is ad.Zero else t for t, x in zip(tangents, like, strict=True)]


def _forward_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
    results = bind(FORWARD, *primals, **params)
    if all(type(t) is ad.Zero for t in tangents[:PARAMETERS]):
        return results, [zero(r) for r in results]
    directions = _instantiate(tangents[:PARAMETERS], primals[:PARAMETERS])
    return results, bind(TANGENT, *primals, *directions, **params)


def _linear_jvp(primitive: Primitive, run: Any) -> None:
    """Differentiate a linear map: itself along its linear operands, the reference along the parameters."""

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
        results = bind(primitive, *primals, **params)
        directions = _instantiate(tangents, primals)
        if all(type(t) is ad.Zero for t in tangents[: PARAMETERS + 1]):
            return results, bind(primitive, *primals[: PARAMETERS + 1], *directions[PARAMETERS + 1 :], **params)
        degree = primals[PARAMETERS]
        function = lambda p, v: run(*p, degree, *v, **params)
        split = lambda x: (tuple(x[:PARAMETERS]), tuple(x[PARAMETERS + 1 :]))
        return results, jax.jvp(function, split(primals), split(directions))[1]

    ad.primitive_jvps[primitive] = jvp


def _transpose(cotangents: list, *operands: Any, transposed: Primitive, **params: Any) -> list:
    """Bind the transposed map; None for the operands that are not linear."""
    fixed, linear = operands[: PARAMETERS + 1], operands[PARAMETERS + 1 :]
    if all(type(c) is ad.Zero for c in cotangents):
        return [None] * len(operands)
    shapes = [c.aval if type(c) is ad.Zero else c for c in cotangents]
    pulled = bind(transposed, *fixed, *_instantiate(cotangents, shapes), **params)
    wanted = [p if ad.is_undefined_primal(x) else None for p, x in zip(pulled, linear, strict=True)]
    return [None] * (PARAMETERS + 1) + wanted


ad.primitive_jvps[FORWARD] = _forward_jvp
_linear_jvp(TANGENT, _tangent)
_linear_jvp(ADJOINT, _adjoint_reference)
ad.primitive_transposes[TANGENT] = lambda c, *x, **p: _transpose(c, *x, transposed=ADJOINT, **p)
ad.primitive_transposes[ADJOINT] = lambda c, *x, **p: _transpose(c, *x, transposed=TANGENT, **p)
