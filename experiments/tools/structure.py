"""Measure the structure of a checkout from its syntax trees and print a Markdown table; nothing of it is imported.

python experiments/tools/structure.py --root=. --base=../before --list

What is counted:
    loose modules: Python files directly in a folder, without `__init__` and `__main__`.
    imports upwards: modules imported from a higher layer of `LAYERS`, also inside functions; `OLD` maps older folders.
    folders that import each other: pairs of folders, neither inside the other, with imports in both directions.
    parameters: all named ones, with keyword-only ones and `self`, without `*args` and `**kwargs`.
    the walk from `fuse()`: depth first over the functions and classes of the project that a function names, in the
        order of the source, each entered once. A name is resolved through imports; a method through its name, if only
        one class of the modules that `fuse` imports (directly or not) has it. A climb is a step to a module of a higher
        layer that the walk had visited before. The walk to the loss has only the functions that reach `train.losses`.
"""

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("kernels", "ff_jax", "experiments")
LAYERS = (  # from the top
    "experiments > ff_jax.viewer ff_jax.simulation > ff_jax.pipeline > ff_jax.evaluation ff_jax.fixers > ff_jax.eig > "
    "ff_jax.train > ff_jax.metrics ff_jax.export ff_jax.scene > ff_jax.data > ff_jax.render > kernels ff_jax.runtime"
)
OLD = {
    "experiments": "actor_study calibration_study exposure_study fixer_study pose_study score_maps sweep",
    "ff_jax.pipeline": "config fuse train.start train.phases train.progressive train.pairs",
    "ff_jax.evaluation": "benchmark evaluate",
    "ff_jax.fixers": "generators",
    "ff_jax.eig": "backdrop misfit paper_code probes rays view_score whitened train.knowledge",
    "ff_jax.train": "density losses schedule split",
    "ff_jax.render": "camera gaussians rigid sharded shutter trajectory",
    "ff_jax.runtime": "files",
}
DEPTHS = {name: number for number, names in enumerate(LAYERS.split(" > ")) for name in names.split()}
DEPTHS |= {f"ff_jax.{name}": DEPTHS[layer] for layer, names in OLD.items() for name in names.split()}
WALK = ("functions", "modules", "climbs", "modules climbed back into")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module(NamedTuple):
    """One file."""

    name: str
    folder: Path
    tree: ast.Module


def read(root: Path) -> dict[str, Module]:
    """Read the modules of all packages of a checkout, by dotted name."""
    modules = {}
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path.parent.relative_to(root), ast.parse(path.read_text()))
    return modules


def depth(module: str) -> int:
    """Look up the number of a module's layer, counted from the top; that of the top for `ff_jax` itself."""
    parts = module.split(".")
    return next((DEPTHS[p] for end in range(len(parts), 0, -1) if (p := ".".join(parts[:end])) in DEPTHS), 0)


def imports(module: Module, modules: dict[str, Module]) -> Iterator[tuple[str, str, str]]:
    """Yield for every imported name of the project: how it is called here, its module, its name there ("": all)."""
    for node in ast.walk(module.tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            source = f"{getattr(node, 'module', None) or ''}.{alias.name}".lstrip(".")
            if source in modules:
                yield alias.asname or alias.name, source, ""
            elif (owner := source.rpartition(".")[0]) in modules and isinstance(node, ast.ImportFrom):
                yield alias.asname or alias.name, owner, alias.name


def nodes(modules: dict[str, Module], *kinds: type) -> Iterator[tuple[Module, ast.AST]]:
    """Yield the nodes of some kinds, each with its module."""
    return ((module, node) for module in modules.values() for node in ast.walk(module.tree) if isinstance(node, kinds))


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    """List the named parameters of a function."""
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def walks_from(start: str, name: str, modules: dict[str, Module]) -> dict[str, list[str]]:
    """List the modules of the functions on the whole walk and on the walk to the loss; empty without a start."""
    names = {m.name: {here: (there, name) for here, there, name in imports(m, modules)} for m in modules.values()}
    reachable = queue = {start}
    while queue:
        queue = {there for name in queue for there, _ in names.get(name, {}).values()} - reachable
        reachable = reachable | queue
    top = {(m.name, node.name): node for m in modules.values() for node in m.tree.body if hasattr(node, "name")}
    methods = defaultdict(list)
    for module, owner in nodes({name: modules[name] for name in reachable & modules.keys()}, ast.ClassDef):
        for node in owner.body:
            if isinstance(node, FUNCTIONS):
                methods[node.name].append((module.name, node))
    stops, calls = {}, defaultdict(set)

    def resolve(module: str, name: str) -> list[tuple[str, ast.AST]]:
        for _ in range(9):  # re-exports of packages
            if (module, name) in top:
                return [(module, top[module, name])]
            module, name = names.get(module, {}).get(name, ("", ""))
        return []

    def enter(module: str, body: ast.AST) -> None:
        stops[body] = module
        for node in ordered(body):
            callees = resolve(module, node.id) if isinstance(node, ast.Name) else []
            if isinstance(node, ast.Attribute):
                owner, inner = names[module].get(ast.unparse(node.value), ("", ""))
                callees = resolve(owner, node.attr) if owner and not inner else methods[node.attr]
            for there, callee in callees if len(callees) == 1 else ():
                calls[body].add(callee)
                if callee not in stops:
                    enter(there, callee)

    def ordered(body: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(body):
            if not (isinstance(body, ast.ClassDef) and isinstance(child, FUNCTIONS)):  # methods: where they are used
                yield child
                yield from ordered(child)

    for module, body in resolve(start, name):
        enter(module, body)
    reach = {body for body, module in stops.items() if module.endswith(".losses") and "fixers" not in module}
    while more := {body for body in stops if calls[body] & reach} - reach:
        reach |= more
    return {
        "walk from fuse()": [*stops.values()],
        "walk from fuse() to the loss": [stops[b] for b in stops if b in reach],
    }


def climbs(stops: list[str]) -> list[str]:
    """List the modules of a higher layer that a walk returns to, once for every return."""
    return [b for i, (a, b) in enumerate(pairwise(stops)) if depth(b) < depth(a) and b in stops[: i + 1]]


def count(modules: dict[str, Module]) -> dict[str, list[str]]:
    """List what the table counts: imports upwards, folders that import each other, long signatures, equal names."""
    targets = {(m.name, there) for m in modules.values() for _, there, _ in imports(m, modules)}
    arrows = {(modules[a].folder, modules[b].folder) for a, b in targets}
    pairs = combinations(sorted({folder for arrow in arrows for folder in arrow}), 2)
    mutual = [(a, b) for a, b in pairs if {(a, b), (b, a)} <= arrows and a not in b.parents and b not in a.parents]
    sizes = [(f"{m.name}.{f.name}", len(parameters(f))) for m, f in nodes(modules, *FUNCTIONS)]
    classes = Counter(node.name for _, node in nodes(modules, ast.ClassDef))
    return {
        "imports upwards": sorted(f"{a} -> {b}" for a, b in targets if depth(b) < depth(a) and b != "ff_jax"),
        "pairs of folders that import each other": [f"{a} <-> {b}" for a, b in mutual],
        "functions with more than eight parameters": [f"{name} ({number})" for name, number in sizes if number > 8],
        "functions with eight parameters": [name for name, number in sizes if number == 8],
        "class names used twice": [f"{name} ({number})" for name, number in classes.items() if number > 1],
    }


def measure(root: Path) -> tuple[dict[str, object], dict[str, list[str]]]:
    """Measure a checkout: the rows of the table, and lists of what some of them count."""
    modules = read(root)
    lists = count(modules)
    arguments = [a for _, f in nodes(modules, *FUNCTIONS) for a in parameters(f) if a.arg not in ("self", "cls")]
    start = "ff_jax.pipeline.fuse" if "ff_jax.pipeline.fuse" in modules else "ff_jax.fuse"
    loose = [(name, len([*(root / name).glob("[!_]*.py")])) for name in ("ff_jax", "experiments")]
    rows: dict[str, object] = {f"loose modules in {name}/": number for name, number in loose}
    rows |= {name: len(entries) for name, entries in lists.items()}
    rows["annotated arguments"] = f"{sum(a.annotation is not None for a in arguments) / max(len(arguments), 1):.1%}"
    assigned = [n.value for _, n in nodes(modules, ast.Assign, ast.AnnAssign)]
    rows["lambdas bound to names"] = sum(isinstance(value, ast.Lambda) for value in assigned)
    texts = (ast.get_docstring(n) or "" for _, n in nodes(modules, *FUNCTIONS, ast.ClassDef, ast.Module))
    rows['docstrings that begin with "Return"'] = sum(text.startswith("Return") for text in texts)
    for package in (*PACKAGES, "tests"):
        lines = [line for path in (root / package).rglob("*.py") for line in path.read_text().splitlines()]
        rows[f"lines in {package}/: not blank, all"] = f"{sum(map(bool, map(str.strip, lines)))}, {len(lines)}"
    for name, stops in walks_from(start, "fuse", modules).items():
        returns = Counter(climbs(stops))
        figures = (len(stops), len(set(stops)), returns.total(), len(returns)) if stops else ["n/a"] * 4
        rows |= {f"{name}: {what}": value for what, value in zip(WALK, figures, strict=True)}
        lists[f"climbs back into on the {name}"] = [f"{module} ({number})" for module, number in returns.most_common()]
    return rows, lists


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="Checkout to measure.")
    parser.add_argument("--base", type=Path, help="Checkout to compare it with.")
    parser.add_argument("--list", action="store_true", help="Print what is counted as well.")
    options = parser.parse_args()
    results = [measure(root.resolve()) for root in (options.base, options.root) if root]
    print("| | before | after |" if options.base else "| | now |", "|---|" + "---:|" * len(results), sep="\n")
    for name in results[-1][0]:
        print(f"| {name} | {' | '.join(str(rows[name]) for rows, _ in results)} |")
    for name, entries in results[-1][1].items() if options.list else ():
        print(f"\n{name}:", *entries, sep="\n    ")


if __name__ == "__main__":
    main()
