"""Checks that a path names a function without importing it: recipes are checked before anything runs."""

import ast
import importlib.util
from pathlib import Path

from oneloop.core.rooms import nearest


def check(path: str) -> None:
    """Raises ValueError, with the nearest name, unless `package.module.name` or `file.py:name` is there."""
    if ".py:" in path:
        name = path.rpartition(":")[0]
        source = Path(name)
        if not source.is_file():
            raise ValueError(f"no such file: {source}")
    else:
        name, _, function = path.rpartition(".")
        if not (name and function):
            raise ValueError(
                f"a function is written 'file.py:function' or 'package.module.function', got {path!r}"
            )
        if (found := module_file(name)) is None:
            raise ValueError(f"cannot find the module '{name}' of '{path}'")
        source = found
        if source.suffix != ".py":  # compiled, or a namespace: only importing it would tell
            return
    _check_name(source, path[len(name) + 1 :])


def parameters(path: str) -> tuple[list[str], bool] | None:
    """(names of the parameters, whether it takes more by **) of the function that `path` names.

    None where its source does not tell: it is compiled, decorated, or made by an assignment.
    """
    name = path.rpartition(":" if ".py:" in path else ".")[2]
    source = Path(path.rpartition(":")[0]) if ".py:" in path else module_file(path.rpartition(".")[0])
    if source is None or source.suffix != ".py":
        return None
    found = [node for node in ast.parse(source.read_bytes()).body if getattr(node, "name", None) == name]
    node = found[-1] if found else None
    if isinstance(node, ast.ClassDef):
        calls = [one for one in node.body if getattr(one, "name", None) == "__call__"]
        node = calls[-1] if calls and not node.decorator_list else None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.decorator_list:
        return None
    given = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return given[isinstance(found[-1], ast.ClassDef) :], node.args.kwarg is not None


def module_file(module: str) -> Path | None:
    """The file of `module`, None where there is none; the packages it lies in are not imported."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin or "")
    *between, last = rest
    folders = [Path(folder).joinpath(*between) for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        for pattern in (f"{last}/__init__.py", f"{last}.py", f"{last}.*.so", last):
            if found := next(folder.glob(pattern), None):
                return found
    return None


def _check_name(source: Path, name: str) -> None:
    try:
        tree = ast.parse(source.read_bytes())  # bytes: a mark of encoding is Python's own business
    except SyntaxError as error:
        raise ValueError(f"{source} has a syntax error in line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise ValueError(f"{source} is no Python file: {error}") from error
    known = _names(tree)
    if name not in known and "*" not in known and "__getattr__" not in known:
        raise ValueError(f"{source} defines no '{name}'; {nearest(name, sorted(known))}")


def _names(tree: ast.Module) -> set[str]:
    """What a module's statements bind, those inside `if` and `try` included; "*" for a star import."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names
