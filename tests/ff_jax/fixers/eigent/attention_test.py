"""Attention gets 16-bit arrays, and nothing beside it grows with the square of the tokens."""

import jax
import jax.numpy as jnp
import pytest

from ff_jax.fixers.attention import attention
from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.transformer import Dit
from tests.random_inputs import seeded_rng

CONFIG = DitConfig(depth=2, heads=2, head_dim=16, out_channels=4, in_channels=4, text_dim=8, text_length=5, time_dim=8)
LATENTS = jax.ShapeDtypeStruct((1, 3, 12, 16, 4), jnp.bfloat16)
TOKENS = 3 * 6 * 8


def shapes_in(jaxpr):
    """Return the shapes of all intermediate results, those inside loops and calls included."""
    for equation in jaxpr.eqns:
        yield from (tuple(out.aval.shape) for out in equation.outvars)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from shapes_in(inner)


@pytest.mark.parametrize("branch", [False, True])
def test_only_attention_itself_has_pairs_of_tokens(monkeypatch, branch):
    calls = []

    def flash(q, k, v, implementation):
        calls.append((q.dtype, k.dtype, v.dtype, q.shape[1], implementation))
        return q

    monkeypatch.setattr(jax.nn, "dot_product_attention", flash)
    half = lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), tree)
    shapes = transformer_shapes(CONFIG)
    text, t = jax.ShapeDtypeStruct((1, 5, 8), jnp.bfloat16), jax.ShapeDtypeStruct((1,), jnp.int32)
    if branch:
        network = ContextBranch(CONFIG, 1, dtype=jnp.bfloat16, implementation="cudnn")
        shapes = jax.eval_shape(lambda tree: branch_params(tree, CONFIG, 1), shapes)
        inputs = (LATENTS, LATENTS, jax.ShapeDtypeStruct(LATENTS.shape[:-1], jnp.float32), LATENTS, text, t)
    else:
        network, inputs = Dit(CONFIG, jnp.bfloat16, "cudnn"), (LATENTS, text, t)
    calls.clear()  # those of the shapes
    found = jax.make_jaxpr(lambda p, *rest: network.apply({"params": p}, *rest))(half(shapes), *inputs)
    lengths = {TOKENS + 5, TOKENS} if branch else {TOKENS + 5}
    assert {row[3] for row in calls} == lengths
    assert {row[:3] + row[4:] for row in calls} == {(jnp.dtype("bfloat16"),) * 3 + ("cudnn",)}
    seen = list(shapes_in(found.jaxpr))
    assert max(shape.count(TOKENS + 5) for shape in seen) == 1
    assert not [shape for shape in seen if sum(side >= TOKENS for side in shape) > 1]


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(2, 1249, 6, 32), (1, 2305, 5, 64), (3, 77, 2, 16)])
def test_flash_attention_is_what_half_precision_gets(shape):
    rng = seeded_rng()
    q, k, v = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for _ in range(3))
    assert "cudnn" in jax.jit(attention).lower(q, k, v).as_text()
    difference = jax.jit(attention)(q, k, v) - attention(q, k, v, "xla")
    assert float(jnp.abs(difference.astype(jnp.float32)).max()) < 0.02
