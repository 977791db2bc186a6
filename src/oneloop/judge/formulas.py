"""Compares answers of mathematics: each is read whole, then math-verify says whether they are equal.

By itself math-verify picks pieces out of text without `$`: of `(1, 2)` it would compare the 2. Here an answer
that is a formula and nothing else is handed to it as one; plain notation (`2*pi`, `sqrt(2)`, `1e5`) is first
written as LaTeX. Sentences are left to math-verify, which looks for their last formula or number. Nothing is
evaluated: LaTeX is parsed by a grammar. Only the standard library is imported at the top.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

INFINITY = "infinity|Infinity|oo|inf"
KNOWN = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|sec|csc|cot|ln|log|exp|pi|max|min|infty"
WORD = re.compile(rf"(?<![\\A-Za-z])(?!(?:{KNOWN}|{INFINITY}|sqrt|and|or)(?![A-Za-z]))[A-Za-z]{{2,}}")
"""A word of a sentence: no command of LaTeX, no function."""
GROUP = re.compile(r"\\(?:text|mathrm|mathbf|mathit|textbf|operatorname)\s*\{([^{}]*)\}")
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
BETWEEN = re.compile(r"[\s,;$]*(?:and|or)?[\s,;$]*")
"""What stands between boxes that are one answer together."""
SIGNS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "÷": "/",
        "·": r"\cdot ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "°": r"^\circ ",
    }
    | {"√": r"\sqrt ", "²": "^2", "³": "^3", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne "}
)
PLAIN = (  # in this order
    (r"\\(?:mathrm|operatorname|mathbf|mathit)\s*\{(\w)\}", r"\1"),
    (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])", r"\1\\times 10^{\2}"),
    (r"(?<=\d)\s*[xX]\s*(?=10\^)", r"\\times "),
    (r"\*\*|\^\^", "^"),
    (r"\*", r"\\cdot "),
    (r"\^(-?\d+)", r"^{\1}"),
    (rf"(?<![\\A-Za-z])(?:{INFINITY})(?![A-Za-z])", r"\\infty "),
    (rf"(?<![\\A-Za-z])({KNOWN})(?![A-Za-z])", r"\\\1 "),
    (r"(?<![\w}])(\d+)\s+(\d+)/(\d+)(?![\w{])", r"\1\\frac{\2}{\3}"),
)


@dataclass(frozen=True)
class ParsedAnswer:
    """What an answer says: the formulas math-verify made of it, and its text without layout."""

    formulas: tuple[Any, ...]
    text: str


def equal(text: str, answer: str) -> bool:
    """Whether `text` ends in what is equal to `answer`. Raises ValueError if that is no mathematics."""
    import math_verify

    wanted, found = read(answer), read(text)
    if not wanted.formulas and not re.search(r"\d|\\", answer) and not re.fullmatch(r"\w+", answer.strip()):
        raise ValueError(f"math-verify finds no mathematics in the right answer {answer!r:.100}")
    if found.text == wanted.text:
        return True
    if re.fullmatch(r"[A-J]", wanted.text) and not found.formulas:  # "The answer is B."
        letters = math_verify.StringExtractionConfig(strings=tuple("ABCDEFGHIJ"), lowercase=False)
        return wanted.text in math_verify.parse(text, [letters], parsing_timeout=None)
    # a piece of what opens a bracket is not what is meant
    formulas = found.formulas or (() if set(text) & set("([{") else _pieces(text))
    return bool(math_verify.verify(list(wanted.formulas), list(formulas), timeout_seconds=None))


@lru_cache(maxsize=1024)
def read(text: str) -> ParsedAnswer:
    """What `text` says in its last box, after its last `####`, or as a whole."""
    import math_verify

    text = _last_box(text) or text
    text = re.sub(r"</?\w+>", " ", text.rpartition("####")[2]).translate(SIGNS)
    text = re.sub(r"(?<![\w)])\*\*(?=\S)([^*]+)\*\*(?!\w)", r"\1", text).strip().rstrip(".").strip()
    text = _bare(text)
    plain = GROUP.sub(r"\1", text)
    without_layout = re.sub(r"\\left|\\right|\\[,;! ]|[\s$]", "", plain)
    text = text.removeprefix("=").strip()
    if WORD.search(GROUP.sub("", text)) or "$" in text or ("\n" in text and "\\" not in text):
        return ParsedAnswer(_pieces(text), without_layout)
    latex = math_verify.LatexExtractionConfig()
    found = math_verify.parse(f"${_as_latex(text)}$", [latex], parsing_timeout=None)
    return ParsedAnswer(_formulas(found), without_layout)


def _pieces(text: str) -> tuple[Any, ...]:
    """The last formula or number that math-verify finds in sentences."""
    import math_verify

    return _formulas(math_verify.parse(text, parsing_timeout=None))


def _formulas(found: list[Any]) -> tuple[Any, ...]:
    # its strings are what it could not read, cut short: two wrong readings would be equal
    return tuple(one for one in found if not isinstance(one, str))


def _last_box(text: str) -> str:
    """What is in the last box, joined with boxes that only "and" or a comma keeps apart; else empty."""
    kept, end = "", None
    for box in BOX.finditer(text):
        close = _closing(text, box.end() - 1)
        together = end is not None and BETWEEN.fullmatch(text[end : box.start()])
        inside = text[box.end() : close]
        kept, end = f"{kept}, {inside}" if together else inside, close + 1
    return kept


def _bare(text: str) -> str:
    r"""`text` without the signs that say that all of it is mathematics, or money."""
    for before, after in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inside = text[len(before) : len(text) - len(after)]
        if len(text) > 2 * len(before) and text == before + inside + after and "$" not in inside:
            return inside.strip()
    return re.sub(r"^(-?)\\?[$€£¥]\s*(?=[\d.])", r"\1", text) if text.count("$") < 2 else text


def _as_latex(text: str) -> str:
    for pattern, replacement in PLAIN:
        text = re.sub(pattern, replacement, text)
    return _braced(_braced(text, r"(?<![A-Za-z])\\?sqrt\s*\(", r"\sqrt"), r"\^\s*\(", "^")


def _braced(text: str, opening: str, command: str) -> str:
    """`command{...}` for what `opening`, which ends in a bracket, and the closing bracket enclose."""
    while found := re.search(opening, text):
        close = _closing(text, found.end() - 1)
        text = f"{text[: found.start()]}{command}{{{text[found.end() : close]}}}{text[close + 1 :]}"
    return text


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed; the end of the text if nowhere."""
    opened, closed = text[start], {"(": ")", "{": "}"}[text[start]]
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == opened) - (text[place] == closed)
        if depth == 0:
            return place
    return len(text)
