"""A made-up run directory that looks real: a supervised phase, then GRPO on sums, with rollouts."""

import json
import math
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"

SUPERVISED, GRPO, GROUPS, SIZE = 40, 60, 8, 8

RECIPE = """\
phases:
  - name: sft
    steps: 40
    learning_rate: 0.003
  - name: grpo
    steps: 60
    num_generations: 8
    max_completion_length: 32
model:
  hidden_size: 192
  layers: 6
data:
  name: chain_sum
"""


def interval(rate: float, n: int) -> dict[str, float]:
    half = 1.96 * math.sqrt(rate * (1 - rate) / n)
    return {"accuracy": rate, "low": max(0.0, rate - half), "high": min(1.0, rate + half), "n": n}


def evaluations() -> list[dict]:
    planned = [
        ("sft", 0, "before", 0.0, 0.004),
        ("sft", 40, "after", 0.43, 0.29),
        ("grpo", 40, "before", 0.43, 0.29),
        ("grpo", 60, "during", 0.51, 0.44),
        ("grpo", 80, "during", 0.60, 0.55),
        ("grpo", 100, "after", 0.66, 0.62),
    ]
    return [
        {"kind": "eval", "phase": phase, "step": step, "when": when, "mode": mode, **interval(rate, 256)}
        for phase, step, when, greedy, sampled in planned
        for mode, rate in (("greedy", greedy), ("sampled", sampled))
    ]


def supervised_step(step: int, draw: random.Random) -> dict:
    return {
        "kind": "step",
        "phase": "sft",
        "step": step,
        "phase_step": step,
        "time": 0.9 * step,
        "loss": 2.9 * math.exp(-step / 12) + 0.5 + draw.gauss(0, 0.03),
        "grad_norm": 1.1,
        "learning_rate": 3e-3,
        "step_time": 0.9,
        "update_time": 0.8,
        "num_tokens": 0,
        "trained_tokens": 2048 * step,
    }


def grpo_step(step: int, draw: random.Random) -> dict:
    done = (step - SUPERVISED) / GRPO
    rate = 0.29 + 0.34 * (1 - math.exp(-3 * done)) + draw.gauss(0, 0.035)
    return {
        "kind": "step",
        "phase": "grpo",
        "step": step,
        "phase_step": step - SUPERVISED,
        "time": 36 + 1.4 * (step - SUPERVISED),
        "loss": draw.gauss(0, 2e-4),
        "reward": rate + 0.05,
        "reward_std": 0.45,
        "rewards/exact/mean": rate,
        "rewards/exact/std": 0.47,
        "rewards/form/mean": 0.9,
        "rewards/form/std": 0.2,
        "correct": rate,
        "group_size": SIZE,
        "frac_reward_zero_std": min(1, 0.22 + 0.2 * done + abs(draw.gauss(0, 0.05))),
        "frac_zero_forecast": 0.2 + 0.18 * done,
        "completions/mean_length": 15 - 3 * done + draw.gauss(0, 0.4),
        "completions/max_length": 32,
        "completions/clipped_ratio": max(0, 0.06 - 0.05 * done),
        "entropy": 0.55 * math.exp(-1.1 * done) + draw.gauss(0, 0.01),
        "kl": 0.06 * done + abs(draw.gauss(0, 0.003)),
        "ratio/mean": 1.0,
        "sampling/logprob_gap_mean": 2e-7 + abs(draw.gauss(0, 5e-8)),
        "sampling/logprob_gap_max": 3e-6 + abs(draw.gauss(0, 6e-7)),
        "effective_sample_size": 0.99,
        "grad_norm": 0.5,
        "learning_rate": 1e-4,
        "num_tokens": 900 * (step - SUPERVISED),
        "trained_tokens": 2048 * SUPERVISED + 600 * (step - SUPERVISED),
        "sample_time": 0.42 + abs(draw.gauss(0, 0.03)),
        "judge_time": 0.05,
        "update_time": 0.61 + abs(draw.gauss(0, 0.04)),
        "step_time": 1.2 + abs(draw.gauss(0, 0.02)),
        "judge/errors": 1,
        "rollouts/judged": GROUPS * SIZE,
        "rollouts/trained": 48,
        "staleness/mean": 0.0,
    }


def pieces_of(text: str) -> list[str]:
    """Tokens of one to three characters, so that the page has many."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def rollout(step: int, group: int, place: int, draw: random.Random) -> dict:
    numbers = [(7 * group + 3 * i + step) % 90 + 1 for i in range(4)]
    right, cut = draw.random() < 0.5, draw.random() < 0.06
    answer = sum(numbers) if right else sum(numbers) + draw.choice([-10, -1, 1, 9])
    steps = f"{numbers[0]} + {numbers[1]} = {numbers[0] + numbers[1]}\nthen {numbers[2]} and {numbers[3]}\n"
    text = steps if cut else f"{steps}The answer is {answer}."
    error = None
    if group == 1 and place == 2:
        text, error = HOSTILE, f"timeout after 2 s, {HOSTILE}"
    pieces = pieces_of(text)
    advantage = 0.0 if group == 5 or error else (1.0 if right and not cut else -0.9)
    return {
        "step": step,
        "phase": "grpo",
        "id": step * 1000 + group * SIZE + place,
        "group": group,
        "key": 11 * group,
        "prompt": f"State the final answer of {' + '.join(map(str, numbers))}.",
        "text": text,
        "status": "length" if cut else "stop",
        "reward": None if error else float(right and not cut),
        "correct": math.nan if error else float(right and not cut),  # as a run writes it
        "reward.exact": float("nan") if error else float(right and not cut),
        "reward.form": 1.0,
        "error.exact": error,
        "trained": not cut and not error and group != 5,
        "token": [100 + len(piece) * 7 + ord(piece[0]) for piece in pieces],
        "piece": pieces,
        "logprob": [-abs(draw.gauss(0, 0.7)) for _ in pieces],
        "entropy": [abs(draw.gauss(0.4, 0.3)) for _ in pieces],
        "advantage": [advantage * draw.uniform(0.3, 1.4) for _ in pieces],
        "share": [0.0 if place == 3 and i < 6 else 1.0 for i in range(len(pieces))],
        "ratio": [draw.gauss(1, 0.02) for _ in pieces],
        "version": [step - SUPERVISED - 1] * len(pieces),
    }


def credited(row: dict, place: int) -> dict:
    """The same rollout with what step critics, rounds of sampling and resumed rollouts add to it."""
    text, pieces = row["text"], row["piece"]
    cut = text.find("\n") + 1
    steps = [text[:cut], text[cut:]] if cut else [text]
    number, reached = [], 0
    for piece in pieces:
        number.append(int(reached >= cut > 0))
        reached += len(piece)
    wrong = [0.0, [1.0, 0.75, 0.0][place % 3]][-len(steps) :]
    words = ["", f"{HOSTILE} that is not what the sum gives"][-len(steps) :]
    critique = [
        {"step": k, "text": step, "wrong": wrong[k], "words": words[k]} for k, step in enumerate(steps)
    ]
    early = len(pieces) // 3 if place % 2 else 0
    version = [row["version"][0] - (i < early) for i in range(len(pieces))]
    added = {"flaw": [wrong[k] for k in number], "solution_step": number, "version": version}
    lost = place == 5  # no usable critique
    return (
        row
        | added
        | {"critique": None if lost else critique, "round": place // 4, "seeded": 3 * (place // 4)}
    )


def write_rollouts(folder: Path, step: int, rows: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"step-{step:06d}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def write_run(folder: Path, rollout_steps: range = range(41, 101, 3)) -> Path:
    """A whole run directory; the same for the same arguments."""
    draw = random.Random(7)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    environment = {
        "python": "3.11.9",
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "oneloop": "0.1.0",
        "cpu": "2 cores",
        "device": "cpu",
        "git commit": "e0626ad",
        "command": "oneloop train quickstart",
        "started": "2026-01-05 10:12:03",
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    steps = [supervised_step(n, draw) for n in range(1, SUPERVISED + 1)]
    steps += [grpo_step(n, draw) for n in range(SUPERVISED + 1, SUPERVISED + GRPO + 1)]
    doctor = {
        "kind": "doctor",
        "step": 52,
        "phase": "grpo",
        "level": "warn",
        "name": "judge_errors",
        "sentence": "Judges failed on 12 rollouts (1.6% of them).",
    }
    summary = {"kind": "summary", "time": 121.0}
    records = [*steps, *evaluations(), doctor, summary]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for step in rollout_steps:
        rows = [rollout(step, group, place, draw) for group in range(GROUPS) for place in range(SIZE)]
        write_rollouts(folder / "rollouts", step, rows)
    return folder
