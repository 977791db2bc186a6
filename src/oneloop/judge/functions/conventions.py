"""Reward functions as others write them, told apart by the names of their parameters.

    TRL         f(prompts, completions, completion_ids, **columns, trainer_state, log_extra, log_metric)
    ms-swift    as TRL, in a class derived from its ORM: prompts and completions are always text
    one each    f(prompt, completion, **columns), also of verifiers where it asks for no state or parser
    verl        compute_score(data_source, solution_str, ground_truth, extra_info), or each with an s
    OpenRLHF    reward_func(queries, prompts, labels)
    slime       custom_rm(args, sample), or (args, samples); `args` is empty
    flow_grpo   _fn(images, prompts, metadata), or a function without parameters that makes it

A function that takes `completions` is TRL's whatever else it takes: a column of the data may be called images
or queries. Left out: environment classes (prime-rl, NeMo-RL, verifiers' Rubric), which hold a conversation,
and reward models that want an accelerator at construction (Flow-Factory). Standard library only: this runs
inside a sandbox's worker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

Row = dict[str, Any]
"""One rollout: `prompt`, `text`, `id`, `group`, `example`, and where asked for `tokens` and `image`."""


@dataclass(frozen=True)
class Style:
    """One convention: which parameters give it away, and what it is called with."""

    marks: frozenset[str]
    offers: frozenset[str]
    """Names of what it can be called with, beside the columns of the data."""
    arguments: Callable[[Sequence[Row]], dict[str, Any]]
    one: bool = False
    """Whether it takes one rollout at a time."""
    columns: bool = False
    """Whether the columns of the data are arguments too."""
    pictures: bool = False
    """Whether it takes images, which a flow policy makes."""


def _trl(rows: Sequence[Row]) -> dict[str, Any]:
    tokens = {"completion_ids": [row["tokens"] for row in rows]} if "tokens" in rows[0] else {}
    return {
        "prompts": [row["prompt"] for row in rows],
        "completions": [completion(row) for row in rows],
        **tokens,
    }


def _one(rows: Sequence[Row]) -> dict[str, Any]:
    tokens = {"completion_ids": rows[0]["tokens"]} if "tokens" in rows[0] else {}
    return {"prompt": rows[0]["prompt"], "completion": completion(rows[0]), **tokens}


def _verl(rows: Sequence[Row]) -> dict[str, Any]:
    data = rows[0]["example"]
    asked = {"data_source": data.get("data_source"), "solution_str": rows[0]["text"]}
    return {**asked, "ground_truth": data.get("answer"), "extra_info": data.get("extra_info")}


def _verl_batch(rows: Sequence[Row]) -> dict[str, Any]:
    each = [_verl([row]) for row in rows]
    # extra_info becomes extra_infos, and so on
    return {f"{name}s": [asked[name] for asked in each] for name in each[0]}


def _openrlhf(rows: Sequence[Row]) -> dict[str, Any]:
    prompts = [text_of(row["prompt"]) for row in rows]
    queries = [prompt + row["text"] for prompt, row in zip(prompts, rows, strict=True)]
    return {"queries": queries, "prompts": prompts, "labels": [row["example"].get("answer") for row in rows]}


def _slime(rows: Sequence[Row]) -> dict[str, Any]:
    data = rows[0]["example"]
    sample = SimpleNamespace(
        prompt=rows[0]["prompt"],
        response=rows[0]["text"],
        label=data.get("answer"),
        metadata=data.get("metadata") or {},
        index=rows[0]["id"],
        group_index=rows[0]["group"],
    )
    return {"args": SimpleNamespace(), "sample": sample}


def _slime_batch(rows: Sequence[Row]) -> dict[str, Any]:
    return {"args": SimpleNamespace(), "samples": [_slime([row])["sample"] for row in rows]}


def _flow_grpo(rows: Sequence[Row]) -> dict[str, Any]:
    import numpy as np

    metadata = [row["example"].get("metadata") or {} for row in rows]
    images = np.stack([row["image"] for row in rows])
    return {"images": images, "prompts": [text_of(row["prompt"]) for row in rows], "metadata": metadata}


HANDED = frozenset({"trainer_state", "log_extra", "log_metric"})
"""What a function with columns can ask for beside them, as in TRL."""
TRL = frozenset({"prompts", "completions", "completion_ids"})
ONE = frozenset({"prompt", "completion", "completion_ids"})
VERL = frozenset({"data_source", "solution_str", "ground_truth", "extra_info"})
OPENRLHF = frozenset({"queries", "prompts", "labels"})
FLOW = frozenset({"images", "prompts", "metadata"})


def _style(marks: str, offers: frozenset[str], arguments: Any, **kind: bool) -> Style:
    return Style(
        frozenset(marks.split()), offers | HANDED if kind.get("columns") else offers, arguments, **kind
    )


STYLES = [  # the first whose marks are all there
    _style("completions", TRL, _trl, columns=True),
    _style("completion", ONE, _one, one=True, columns=True),
    _style("solution_strs", frozenset(f"{name}s" for name in VERL), _verl_batch),
    _style("solution_str", VERL, _verl, one=True),
    _style("queries", OPENRLHF, _openrlhf),
    _style("images prompts", FLOW, _flow_grpo, pictures=True),
    _style("args samples", frozenset({"args", "samples"}), _slime_batch),
    _style("args sample", frozenset({"args", "sample"}), _slime, one=True),
    _style("completion_ids", TRL, _trl, columns=True),
    _style("prompts", TRL, _trl, columns=True),
]
ANYTHING = STYLES[0]
"""The convention of a function that takes whatever it is given (**kwargs) and names nothing: TRL's."""


def completion(row: Row) -> Any:
    """The text; where the prompt is a conversation, the turn of the assistant that goes on with it (TRL)."""
    return row["text"] if isinstance(row["prompt"], str) else [{"role": "assistant", "content": row["text"]}]


def text_of(prompt: Any) -> str:
    """The prompt as text: of a conversation the contents, a line each (the chat template is not applied)."""
    return prompt if isinstance(prompt, str) else "\n".join(str(turn.get("content", "")) for turn in prompt)


def style_of(names: Sequence[str], takes_more: bool = False) -> Style:
    """The convention of a function with these parameters, and with `**` where it takes more.

    Raises ValueError listing the known ones.
    """
    for style in STYLES:
        if style.marks <= set(names):
            return style
    if takes_more and not names:
        return ANYTHING
    if not names:
        raise ValueError(
            "it takes *args alone, and a reward function is given its arguments by name: "
            "write def reward(completions, **columns)"
        )
    known = "; ".join(dict.fromkeys(", ".join(sorted(style.marks)) for style in STYLES))
    raise ValueError(
        f"its parameters ({', '.join(names)}) fit no known convention; known by: {known}. One that "
        "makes a reward function is called in a file of yours (reward = make(...)), and the path names that"
    )


ELSEWHERE = {
    "state": "which an environment of verifiers keeps",
    "parser": "which a Rubric of verifiers holds",
    "environments": "which TRL makes for tools",
}
"""Arguments of other libraries that are nowhere to be had."""


def lacking(required: Sequence[str], offers: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """What is asked for and not to be had, in words; without `columns` those of the data are no arguments."""
    there = [*offers, *(columns or [])]
    return [
        f"it asks for '{name}', {ELSEWHERE.get(name, 'which is no column of the data')}; there are: "
        f"{', '.join(sorted(set(there)))}"
        for name in required
        if name not in there
    ]
