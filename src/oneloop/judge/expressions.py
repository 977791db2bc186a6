"""Whether a text that a scorer hands to `eval` or to sympy is plain: a list of values, or a formula.

Some scorers of reasoning-gym evaluate the answer as Python. A text passes here only if its syntax tree holds
nothing but what such an answer is made of, so that evaluating it cannot run code: no attribute, no index, no
call but of the functions of FUNCTIONS, no text inside a formula (sympy evaluates that once more). Powers are
bounded, because `9**9**9` is an attack too. What a task evaluates is in TASKS. A check returns whether the
text is to be evaluated in a process of its own, the second guard behind this one.
"""

import ast
import math
import re
from collections.abc import Callable
from typing import Any

FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "asec", "acsc", "acot"]
    + ["sinh", "cosh", "tanh", "asinh", "acosh", "atanh"]
    + ["exp", "log", "ln", "sqrt", "cbrt", "abs", "Abs", "erf"]
)
LARGEST_POWER = 10_000
"""What the exponents of powers of powers may come to, multiplied."""
LONGEST = 10_000
"""Characters of a text that is parsed."""
NUMBERS = (ast.Expression, ast.Constant, ast.UnaryOp, ast.USub, ast.UAdd, ast.operator)
ARITHMETIC = (*NUMBERS, ast.BinOp)
FORMULA = (*ARITHMETIC, ast.Name, ast.Load, ast.Call)
LIST = (*NUMBERS, ast.List, ast.Tuple, ast.Load)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
BITS = (ast.Add, ast.Sub, ast.Mult, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)


class NotPlain(ValueError):
    """A text that is not to be evaluated; the message says why."""


def check_list(text: str) -> bool:
    """Whether `eval` would make a list of `text`. Raises NotPlain for one that is more than values.

    A text that is no Python at all is let through: evaluating it raises SyntaxError before anything runs.
    """
    try:
        tree = _parsed(text.lstrip(" \t"))
    except SyntaxError:
        return False
    if isinstance(tree.body, ast.Name | ast.Constant):  # looked up or read, and then compared
        return False
    _allow(tree, LIST, (), (int, float, str, bool, type(None)))
    return True


def check_arithmetic(text: str) -> bool:
    """Raises NotPlain unless `text` is arithmetic on numbers in digits. Returns False: it is no formula."""
    if unknown := re.search(r"[^0-9.+\-*/%() ]", text.strip()):
        raise NotPlain(f"{unknown[0]!r} is no part of arithmetic")
    _check(text, ARITHMETIC, OPERATORS)
    return False


def check_formula(text: str) -> bool:
    """Raises NotPlain unless `text` is a formula in one-letter variables and FUNCTIONS. Returns True."""
    if unknown := re.search(r"[^0-9A-Za-z.+\-*/(), ]", text.strip()):
        raise NotPlain(f"{unknown[0]!r} is no part of a formula")
    _check(text, FORMULA, OPERATORS)
    return True


def check_bits(text: str) -> bool:
    """Raises NotPlain unless `text` is arithmetic on whole numbers and their bits. Returns False."""
    _check(text, ARITHMETIC, BITS)
    return False


def _check(text: str, allowed: tuple[type[ast.AST], ...], operators: tuple[type[ast.AST], ...]) -> None:
    try:
        tree = _parsed(text.strip())
    except SyntaxError as error:
        raise NotPlain("it cannot be read as a formula") from error
    _allow(tree, allowed, operators, (int, float))
    _bound_powers(tree)


def _parsed(text: str) -> ast.Expression:
    if len(text) > LONGEST:
        raise NotPlain(f"it has {len(text)} characters; at most {LONGEST} are read")
    try:
        return ast.parse(text, mode="eval")
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPlain("it cannot be read") from error


def _allow(
    tree: ast.AST,
    allowed: tuple[type[ast.AST], ...],
    operators: tuple[type[ast.AST], ...],
    constants: tuple[type, ...],
) -> None:
    for node in ast.walk(tree):
        name = type(node).__name__
        if not isinstance(node, allowed):
            raise NotPlain(f"{name} is not allowed in it")
        if isinstance(node, ast.operator) and not isinstance(node, operators):
            raise NotPlain(f"the operator {name} is not allowed in it")
        if isinstance(node, ast.Constant) and type(node.value) not in constants:
            raise NotPlain(f"{node.value!r:.40} is not allowed in it")
        if isinstance(node, ast.Call):
            _allow_call(node)
        if isinstance(node, ast.Name) and len(node.id) > 1 and node.id not in FUNCTIONS | {"pi"}:
            raise NotPlain(f"the name {node.id!r:.40} is not allowed in it")


def _allow_call(call: ast.Call) -> None:
    if not isinstance(call.func, ast.Name) or call.func.id not in FUNCTIONS or call.keywords:
        # Integral(the question, x) too, which sympy would find right although nothing was integrated
        raise NotPlain("a call of anything but a function of mathematics is not allowed in it")


def _bound_powers(tree: ast.AST) -> None:
    """Raises NotPlain where powers of powers come to more than LARGEST_POWER."""
    power: dict[int, float] = {}  # of each node: the largest product of exponents inside it
    for node in reversed(list(ast.walk(tree))):  # children first; no recursion, which deep sums would exhaust
        inside = max((power[id(child)] for child in ast.iter_child_nodes(node)), default=1.0)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
            if power[id(node.right)] > 1:
                raise NotPlain("a power in an exponent is not allowed in it")
            numbers = [part.value for part in ast.walk(node.right) if isinstance(part, ast.Constant)]
            size = math.prod(max(1.0, abs(n)) for n in numbers if isinstance(n, int | float))
            inside = max(1.5, size) * power[id(node.left)]
        if inside > LARGEST_POWER:
            raise NotPlain(f"its exponents come to more than {LARGEST_POWER}")
        power[id(node)] = inside


def _of_the_row(*path: str) -> Callable[[dict[str, Any]], str]:
    def found(row: dict[str, Any]) -> str:
        value: Any = row
        for key in path:
            value = value[key]
        return str(value)

    return found


TASKS: dict[str, Callable[[str], bool]] = {
    "binary_matrix": check_list,
    "n_queens": check_list,
    "spiral_matrix": check_list,
    "string_insertion": check_list,
    "countdown": check_arithmetic,
    "puzzle24": check_arithmetic,
    "simple_integration": check_formula,
    "intermediate_integration": check_formula,
    "polynomial_multiplication": check_formula,
}
"""The tasks of reasoning-gym whose scorer evaluates the answer, and what may be in it."""
ROWS: dict[str, tuple[Callable[[str], bool], Callable[[dict[str, Any]], str]]] = {
    "bitwise_arithmetic": (check_bits, _of_the_row("metadata", "problem")),
    "number_sorting": (check_list, _of_the_row("answer")),
    "simple_integration": (check_formula, _of_the_row("metadata", "integrand")),
    "intermediate_integration": (check_formula, _of_the_row("metadata", "integrand")),
    "polynomial_multiplication": (check_formula, _of_the_row("answer")),
}
"""The tasks whose scorer evaluates something of the data row, where it is, and what may be in it."""
HARMLESS = frozenset({"basic_arithmetic", "codeio", "propositional_logic"})
"""Tasks whose module evaluates while it makes puzzles, or has a parser of its own called `parse_expr`."""
EVALUATORS = frozenset({"eval", "exec", "parse_expr", "sympify", "lambdify", "parse_latex"})


def evaluates(source: str) -> bool:
    """Whether a module with this source calls one of EVALUATORS."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    names = (call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls)
    return any(name in EVALUATORS for name in names)
