"""A GRPO step in oneloop and in TRL: same weights, prompts, group size, reward, lengths' law and optimiser.

Steps are interleaved: after each of TRL's steps its callback runs one of ours, so that a machine that slows
down slows both. TRL runs in the precision in which three steps take it least time (fp32, bf16 autocast, bf16
weights where the CPU multiplies it). Ours runs in fp32, as `precision: auto` has it on a CPU, and where the
CPU multiplies bf16 in bf16 autocast as well: less exactly, as TRL then does. Peak memory is that of three
steps, in processes of their own.

The model is a random one of 3.2 M parameters: its end token has a chance of about 1 in 100 at every token, so
that with a cap of 256 lengths have a long tail. Or it is any that `--model` names, which has its own lengths.

    python -m benchmarks.grpo_vs_trl [--steps 8] [--longest 64 256]
    python -m benchmarks.grpo_vs_trl --model models/smollm2-135m-instruct --groups 4 --longest 64 --steps 3
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

from benchmarks.engine import hardware
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
PER_GROUP = 8
RATE = 1e-6


def count_sevens(completions: list[str], **_: object) -> list[float]:
    """A reward that costs nothing and differs within groups."""
    return [float(text.count("7")) for text in completions]


def prompts() -> list[str]:
    """The prompts both train on."""
    return [Reasoning(task="chain_sum", size=512)[key]["prompt"] for key in range(512)]


def ours(folder: str, longest: int, groups: int, precision: str = "float32") -> tuple[Loop, object]:
    """Our loop on the model in `folder`."""
    policy = Language(model=folder, max_new_tokens=longest, precision=precision).open()
    data = Rows(rows=[{"prompt": prompt} for prompt in prompts()])
    plan = Plan(data=data, groups=groups, count=Uniform(n=PER_GROUP))
    plan.begin(seed=0, steps=10_000)
    learner = Learner(policy, [PolicyGradient()], Learning(learning_rate=RATE, betas=(0.9, 0.999)), 10_000)
    judging = Judging([Function(path=count_sevens, isolate=False)])
    return Loop(plan, policy.sample, judging, [GroupRelative()], learner), policy


def theirs(
    folder: str, longest: int, groups: int, precision: str, steps: int, callbacks: list[TrainerCallback]
) -> object:
    """TRL's trainer on the same model."""
    from trl import GRPOConfig, GRPOTrainer

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    options = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=precision == "autocast",
        per_device_train_batch_size=groups * PER_GROUP,
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
    """Times TRL's step, then one of each of our loops."""

    def __init__(self, loops: dict[str, Loop]):
        self.batches = {name: loop.run(10_000) for name, loop in loops.items()}
        self.trl: list[float] = []
        self.mine, self.tokens = {name: [] for name in loops}, {name: [] for name in loops}

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.trl.append(time.perf_counter() - self.start)
        for name, batches in self.batches.items():
            start = time.perf_counter()
            batch = next(batches)
            self.mine[name].append(time.perf_counter() - start)
            self.tokens[name].append(len(batch.actions))


class Clock(TrainerCallback):
    """Times TRL's steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def compare(
    folder: str, longest: int, groups: int, steps: int, precision: str, our_precisions: list[str]
) -> dict:
    """Interleaved steps; the first of each warms up."""
    loops = {name: ours(folder, longest, groups, name)[0] for name in our_precisions}
    watch = Interleave(loops)
    trainer = theirs(folder, longest, groups, precision, steps + 1, [watch])
    trainer.train()
    trl = watch.trl[1:]
    found = {"longest": longest, "steps": steps, "trl_seconds": statistics.median(trl), "ours": {}}
    for name, loop in loops.items():
        mine = watch.mine[name][1:]
        ratios = sorted(their / our for their, our in zip(trl, mine, strict=True))
        found["ours"][name] = {
            "seconds": statistics.median(mine),
            "stages": {stage: seconds / (steps + 1) for stage, seconds in loop.seconds.items()},
            "tokens": statistics.mean(watch.tokens[name]),
            "ratio": statistics.median(ratios),
            "low": ratios[0],
            "high": ratios[-1],
        }
    return found


def three_steps(who: str, folder: str, longest: int, groups: int, precision: str) -> tuple[float, float]:
    """(seconds of the fastest of three steps, peak MiB) of a process that takes no other."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.grpo_vs_trl",
        "--alone",
        who,
        "--model",
        folder,
        "--groups",
        str(groups),
    ]
    command += ["--longest", str(longest), "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def alone(who: str, folder: str, longest: int, groups: int, precision: str) -> None:
    """The work of `three_steps`."""
    times = []
    if who == "ours":
        batches = ours(folder, longest, groups, precision)[0].run(3)
        for _ in range(3):
            start = time.perf_counter()
            next(batches)
            times.append(time.perf_counter() - start)
    else:
        clock = Clock()
        theirs(folder, longest, groups, precision, 3, [clock]).train()
        times = clock.seconds
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak
    print(min(times), float(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--longest", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument(
        "--precisions", nargs="*", help="those TRL tries; all that the CPU multiplies if none"
    )
    parser.add_argument("--model", help="a folder; without it a random model of 3.2 M parameters")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        alone(given.alone, given.model, given.longest[0], given.groups, given.precision)
        return
    name = Path(given.model).name if given.model else "random"
    folder = given.model or tempfile.mkdtemp()
    if not given.model:
        model, tokenizer = SmallLlama().build()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    narrow = multiplies_bf16(torch.device("cpu"))
    precisions = given.precisions or ["float32", *(["autocast", "bf16"] if narrow else [])]
    our_precisions = ["float32", *(["bf16_autocast"] if narrow else [])]
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for longest in given.longest:
        case = (folder, longest, given.groups)
        tried = {precision: three_steps("theirs", *case, precision) for precision in precisions}
        best = min(tried, key=lambda precision: tried[precision][0])
        found = compare(*case, given.steps, best, our_precisions)
        found |= {"trl_tried": tried, "trl_precision": best, "trl_mib": tried[best][1]}
        found |= {"rollouts": given.groups * PER_GROUP}
        found |= {"hardware": hardware(), "threads": torch.get_num_threads()}
        for precision, mine in found["ours"].items():
            mine["mib"] = three_steps("ours", *case, precision)[1]
            print(
                f"TRL ({best}) over oneloop ({precision}), {name}, "
                f"{found['rollouts']} x <= {longest} tokens: {mine['ratio']:.2f} "
                f"({mine['low']:.2f}-{mine['high']:.2f}) over {found['steps']}, "
                f"{mine['mib'] / found['trl_mib']:.2f} of its peak memory"
            )
        kept[f"{name} {longest}"] = found
        RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
