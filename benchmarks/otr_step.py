"""A One-Token Rollout step against a supervised step of ours, and against TRL's SFTTrainer.

Same weights, same batch of demonstrations, same optimiser; the three take turns in one process, after each of
TRL's steps ours run once each. K = 256 samples a position.

    python benchmarks/otr_step.py [--steps 10]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from oneloop.engines.hardware import multiplies_bf16
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.reasoning import Reasoning
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.one_token import OneToken
from oneloop.update.objective.supervised import Supervised

RESULT = Path(__file__).parent / "results" / "otr_step.json"
BATCH, RATE = 64, 1e-6


def rows() -> list[dict[str, str]]:
    """Demonstrations: a prompt of about 70 characters and 64 characters of answer."""
    data = Reasoning(task="chain_sum", size=512)
    return [
        {"prompt": data[key]["prompt"], "completion": (data[key]["answer"] + " ") * 20} for key in range(512)
    ]


def ours(folder: str, objective: object, precision: str) -> Loop:
    """A supervised loop with `objective`."""
    policy = Language(model=folder, max_new_tokens=64, precision=precision).open()
    plan = Plan(data=Rows(rows=rows()), groups=BATCH, count=Uniform(n=1))
    plan.begin(seed=0, steps=10_000)
    learner = Learner(policy, [objective], Learning(learning_rate=RATE, betas=(0.9, 0.999)), 10_000)
    return Loop(plan, policy.demonstrate, None, [], learner)


class TakeTurns(TrainerCallback):
    """Times TRL's step, then a step of each of our loops."""

    def __init__(self, loops: list[Loop]):
        self.batches = [loop.run(10_000) for loop in loops]
        self.times: list[list[float]] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        seconds = [time.perf_counter() - self.start]
        for batches in self.batches:
            start = time.perf_counter()
            next(batches)
            seconds.append(time.perf_counter() - start)
        self.times.append(seconds)


def theirs(folder: str, precision: str, steps: int, watch: TakeTurns) -> None:
    """TRL's supervised trainer on the same demonstrations."""
    from trl import SFTConfig, SFTTrainer

    cut = [row | {"completion": row["completion"][:63]} for row in rows()]
    SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=precision == "bf16_autocast",
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            logging_steps=1_000_000,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(cut),
        callbacks=[watch],
    ).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    fast = multiplies_bf16(torch.device("cpu"))
    parser.add_argument("--precision", default="bf16" if fast else "float32", help="of oneloop")
    parser.add_argument("--trl-precision", default="bf16_autocast" if fast else "float32")
    given = parser.parse_args()
    folder = tempfile.mkdtemp()
    model, tokenizer = SmallLlama().build()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    watch = TakeTurns(
        [ours(folder, Supervised(), given.precision), ours(folder, OneToken(), given.precision)]
    )
    theirs(folder, given.trl_precision, given.steps + 1, watch)
    times = watch.times[1:]
    result: dict = {
        "precision": given.precision,
        "trl_precision": given.trl_precision,
        "threads": torch.get_num_threads(),
        "steps": len(times),
    }
    for name, place in {"trl_sft": 0, "sft": 1, "otr": 2}.items():
        result[f"{name}_seconds"] = statistics.median(row[place] for row in times)
    lines = []
    for name, above, below in (("otr_over_sft", 2, 1), ("otr_over_trl_sft", 2, 0)):
        ratios = sorted(row[above] / row[below] for row in times)
        result[name] = {"ratio": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}
        lines.append(
            f"{name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) over {len(times)}"
        )
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
