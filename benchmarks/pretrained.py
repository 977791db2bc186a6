"""OTR, CAPO, XRPO, D3S and GRPO on a pretrained chat model: SmolLM2-135M-Instruct (`oneloop fetch smollm2`).

The questions are sums of three numbers, to be added in two lines. The model has never done that. So it learns
the form from demonstrations, of which half have a wrong line, and then either

    learns what is right from rewards   GRPO, GRPO that is told of wrong lines by a scalar, CAPO, XRPO, D3S,
                                        all from one warm start, at equal sampled tokens
    learns from more demonstrations     SFT, DFT, OTR, from the model as it comes, at equal demonstrations,
                                        of which three in ten belong to another question

A fifth of the sums is held out. Learning rates are those of the recipe `quickstart`, and for demonstrations
that of the warm start: nothing is tuned and seeds are few, so what is printed is seen and not claimed.

    python -m benchmarks.pretrained [--seeds 2] [--only rewards|demonstrations] [--model FOLDER]
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.engine import hardware
from benchmarks.together import compared, warm_start
from oneloop.run.compare import CompareOptions
from oneloop.sample.data.sums import Sums

RESULT = Path(__file__).parent / "results" / "pretrained.json"
HERE = "benchmarks.pretrained"
QUESTION = "What is {a} + {b} + {c}? Write two lines: first {a} + {b}, then plus {c}."
WRONG = 0.5
TOKENS = 10_000
"""Sampled tokens of each arm that learns from rewards."""
DEMONSTRATIONS = 256
"""Of each arm that learns from these."""
OUTCOME: dict[str, Any] = {"verifier": {"by": "exact", "extract": r"= (\d+)\s*$"}}
EVALUATE: dict[str, Any] = {"size": 48, "samples": 2, "judge": [OUTCOME]}


def rows(split: str) -> list[dict[str, Any]]:
    """All sums of three numbers from 1 to 9 whose first two numbers are a pair of that split of `Sums`."""
    pairs = Sums(split=split, smallest=1, largest=9)  # type: ignore[arg-type]
    found = {(row["a"], row["b"]) for row in pairs}
    return [row(a, b, c) for (a, b), c in product(sorted(found), range(1, 10))]


def wrong_lines(steps: list[str], a: int, b: int, c: int) -> dict[int, str]:
    """{number of a wrong line: why}; the second is checked against the sum that the first states."""
    wrong, value = {}, a
    for place, (line, number) in enumerate(zip(steps, (b, c), strict=False)):
        left, _, stated = line.strip().partition(" = ")
        if left != f"{value} + {number}" or stated != str(value + number):
            wrong[place] = f"should be {value} + {number} = {value + number}"
        value = int(stated) if stated.isdecimal() and len(stated) < 4 else value
    return wrong | dict.fromkeys(range(2, len(steps)), "one line too many")


def demonstrations(wrong: float) -> list[dict[str, Any]]:
    """The training sums worked out, `wrong` of them with one line off by one."""
    every = round(1 / wrong) if wrong else 0
    found = []
    for number, asked in enumerate(rows("train")):
        a, b, c = asked["a"], asked["b"], asked["c"]
        slip = [0, 0]
        if every and number % every == 0:
            slip[number // every % 2] = 1 if number % 4 < 2 else -1
        first = a + b + slip[0]
        text = f"{a} + {b} = {first}\n{first} + {c} = {first + c + slip[1]}"
        found.append(asked | {"completion": text})
    return found


def row(a: int, b: int, c: int) -> dict[str, Any]:
    """One question."""
    text = QUESTION.format(a=a, b=b, c=c)
    return {
        "prompt": [{"role": "user", "content": text}],
        "answer": str(a + b + c),
        "a": a,
        "b": b,
        "c": c,
    }


def written(folder: Path, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The data part that reads a JSONL file of these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in found))
    return {"hub": {"path": str(path.resolve())}}


def recipe(model: str, folder: Path, **phase: Any) -> dict[str, Any]:
    """One phase from `model`, measured on the held-out sums."""
    held_out = written(folder, "held_out", rows("test"))
    policy = {"language": {"model": model, "max_new_tokens": 32}}
    return {"policy": policy, "evaluate": EVALUATE | {"data": held_out}, **phase}


def supervised(data: Any, objective: Any, steps: int) -> dict[str, Any]:
    """A phase on demonstrations, 32 a step."""
    return {
        "sample": "demonstrations",
        "plan": {"data": data, "groups": 32},
        "objective": [objective],
        "learner": {"learning_rate": 3e-5},
        "steps": steps,
    }


CRITIC: dict[str, Any] = {"path": f"{HERE}.wrong_lines", "separator": "\n"}
REWARDS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "grpo-critic-as-a-scalar": {"judge": [OUTCOME, {"step_critic": CRITIC | {"weight": 1.0}}]},
    "capo": {"judge": [OUTCOME, {"step_critic": CRITIC}], "credit": ["token_level"], "select": []},
    "xrpo": {
        "count": {"allocate": {"phases": 3, "base": 4, "mean_budget": 8, "exploration": 0.02}},
        "dress": ["seed_contexts"],
        "credit": ["group_relative", "novelty"],
    },
    "d3s": {"select": ["subset", "top_tokens"]},
}
"""For each arm what differs from GRPO."""
SHOWN: dict[str, Any] = {
    "sft": "supervised",
    "dft": {"supervised": {"weigh": "probability"}},
    "otr": "one_token",
}
"""The objective of each arm that learns from demonstrations."""


def arms(model: str, folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """{name: recipe}."""
    if kind == "demonstrations":
        data = {"corrupted": {"share": 0.3, "data": written(folder, "worked", demonstrations(0))}}
        steps = DEMONSTRATIONS // 32
        return {
            name: recipe(model, folder, **supervised(data, objective, steps))
            for name, objective in SHOWN.items()
        }
    wrong = written(folder, "demonstrations", demonstrations(WRONG))
    start = warm_start(recipe(model, folder, **supervised(wrong, "supervised", 12)), folder)
    data = written(folder, "train", rows("train"))
    found = {}
    for name, change in REWARDS.items():
        plan = {"data": data, "groups": 4, "count": {"uniform": {"n": 8}}}
        plan |= {slot: change[slot] for slot in ("count", "dress") if slot in change}
        phase = {"judge": [OUTCOME], "credit": ["group_relative"], "select": ["mixed_groups"]}
        phase |= {slot: change[slot] for slot in ("judge", "credit", "select") if slot in change}
        phase |= {"objective": ["policy_gradient"], "learner": {"learning_rate": 1e-5}, "steps": 1000}
        found[name] = recipe(start, folder, plan=plan, **phase)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=("rewards", "demonstrations"))
    parser.add_argument("--model", default="models/smollm2-135m-instruct")
    parser.add_argument("--run", type=Path, default=Path("runs/pretrained"), help="continued if it is there")
    chosen = parser.parse_args()
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for kind in ("demonstrations", "rewards") if chosen.only is None else (chosen.only,):
        made = arms(str(Path(chosen.model).resolve()), chosen.run, kind)
        options = CompareOptions(chosen.seeds, TOKENS if kind == "rewards" else None)
        results[kind] = compared(made, options, chosen.run, kind)
        for row in results[kind]:
            for mode in ("sampled", "greedy"):
                mean, *ends = row[mode]["score"]
                between = " to ".join(f"{end:.3f}" for end in ends if end is not None)
                print(f"{row['recipe']:26s} {mode:8s} {mean:.3f} ({between or 'one seed'})")
        results["hardware"] = hardware()
        RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
