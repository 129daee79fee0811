from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float, TypeCheckError, jaxtyped

from tests.type_checks import check

checked = jaxtyped(typechecker=check)


@checked
def inner(a: Float[Array, " n"], b: Float[Array, " n"]) -> Float[Array, ""]:
    return a if len(a) == 5 else a @ b


@checked
@flax.struct.dataclass
class Tree:
    leaf: Float[Array, " n"]


@checked
@dataclass(frozen=True)
class Settings:
    size: int


def test_shapes_of_arguments_and_results_are_checked():
    assert inner(jnp.ones(3), jnp.ones(3)) == 3
    with pytest.raises(TypeCheckError):
        inner(jnp.ones(3), jnp.ones(4))
    with pytest.raises(TypeCheckError):
        inner(jnp.ones(5), jnp.ones(5))


def test_fields_of_settings_are_checked_and_those_of_pytrees_are_not():
    assert Settings(3).size == 3
    with pytest.raises(TypeCheckError):
        Settings("3")
    assert jax.tree.map(lambda _: "placeholder", Tree(jnp.ones(2))).leaf == "placeholder"
