"""Tables that map the names of a PyTorch network to a parameter tree of flax.linen, and back.

A rule describes a module: its name in PyTorch, its path in the tree, and its kind. The kind determines the names of its
parameters on both sides and the permutation of their axes:

    kind      PyTorch -> flax
    linear    weight (out, in) -> kernel (in, out);                  bias -> bias
    conv2d    weight (out, in, h, w) -> kernel (h, w, in, out);      bias -> bias
    conv3d    weight (out, in, t, h, w) -> kernel (t, h, w, in, out); bias -> bias
    patch3d   weight (out, in t h w) -> kernel (t, h, w, in, out);   bias -> bias
    norm      weight -> scale;                                       bias -> bias
    embed     weight -> embedding
    raw       one tensor, not a module: the rule names the tensor and the leaf themselves, axes stay

A rule matches kernels with as many axes as its kind has. A module may lack its bias. The file must contain exactly the
parameters of the tree.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from ff_jax.runtime.weight_files import check_shapes

_LEAVES = {
    "linear": {"kernel": "weight", "bias": "bias"},
    "conv2d": {"kernel": "weight", "bias": "bias"},
    "conv3d": {"kernel": "weight", "bias": "bias"},
    "patch3d": {"kernel": "weight", "bias": "bias"},
    "norm": {"scale": "weight", "bias": "bias"},
    "embed": {"embedding": "weight"},
    "raw": {"": ""},
}
_AXES = {
    ("linear", "kernel"): (1, 0),
    ("conv2d", "kernel"): (2, 3, 1, 0),
    ("conv3d", "kernel"): (2, 3, 4, 1, 0),
    ("patch3d", "kernel"): (2, 3, 4, 1, 0),
}
_FLAT = "patch3d"  # the kind whose weight has all axes but the first as one


class Rule(NamedTuple):
    r"""One line of a table; the first rule that matches a leaf is used.

    For example `Rule(r"layers\.(\d+)\.to_(q|k)", r"layer_\1/\2", "linear")` maps `layers.3.to_q.weight` to
    `layer_3/q/kernel`. In `r"layers[\1]/\2"` the number picks a slice of the leading axis of the leaf
    `layers/q/kernel`, where a network scans over layers with stacked parameters.
    """

    torch: str  # name: literal text and flat groups (no parentheses in parentheses)
    flax: str  # path joined by "/": literal text and \1, \2, ... for the groups; every group occurs
    kind: str  # one of the table above


class Slot(NamedTuple):
    """The place of a PyTorch tensor in the tree."""

    path: tuple[str, ...]
    layer: int | None  # slice of the leading axis
    axes: tuple[int, ...] | None  # axes of the tensor in the order of the leaf
    flat: bool  # whether the tensor has all axes but the first as one

    def unflat(self, leaf: tuple[int, ...]) -> tuple[int, ...]:
        """Compute the shape of the tensor with all its axes from that of the leaf."""
        rest = leaf if self.layer is None else leaf[1:]
        return rest if self.axes is None else tuple(rest[self.axes.index(axis)] for axis in range(len(rest)))

    def shape(self, leaf: tuple[int, ...]) -> tuple[int, ...]:
        """Compute the shape of the tensor from that of the leaf."""
        full = self.unflat(leaf)
        return (full[0], math.prod(full[1:])) if self.flat else full


def slots(expected: PyTree, rules: Iterable[Rule]) -> dict[str, Slot]:
    """Find the place of every tensor of the PyTorch network.

    Args:
        expected: nested dictionary of anything with a shape (arrays, or what `jax.eval_shape` gives).
        rules: the table.

    Raises:
        ValueError: no rule matches a leaf, or two leaves have the same name in PyTorch.
    """
    places, finders = {}, [finder for rule in rules for finder in _finders(rule)]
    leaves: dict[tuple[str, ...], Any] = flatten_dict(expected)
    for path, leaf in leaves.items():
        matches = (_tensors(finder, path, leaf.shape) for finder in finders)
        tensors = next((match for match in matches if match), None)
        if tensors is None:
            raise ValueError(f"no rule matches the parameter {'/'.join(path)!r}; add one to the table.")
        for name, slot in tensors.items():
            if name in places:
                raise ValueError(f"{name!r} would fill both {places[name].path} and {path}; correct the table.")
            places[name] = slot
    return places


def to_flax(
    tensors: Iterable[tuple[str, np.ndarray]], rules: Iterable[Rule], expected: PyTree, purpose: str = "network"
) -> PyTree:
    """Convert tensors to parameters, a nested dictionary of NumPy arrays.

    Tensors are consumed one by one: besides the result, at most two or three of them are in memory.

    Args:
        tensors: names and tensors of the PyTorch network.
        rules: the table.
        expected: nested dictionary with shape and dtype of every parameter, as `jax.eval_shape` gives it; tensors are
            cast to the dtype.
        purpose: what the weights are for, in a few words; used in messages.

    Raises:
        ValueError: tensors are missing, surplus or misshapen (the message names the first of each), or the table does
            not cover every parameter.
    """
    leaves: dict[tuple[str, ...], Any] = flatten_dict(expected)
    places = slots(expected, rules)
    shapes = {name: slot.shape(leaves[slot.path].shape) for name, slot in places.items()}
    params, in_file = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}, {}
    for name, tensor in tensors:
        in_file[name] = np.broadcast_to(np.zeros((), np.uint8), tensor.shape)  # a shape to check, without memory
        if shapes.get(name) == tensor.shape:
            path, layer, axes, _ = places[name]
            tensor = tensor.reshape(places[name].unflat(leaves[path].shape))
            params[path][... if layer is None else layer] = tensor if axes is None else tensor.transpose(axes)
    check_shapes(in_file, shapes, purpose)
    return unflatten_dict(params)


def to_torch(params: PyTree, rules: Iterable[Rule]) -> dict[str, np.ndarray]:
    """Convert parameters to the tensors of the PyTorch network by name: the inverse of `to_flax`.

    Raises:
        ValueError: no rule matches a parameter.
    """
    leaves = flatten_dict(params)
    return {name: _tensor(np.asarray(leaves[slot.path]), slot) for name, slot in slots(params, rules).items()}


def shapes_of(module_init: Callable[..., PyTree], *inputs: PyTree) -> PyTree:
    """Compute shape and dtype of the parameters of `module_init(key, *inputs)`, without arrays."""
    return jax.eval_shape(module_init, jax.random.key(0), *inputs)["params"]


class _Finder(NamedTuple):
    """A rule for one of the parameters of its module, inverted: from the path to the PyTorch name."""

    path: re.Pattern  # groups g1, g2, ... are those of the PyTorch name
    torch: tuple[str, ...]  # literal, group number, literal, group number, ..., literal
    stacked: str  # number of the group that indexes the leading axis, or ""
    axes: tuple[int, ...] | None
    flat: bool


def _finders(rule: Rule) -> Iterator[_Finder]:
    if rule.kind not in _LEAVES:
        raise ValueError(f"invalid kind {rule.kind!r} of {rule}: expected one of {', '.join(_LEAVES)}.")
    parts = re.split(r"\(([^()]*)\)", rule.torch)
    groups = {str(number): group for number, group in enumerate(parts[1::2], 1)}
    literals = [part.replace("\\", "") for part in parts[::2]]
    if set(groups) != set(re.findall(r"\\(\d)", rule.flax)):
        raise ValueError(f"{rule}: every group of the name must occur in the path, and no other; correct the table.")
    stacked = (re.findall(r"\[\\(\d)\]", rule.flax) or [""])[0]
    path = re.sub(r"\[\\\d\]", "", rule.flax)
    for leaf, name in _LEAVES[rule.kind].items():
        pattern = _pattern(path + (f"/{leaf}" if leaf else ""), groups)
        ends = [*literals[:-1], literals[-1] + (f".{name}" if name else "")]
        torch = [text for pair in zip(ends, [*groups, ""], strict=True) for text in pair]
        axes = _AXES.get((rule.kind, leaf))
        yield _Finder(re.compile(pattern), tuple(torch[:-1]), stacked, axes, rule.kind == _FLAT and leaf == "kernel")


def _pattern(path: str, groups: dict[str, str]) -> str:
    """Build the regular expression of a path in which \\n stands for group n."""
    pattern, used = "", set()
    for index, part in enumerate(re.split(r"\\(\d)", path)):
        if index % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P=g{part})" if part in used else f"(?P<g{part}>{groups[part]})"
            used.add(part)
    return pattern


def _tensors(finder: _Finder, path: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Slot]:
    """List the tensors that fill the leaf at `path`; none if the rule does not match."""
    match = finder.path.fullmatch("/".join(path))
    if not match or (finder.axes and len(finder.axes) != len(shape) - bool(finder.stacked)):
        return {}
    groups = {name[1:]: text for name, text in match.groupdict().items()}
    if not finder.stacked:
        return {_name(finder.torch, groups): Slot(path, None, finder.axes, finder.flat)}
    return {
        _name(finder.torch, groups | {finder.stacked: str(index)}): Slot(path, index, finder.axes, finder.flat)
        for index in range(shape[0])
    }


def _name(torch: tuple[str, ...], groups: dict[str, str]) -> str:
    return "".join(text if index % 2 == 0 else groups[text] for index, text in enumerate(torch))


def _tensor(leaf: np.ndarray, slot: Slot) -> np.ndarray:
    shape, leaf = slot.shape(leaf.shape), leaf if slot.layer is None else leaf[slot.layer]
    tensor = leaf if slot.axes is None else leaf.transpose(np.argsort(slot.axes))
    return np.ascontiguousarray(tensor).reshape(shape)
