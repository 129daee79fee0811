"""The console command `ff`: list the entry points of this folder by group, and run one.

ff fuse --workdir=runs/demo
python -m experiments fuse --workdir=runs/demo     # the same
python -m experiments.fuse --workdir=runs/demo     # the same
"""

import ast
import difflib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent


def commands() -> Iterator[tuple[str, str]]:
    """Yield the name and the first line of the docstring of every entry point; nothing is imported."""
    for path in sorted(ROOT.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        text = path.read_text()
        if path.name != "__main__.py" and '\nif __name__ == "__main__":' in text:
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), summary


def overview() -> str:
    """List all commands, one paragraph for each folder."""
    lines, group = ["usage: ff COMMAND [--flag=value ...]; ff COMMAND --help lists its flags"], None
    entries = list(commands())
    width = max(len(name) for name, _ in entries)
    for name, summary in entries:
        if (folder := name.rpartition(".")[0]) != group:
            group = folder
            lines.append(f"\n{folder.replace('.', ', ') or 'everyday commands'}:")
        lines.append(f"  {name:{width}}  {summary}")
    return "\n".join(lines)


def main() -> None:
    """Run the command that the first argument names, as `python -m` does, with the other arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(overview())
        return
    names = [name for name, _ in commands()]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
        sys.exit(f"error: unknown command {name!r}; did you mean {nearest!r}? (ff --help lists all commands)")
    sys.argv = [f"ff {name}", *sys.argv[2:]]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
