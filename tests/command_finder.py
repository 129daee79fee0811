"""Finds which entry points a test file runs, from its syntax tree: nobody has to keep a list.

Counted is what follows "-m" in a command, and the first argument of a function of `RUNNERS`. Where that is a parameter
of a helper, or is put together from one, the calls of the helper in the same file tell the name; where it is looked up
in a dictionary of the file, the dictionary does.
"""

import ast
import re
from collections.abc import Iterator

RUNNERS = {"run_each", "run_module", "import_module"}
MODULE = re.compile(r"(?:experiments|kernels)(?:\.\w+)+")
IN_CODE = re.compile(r"run_module\('([\w.]+)'")  # a program in a string


def runs_of(tree: ast.Module) -> set[str]:
    """Return the entry points that a file runs."""
    found = {name for expression, helper in _started(tree) for name in _names(expression, helper, tree)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found |= {name for text in texts for name in IN_CODE.findall(text)}
    return {name for name in found if MODULE.fullmatch(name)}


def _started(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.FunctionDef | None]]:
    """Yield what is started, and the innermost function in which that is."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]  # outer ones first
    owner = {id(inner): function for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in RUNNERS | {"run"} and node.args:
            yield node.args[0], owner.get(id(node))
        elif isinstance(node, ast.List | ast.Tuple):
            for mark, name in zip(node.elts, node.elts[1:], strict=False):
                if isinstance(mark, ast.Constant) and mark.value == "-m":
                    yield name, owner.get(id(node))


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _names(expression: ast.expr, helper: ast.FunctionDef | None, tree: ast.Module) -> set[str]:
    """Return the names that an expression can stand for."""
    if isinstance(expression, ast.Constant):
        return {expression.value} if isinstance(expression.value, str) else set()
    if isinstance(expression, ast.Starred | ast.Name):
        name = expression.value if isinstance(expression, ast.Starred) else expression
        return _given(name.id, helper, tree) if isinstance(name, ast.Name) else set()
    if isinstance(expression, ast.JoinedStr) and len(expression.values) == 2:
        start, end = expression.values
        if isinstance(start, ast.Constant) and isinstance(end, ast.FormattedValue):
            return {start.value + name for name in _names(end.value, helper, tree)}
    if isinstance(expression, ast.Subscript) and isinstance(expression.value, ast.Name):
        return _values(expression.value.id, tree)
    return set()


def _given(parameter: str, helper: ast.FunctionDef | None, tree: ast.Module) -> set[str]:
    """Return the texts that calls of a helper in this file give to one of its parameters."""
    if helper is None:
        return set()
    positions = [argument.arg for argument in helper.args.args]
    rest = helper.args.vararg.arg if helper.args.vararg else None
    if parameter not in (*positions, rest):
        return set()
    place = positions.index(parameter) if parameter in positions else len(positions)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == helper.name]
    given = [call.args[place] for call in calls if len(call.args) > place]
    return {text.value for text in given if isinstance(text, ast.Constant) and isinstance(text.value, str)}


def _values(dictionary: str, tree: ast.Module) -> set[str]:
    """Return the texts of a dictionary of the file."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == dictionary:
            values = node.value.values if isinstance(node.value, ast.Dict) else ()
            return {value.value for value in values if isinstance(value, ast.Constant)}
    return set()
