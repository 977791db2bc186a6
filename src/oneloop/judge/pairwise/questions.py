"""What a judge that compares is asked: tasks, the criteria of each, and the words of the question.

The registry of OneReward (arXiv 2508.21066, Section 2.1): one judge for K tasks times E criteria, told by the
words of the query which of them is meant. The paper's own wording is in a figure that cannot be read; these
are ours. A question with `{prompt}` in it is asked with the prompt; any other is the same words for any
prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oneloop.core.rooms import nearest

PROMPT = "{prompt}"
QUESTIONS = {
    "text_alignment": (
        'Which shows better what was asked for, its objects, attributes and places: "{prompt}"?'
    ),
    "consistency": "Whose region goes on better from its surroundings in colour, texture and light?",
    "structure": "Whose geometry, perspective and contours are more correct?",
    "aesthetics": "Which is more appealing as a whole?",
    "removal_quality": "Which has the target gone and the area clean, with nothing new in it?",
}
DEFINED = ("text_alignment", "consistency", "structure", "aesthetics")
TASKS: dict[str, tuple[str, ...]] = {
    "fill": DEFINED,
    "extend": DEFINED,
    "text": DEFINED,
    "remove": ("removal_quality",),
}
"""The paper's tasks; rendering text is a fill in the paper, and a task of its own here."""
DOING = {
    "fill": "filling a region of an image",
    "extend": "extending an image beyond its borders",
    "text": "writing a text into a region of an image",
    "remove": "removing an object from an image",
}


@dataclass(frozen=True)
class Criterion:
    """One thing by which two results are compared."""

    name: str
    question: str

    @property
    def uses_prompt(self) -> bool:
        """Whether the question quotes the prompt."""
        return PROMPT in self.question


@dataclass(frozen=True)
class Question:
    """One comparison to be made: its words, and the data row for judges that look further than words."""

    task: str
    criterion: str
    text: str
    row: Mapping[str, Any]


def criteria_of(tasks: Mapping[str, tuple[str, ...]], questions: Mapping[str, str]) -> dict[str, Criterion]:
    """The criteria that `tasks` name, in order; `questions` add to the known ones or replace them.

    Raises ValueError for a task without criteria and for a criterion that has no question.
    """
    known, found = {**QUESTIONS, **questions}, dict[str, Criterion]()
    for task, names in tasks.items():
        if not names:
            raise ValueError(f"tasks: '{task}' has no criterion; known: {', '.join(known)}")
        for name in names:
            if name not in known:
                hint = nearest(name, list(known))
                raise ValueError(
                    f"tasks: no question is known for the criterion '{name}' of '{task}'; {hint} "
                    f"(or write its words under questions)"
                )
            found[name] = Criterion(name, known[name])
    if not found:
        raise ValueError(f"tasks must name at least one task; the paper's are {', '.join(TASKS)}")
    return found


def render_query(task: str, criterion: Criterion, prompt: str | None) -> str:
    """The words put to a judge, a function of nothing else.

    Raises ValueError naming both where the criterion quotes a prompt that is not there.
    """
    if criterion.uses_prompt and not prompt:
        raise ValueError(
            f"task '{task}', criterion '{criterion.name}': the question quotes a prompt, and there is none"
        )
    question = (
        criterion.question.replace(PROMPT, str(prompt)) if criterion.uses_prompt else criterion.question
    )
    doing = DOING.get(task, task.replace("_", " "))
    return (
        f"Two results of {doing}. {question} Answer Yes if the first image is better and No if the second is."
    )


def task_of(row: Mapping[str, Any], tasks: Mapping[str, tuple[str, ...]]) -> str:
    """The task of a data row: its column `task`; the only one there is where it has none.

    Raises ValueError listing the tasks there are.
    """
    name = row.get("task") or (next(iter(tasks)) if len(tasks) == 1 else "")
    if name in tasks:
        return str(name)
    what = f"'{name}' is no task" if name else "a data row has no column 'task'"
    raise ValueError(f"{what}; there are: {', '.join(tasks)}")
