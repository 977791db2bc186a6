"""Reward functions as others write them, told apart by the names of their parameters.

    TRL         f(prompts, completions, completion_ids, **columns, trainer_state, log_extra, log_metric)
    ms-swift    class with __call__(completions, **columns): as TRL, but prompts and completions always text
    one each    f(prompt, completion, **columns)
    verl        compute_score(data_source, solution_str, ground_truth, extra_info), or each with an s
    OpenRLHF    reward_func(queries, prompts, labels)
    slime       custom_rm(args, sample), or (args, samples); `args` is empty
    flow_grpo   _fn(images, prompts, metadata), or a function without parameters that makes it

Left out: environment classes (prime-rl, NeMo-RL), which hold a conversation, and reward models that want an
accelerator at construction (Flow-Factory). Standard library only: this runs inside a sandbox's worker.
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
    arguments: Callable[[Sequence[Row]], dict[str, Any]]
    one: bool = False
    """Whether it takes one rollout at a time."""
    columns: bool = False
    """Whether the columns of the data are arguments too."""


def _trl(rows: Sequence[Row]) -> dict[str, Any]:
    tokens = {"completion_ids": [row["tokens"] for row in rows]} if "tokens" in rows[0] else {}
    return {
        "prompts": [row["prompt"] for row in rows],
        "completions": [completion(row) for row in rows],
        **tokens,
    }


def _one(rows: Sequence[Row]) -> dict[str, Any]:
    return {"prompt": rows[0]["prompt"], "completion": completion(rows[0])}


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


STYLES = [  # the first whose marks are all there
    Style(frozenset({"solution_strs"}), _verl_batch),
    Style(frozenset({"solution_str"}), _verl, one=True),
    Style(frozenset({"queries"}), _openrlhf),
    Style(frozenset({"images", "prompts"}), _flow_grpo),
    Style(frozenset({"args", "samples"}), _slime_batch),
    Style(frozenset({"args", "sample"}), _slime, one=True),
    Style(frozenset({"completions"}), _trl, columns=True),
    Style(frozenset({"completion"}), _one, one=True, columns=True),
]


def completion(row: Row) -> Any:
    """The text; where the prompt is a conversation, the turn of the assistant that goes on with it (TRL)."""
    return row["text"] if isinstance(row["prompt"], str) else [{"role": "assistant", "content": row["text"]}]


def text_of(prompt: Any) -> str:
    """The prompt as text: of a conversation the contents, a line each (the chat template is not applied)."""
    return prompt if isinstance(prompt, str) else "\n".join(str(turn.get("content", "")) for turn in prompt)


def style_of(names: Sequence[str]) -> Style:
    """The convention of a function with these parameters. Raises ValueError listing the known ones."""
    for style in STYLES:
        if style.marks <= set(names):
            return style
    known = "; ".join(", ".join(sorted(style.marks)) for style in STYLES)
    raise ValueError(
        f"its parameters ({', '.join(names) or 'none'}) fit no known convention; known by: {known}"
    )
