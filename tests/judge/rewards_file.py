"""Reward functions, for the tests of the judges that load them by path. Standard library only."""

import functools
import os
import sys
import time


def length(completions, **columns):
    return [float(len(text)) for text in completions]


def noisy(completions, **columns):
    print("{}", completions)
    os.write(1, b"\x00\x00\x00\x00\x00\x00\x00\x02{}")
    return [1.0] * len(completions)


def picky(completions, log_extra, log_metric, **columns):
    """Behaves as the texts tell it."""
    if "raise" in completions:
        raise KeyError("raise")
    if "hang" in completions:
        time.sleep(60)
    if "memory" in completions:
        len([0] * 10**10)
    if "crash" in completions:
        os._exit(9)
    log_extra("size", [len(text) for text in completions])
    log_metric("rows", len(completions))
    special = {"nan": float("nan"), "none": None, "text": "1"}
    return [special.get(text, 1.0) for text in completions]


def picky_one(completion):
    if completion == "raise":
        raise KeyError("raise")
    if completion == "hang":
        time.sleep(60)
    return {"nan": float("nan"), "none": None}.get(completion, 1.0)


async def picky_async(completion):
    return picky_one(completion)


def short(completions):
    return [1.0] * (len(completions) - 1) if len(completions) > 1 else [1.0]


def columns_seen(completions, completion_ids, answer, **columns):
    return [
        len(ids) + 10 * int(a) + 100 * len(columns) for ids, a in zip(completion_ids, answer, strict=True)
    ]


def loaded(completions):
    return [float("torch" in sys.modules)] * len(completions)


def flaky(completions, **columns):
    """Fails the first time that a worker calls it."""
    if os.path.exists("called"):
        return [1.0] * len(completions)
    with open("called", "w"):
        raise ConnectionError("try again")


def nothing(a, b):
    return 0


def pictured(completions, image, raw, **columns):
    seen = zip(image, raw, columns["images"], strict=True)
    return [len(one.getbands()) + 10 * one.width + 100 * len(more) + 1000 * b[0] for one, b, more in seen]


def critic(steps, answer, truncated):
    """Behaves as the first step tells it; otherwise what is not the answer is wrong."""
    if "raise" in steps[0]:
        raise KeyError("raise")
    if "hang" in steps[0]:
        time.sleep(60)
    special = {"none": None, "text": ["one"], "outside": [9], "nan": [0.5], "cut": [0] if truncated else []}
    if steps[0].strip() in special:
        return special[steps[0].strip()]
    return {k: f"not {answer}" for k, step in enumerate(steps) if step.strip() != answer}


def drawing_critic(steps, seed):
    return [k for k in range(len(steps)) if (seed >> k) % 2]


def lines(text):
    return text.splitlines(keepends=True) if text != "whole" else [text, "more"]


wrapped = functools.partial(nothing)
