"""Reads which steps a critic calls wrong from its reply, as people and models really write it.

The verdict is the end of the reply: its last line, a JSON object, or a list under the last line that asks
for one. So a list which the solution itself contains, and the critic quotes, decides nothing. Thinking
blocks, markdown, LaTeX and code fences are taken off first. What could be read in two ways is not read: a
guess would turn a verdict around unnoticed.
"""

import re
import unicodedata

from oneloop.core.text import one_line
from oneloop.judge.critique.json_verdicts import steps_in_json
from oneloop.judge.critique.step_lists import Unclear, steps_of, whole_list, within

LONGEST_LINE = 2000
"""Characters; a longer last line is an argument, not a verdict."""
LONGEST_REMARK = 500
"""Characters kept of what a critic says of a step."""
NEG = r"(?:wrong|incorrect|erroneous|flawed|faulty|invalid|mistaken|false)"
POS = r"(?:correct|right|valid|sound|accurate|fine)"
LABEL = re.compile(
    rf"\b{NEG}\s*(?:solution\s+)?(?P<noun>steps?(?:\(s\))?(?:\s+(?:list|numbers?|ind(?:ices|exes)|ids))?)?"
    r"(?:\s+(?:found|in\s+(?:the|this)\s+solution))?"
    r"\s*(?P<link>[:=]|->|=>|(?:are|is|were|was)\b\s*:?)\s*",
    re.IGNORECASE,
)
THAT = re.compile(
    rf"\bsteps?\s+(?:that|which)\s+(?:are|is|were)\s+{NEG}\s*(?:[:=]|are\b:?|->)\s*", re.IGNORECASE
)
RIGHT = re.compile(rf"\b(?<!in)(?:{POS})\s+steps?(?:\s+list)?\s*(?:[:=]|are\b:?|->)", re.IGNORECASE)
NOT = re.compile(
    r"\b(?:not|non|no|neither|never|without|except|isn't|aren't|than)\b[\s-]*(?:the\s+)?$", re.IGNORECASE
)
REPORTS = re.compile(
    r"\b(?:says?|said|saying|claims?|claimed|states?|stated|asserts?|writes?|wrote|written|reads|quotes?|quoted"
    r"|instructs?|tells?|told|according|pretends?|would|might|may|maybe|perhaps|possibly|probably|if|example)\b",
    re.IGNORECASE,
)
COUNT = re.compile(r"\b(?:number|count|amount|total)\s+of\s+(?:the\s+|all\s+)?$|\btotal\s+$", re.IGNORECASE)
LEAD = (
    r"(?:(?:so|thus|hence|therefore|overall|finally|in\s+(?:conclusion|summary|short)|(?:my\s+|final\s+)*"
    r"(?:answer|verdict|conclusion|result|summary|output|list))\s*[,:=]?\s*)*"
)
NEUTRAL = re.compile(rf"^{LEAD}(?=[\[({{-])", re.IGNORECASE)
NONE_WRONG = [
    re.compile(f"^{LEAD}{sentence}[.!]*$", re.IGNORECASE)
    for sentence in (
        rf"(?:there\s+(?:are|is|were|was)\s+)?(?:no|zero)\s+{NEG}\s+steps?"
        r"(?:\s+(?:were\s+|was\s+)?(?:found|identified|detected))?(?:\s+in\s+(?:the|this)\s+solution)?"
        r"(?:\s*:\s*(?:\[\s*\]|none))?",
        r"(?:there\s+(?:are|is|were|was)\s+)?no\s+(?:errors?|mistakes?)"
        r"(?:\s+(?:were\s+|was\s+)?(?:found|identified|detected))?(?:\s+in\s+(?:the|this)\s+solution|\s+in\s+any\s+step)?",
        rf"(?:none|no\s+one)\s+of\s+(?:the|these)\s+(?:\w+\s+)?steps\s+(?:is|are|was|were)\s+{NEG}",
        rf"no\s+steps?\s+(?:is|are|was|were)\s+{NEG}",
        rf"(?:all|both|every|each)(?:\s+of\s+the)?(?:\s+the)?(?:\s+\d+)?\s+steps?\s+(?:is|are|was|were)\s+{POS}",
        r"(?:none|-\s?1|nothing)",
    )
]
SOME_WRONG = re.compile(
    rf"^{LEAD}(?:only\s+step\s+(?P<only>\d{{1,6}})|(?:only\s+)?steps\s+(?P<many>[\d,\s]+(?:and|&)\s*\d{{1,6}}))"
    rf"\s+(?:is|are)\s+{NEG}[.!]*$",
    re.IGNORECASE,
)
REMARK = re.compile(r"^\W*step[\s_]*(\d{1,6})(?!\d)\W*(.*)$", re.IGNORECASE)
SAID = re.compile(rf"^(?:is\s+)?(?P<word>{NEG}|{POS})\s*(?:$|[.,;:(!—–-])", re.IGNORECASE)


def wrong_steps(reply: str, num_steps: int) -> set[int]:
    """Numbers of the steps that `reply` calls wrong, from 0; empty where it says that none is.

    Raises Unclear, with the reason in words, for a reply that gives no verdict, gives one that can be read in
    two ways or contradicts itself, or names a step outside 0..num_steps - 1.
    """
    text = answer_of(reply)
    lines = plain_lines(text)
    if not lines:
        raise Unclear("the reply is empty")
    wrong = steps_in_json(text, num_steps)
    if wrong is None:
        wrong = _bulleted(lines, num_steps)
    if wrong is None:
        wrong = _last_line(lines, num_steps)
    _check(text, wrong)
    return wrong


def answer_of(reply: str) -> str:
    """The reply without thinking blocks and end-of-turn tokens. Raises Unclear inside an open block."""
    text = unicodedata.normalize("NFKC", reply)
    text = re.sub(r"<\|[^|<>]{1,40}\|>\s*$|</s>\s*$", "", text.rstrip()).rstrip()
    closed = list(re.finditer(r"(?:</(?:think|thinking|thought|reasoning)>|◁/think▷)", text, re.IGNORECASE))
    text = text[closed[-1].end() :] if closed else text
    if re.search(r"^\s*(?:<(?:think|thinking|thought|reasoning)>|◁think▷)", text, re.IGNORECASE):
        raise Unclear("the reply ends inside its thinking")
    return text


def plain_lines(text: str) -> list[str]:
    """Lines with something on them, without markdown, LaTeX and code marks."""
    return [line for raw in text.splitlines() if (line := plain(raw)) and not raw.strip().startswith("```")]


def plain(line: str) -> str:
    """One line without the marks around its words."""
    for pattern, new in (
        (r"\\(?:boxed|text|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:emptyset|varnothing)\b|∅", "[]"),
        (r"\\([{}\[\]()])", r"\1"),
        (r"\\[,;! ]", " "),
        (r"[*`$]|__|(?<!\w)_|_(?!\w)", ""),
        (r"^\s*(?:#{1,6}|>+|[-•])\s+", ""),
        (r"[−–—](?=\s*\d)", "-"),
        (r"[‘’]", "'"),
        (r"\s+", " "),
    ):
        line = re.sub(pattern, new, line)
    return line.strip()


def _last_line(lines: list[str], num_steps: int) -> set[int]:
    line = lines[-1]
    if len(line) > LONGEST_LINE:
        raise Unclear("the last line is too long to be a verdict")
    if any(sentence.match(line) for sentence in NONE_WRONG):
        return set()
    if found := SOME_WRONG.match(line):
        return steps_of(found["only"] or found["many"], num_steps)
    labels = [*LABEL.finditer(line), *THAT.finditer(line)]
    right = RIGHT.search(line)
    if right and not labels:
        if len(lines) > 1 and LABEL.search(lines[-2]) and not RIGHT.search(lines[-2]):
            return _beside(lines[-2], line[right.end() :], num_steps)
        raise Unclear(f"the last line lists the correct steps: {shown(line)}")
    if labels:
        return _labelled(line, max(labels, key=lambda label: label.end()), num_steps)
    if found := NEUTRAL.match(line):
        return whole_list(line[found.end() :], num_steps)
    raise Unclear(f"no list of wrong steps at the end: {shown(line)}")


def _labelled(line: str, label: re.Match[str], num_steps: int) -> set[int]:
    """The steps behind a label such as "wrong steps:"."""
    before, after = line[: label.start()], line[label.end() :]
    if NOT.search(before):
        raise Unclear(f"the last line denies its label: {shown(line)}")
    if COUNT.search(before) and not re.search(r"\bnumbers\s+of", before, re.IGNORECASE):
        raise Unclear(f"the last line gives a count and not the steps: {shown(line)}")
    if REPORTS.search(before) or before.count('"') % 2:
        raise Unclear(f"the last line may report what somebody else says: {shown(line)}")
    if right := RIGHT.search(after):
        return _beside(line[: label.end() + right.start()], after[right.end() :], num_steps)
    return steps_of(
        after, num_steps, one=bool(re.search(r"step$", label.groupdict().get("noun") or "", re.I))
    )


def _beside(line: str, correct: str, num_steps: int) -> set[int]:
    """Wrong steps of `line`, where the correct ones are listed too; both must fit."""
    line = line.rstrip(" ,;.|")
    wrong = _last_line([line], num_steps)
    try:
        right = steps_of(correct, num_steps)
    except Unclear as error:
        raise Unclear(f"the list of correct steps cannot be read: {error}") from None
    if both := sorted(wrong & right):
        raise Unclear(f"step {both[0]} is listed as wrong and as correct")
    return wrong


def _bulleted(lines: list[str], num_steps: int) -> set[int] | None:
    """Steps that stand one a line below a last "Wrong steps:"; None where it is not so."""
    items: list[str] = []
    for line in reversed(lines):
        if re.fullmatch(r"(?:\d{1,2}[.)]\s+)?(?:[-•+]\s*)?(?:step\s*)?[\s_]*\d{1,6}\.?", line, re.IGNORECASE):
            items.append(line)
            continue
        label = LABEL.search(line)
        if not items or not label or line[label.end() :].strip():
            return None
        # the label itself must not be denied, reported or a count
        _labelled(f"{line} []", label, num_steps)
        return {within(int(re.findall(r"\d+", item)[-1]), num_steps) for item in items}
    return None


def _check(text: str, wrong: set[int]) -> None:
    """Raises Unclear where one-line remarks ("Step 1: correct.") say the opposite of the list."""
    for step, words in _remarks(text).items():
        found = SAID.match(words[0]) if len(words) == 1 else None
        if found is None:
            continue
        called_wrong = re.fullmatch(NEG, found["word"], re.IGNORECASE) is not None
        if called_wrong != (step in wrong):
            listed = "listed" if step in wrong else "not listed"
            raise Unclear(f"the reply calls step {step} {found['word'].lower()}, but it is {listed} as wrong")


def remarks(reply: str) -> dict[int, str]:
    """{step: what the critic says of it}, from the lines that begin with "Step k"."""
    said = _remarks(re.sub(r"(?s)^.*</(?:think|thinking|thought|reasoning)>", "", reply))
    return {step: one_line(" ".join(words), LONGEST_REMARK) for step, words in said.items()}


def _remarks(text: str) -> dict[int, list[str]]:
    """{step: lines about it}; a step's last mention counts."""
    said: dict[int, list[str]] = {}
    current: int | None = None
    for line in text.splitlines():
        if found := REMARK.match(line):
            current = int(found[1])
            said[current] = [found[2].strip(" *_`")]
        elif (
            current is not None
            and line.strip()
            and not re.search(rf"\[|{NEG}\s+steps?\b", line, re.IGNORECASE)
        ):
            said[current].append(line.strip())
    return said


def shown(line: str) -> str:
    """The end of a line, quoted."""
    return repr(one_line(line[-80:]))
