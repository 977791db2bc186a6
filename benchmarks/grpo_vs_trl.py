"""A GRPO step in oneloop and in TRL: same weights, prompts, group size, reward, lengths' law and optimiser.

Steps are interleaved: after each of TRL's steps its callback runs one of ours, so that a machine that slows
down slows both. Each runs at its best CPU setting (`--trl-precision` tells which TRL was given). Lengths are
what a random model draws: the end token has a chance of about 1 in 100 at every token, so that with a cap of
256 they have a long tail. Peak memory is read in processes of their own.

    python benchmarks/grpo_vs_trl.py [--steps 8] [--longest 64] [--trl-precision autocast|bf16|float32]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from oneloop.credit.group_relative import GroupRelative
from oneloop.engines.hardware import multiplies_bf16
from oneloop.judge.function import Function
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.reasoning import Reasoning
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

RESULT = Path(__file__).parent / "results" / "grpo_vs_trl.json"
GROUPS, PER_GROUP = 8, 8
RATE = 1e-6


def count_sevens(completions: list[str], **_: object) -> list[float]:
    """A reward that costs nothing and differs within groups."""
    return [float(text.count("7")) for text in completions]


def prompts() -> list[str]:
    """The prompts both train on."""
    return [Reasoning(task="chain_sum", size=512)[key]["prompt"] for key in range(512)]


def ours(folder: str, longest: int, precision: str) -> tuple[Loop, object]:
    """Our loop on the model in `folder`."""
    sampling = "same" if precision in ("float32", "bf16") else "bf16"
    policy = Language(
        model=folder, max_new_tokens=longest, precision=precision, sampling_precision=sampling
    ).open()
    data = Rows(rows=[{"prompt": prompt} for prompt in prompts()])
    plan = Plan(data=data, groups=GROUPS, count=Uniform(n=PER_GROUP))
    plan.begin(seed=0, steps=10_000)
    learner = Learner(policy, [PolicyGradient()], Learning(learning_rate=RATE, betas=(0.9, 0.999)), 10_000)
    judging = Judging([Function(path=count_sevens, isolate=False)])
    return Loop(plan, policy.sample, judging, [GroupRelative()], learner), policy


def theirs(folder: str, longest: int, precision: str, steps: int, callbacks: list[TrainerCallback]) -> object:
    """TRL's trainer on the same model."""
    from trl import GRPOConfig, GRPOTrainer

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    options = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=precision == "autocast",
        per_device_train_batch_size=GROUPS * PER_GROUP,
        num_generations=PER_GROUP,
        max_completion_length=longest,
        max_steps=steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        beta=0.0,
        gradient_checkpointing=False,
        logging_steps=1_000_000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=dtype),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        reward_funcs=count_sevens,
        args=options,
        train_dataset=Dataset.from_dict({"prompt": prompts()}),
        callbacks=callbacks,
    )


class Interleave(TrainerCallback):
    """Times TRL's step, then one of ours."""

    def __init__(self, loop: Loop):
        self.batches, self.pairs, self.tokens = loop.run(10_000), [], []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        trl = time.perf_counter() - self.start
        start = time.perf_counter()
        batch = next(self.batches)
        self.pairs.append((trl, time.perf_counter() - start))
        self.tokens.append(len(batch.actions))


def compare(folder: str, longest: int, steps: int, trl_precision: str, our_precision: str) -> dict:
    """Interleaved steps; the first pair warms up."""
    loop, _ = ours(folder, longest, our_precision)
    watch = Interleave(loop)
    trainer = theirs(folder, longest, trl_precision, steps + 1, [watch])
    trainer.train()
    pairs = watch.pairs[1:]
    ratios = sorted(trl / mine for trl, mine in pairs)
    return {
        "longest": longest,
        "trl_seconds": statistics.median(trl for trl, _ in pairs),
        "our_seconds": statistics.median(mine for _, mine in pairs),
        "our_stages": {name: seconds / (steps + 1) for name, seconds in loop.seconds.items()},
        "our_tokens": statistics.mean(watch.tokens),
        "ratio": statistics.median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
        "steps": len(pairs),
    }


def peak(who: str, folder: str, longest: int, precision: str) -> float:
    """Peak MiB of a process that takes three steps."""
    command = [sys.executable, __file__, "--peak", who, "--folder", folder]
    command += ["--longest", str(longest), "--trl-precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def three_steps(who: str, folder: str, longest: int, precision: str) -> None:
    """The work whose peak memory is read."""
    if who == "ours":
        batches = ours(folder, longest, precision)[0].run(3)
        for _ in batches:
            pass
    else:
        theirs(folder, longest, precision, 3, []).train()
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak
    print(float(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--longest", type=int, nargs="*", default=[64, 256])
    fast = multiplies_bf16(torch.device("cpu"))
    parser.add_argument("--trl-precision", default="autocast" if fast else "float32")
    parser.add_argument("--our-precision", default="bf16_autocast" if fast else "float32")
    parser.add_argument("--peak")
    parser.add_argument("--folder")
    given = parser.parse_args()
    if given.peak:
        three_steps(given.peak, given.folder, given.longest[0], given.trl_precision)
        return
    folder = tempfile.mkdtemp()
    model, tokenizer = SmallLlama().build()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    measured = []
    for longest in given.longest:
        found = compare(folder, longest, given.steps, given.trl_precision, given.our_precision)
        found["trl_mib"] = peak("theirs", folder, longest, given.trl_precision)
        found["our_mib"] = peak("ours", folder, longest, given.our_precision)
        measured.append(found)
        print(json.dumps(found))
    result = {"trl_precision": given.trl_precision, "our_precision": given.our_precision, "runs": measured}
    RESULT.write_text(json.dumps(result | {"threads": torch.get_num_threads()}, indent=1) + "\n")
    for found in measured:
        name = f"grpo_vs_trl_{found['longest']}"
        print(f"{name}: {found['ratio']:.2f} ({found['low']:.2f}-{found['high']:.2f}) over {found['steps']}")


if __name__ == "__main__":
    main()
