"""Sampling from a real model: the slot engine against `generate`, `generate_batch` and a vLLM on the CPU.

SmolLM2-135M-Instruct, one prompt of 100 tokens a group of 8, no end token, so that all draw as many tokens,
at temperature 1:
    1, 16, 64      so many sequences of 64 tokens
    long tail      64 sequences, log-normal lengths with median 32 and 256 at most
Each contender lives in a process of its own. It first tries its settings (fp32 and bf16, attention) on 16
sequences and keeps its fastest, which the results remember; ours tries fp32, as `precision: auto` has it on a
CPU, and bf16 products, as `bf16_autocast` has them. Runs are interleaved; a ratio is taken within each
repeat. Ours alone computes log-probs.

    python -m benchmarks.real_size MODEL [--vllm PYTHON] [--repeats 3] [--threads 2]

MODEL: the folder that `oneloop fetch smollm2` makes. PYTHON: an interpreter that imports vllm for CPUs."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

GROUP, PROMPT, LENGTH = 8, 100, 64
Run = Callable[[list[list[int]], list[int]], None]
RESULT = Path(__file__).parent / "results" / "real_size.json"


def prompts(rows: int) -> list[list[int]]:
    """A prompt a row, the same for the rows of a group."""
    random = np.random.default_rng(1)
    groups = [random.integers(100, 40_000, PROMPT).tolist() for _ in range(-(-rows // GROUP))]
    return [groups[row // GROUP] for row in range(rows)]


def tasks() -> dict[str, list[int]]:
    """Lengths to sample, by the name of the task."""
    from benchmarks.engine import long_tail

    equal = {f"{rows} equal": [LENGTH] * rows for rows in (1, 16, 64)}
    return {**equal, "64 long tail": long_tail().tolist()}


def local(who: str) -> Callable[..., Run]:
    """A contender of benchmarks/engine.py, on the model in a folder."""

    def build(folder: str, precision: str, attention: str = "sdpa") -> Run:
        import torch
        from transformers import AutoModelForCausalLM

        from benchmarks import engine
        from oneloop.core.draws import mix
        from oneloop.engines.request import Request

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        options = {"dtype": dtype, "attn_implementation": attention}
        model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
        model.generation_config.eos_token_id = None
        narrow = {"autocast": True} if precision == "bf16_autocast" else {}
        sample: Callable[[list[Request]], None] = getattr(engine, who)(model, **narrow)

        def run(asked: list[list[int]], lengths: list[int]) -> None:
            rows = enumerate(zip(asked, lengths, strict=True))
            sample([Request(int(mix(row)), row // GROUP, tuple(ids), limit) for row, (ids, limit) in rows])

        return run

    return build


def vllm(folder: str, precision: str) -> Run:
    from vllm import LLM, SamplingParams  # an environment of its own

    dtype = "float32" if precision == "fp32" else "bfloat16"
    engine = LLM(
        folder, dtype=dtype, max_model_len=1024, enforce_eager=True, max_num_seqs=64, disable_log_stats=True
    )

    def run(asked: list[list[int]], lengths: list[int]) -> None:
        laws = [SamplingParams(temperature=1.0, max_tokens=n, min_tokens=n, ignore_eos=True) for n in lengths]
        inputs = [{"prompt_token_ids": prompt} for prompt in asked]
        outputs = engine.generate(inputs, laws, use_tqdm=False)
        assert [len(output.outputs[0].token_ids) for output in outputs] == lengths

    return run


SETTINGS: dict[str, list[tuple[str, ...]]] = {
    "oneloop": [("fp32",), ("bf16_autocast",)],
    "generate": [("fp32", "sdpa"), ("fp32", "eager"), ("bf16", "sdpa")],
    "generate_batch": [("fp32", "sdpa"), ("bf16", "sdpa")],
    "vllm": [("fp32",), ("bf16",)],
}
BUILDERS = {
    "oneloop": local("engine"),
    "generate": local("generate"),
    "generate_batch": local("continuous"),
    "vllm": vllm,
}


def serve(who: str, setting: str, folder: str, threads: int) -> None:
    """A process of one contender: for each line of input, lengths to sample, a line with its seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes elsewhere
    import torch

    torch.set_num_threads(threads)
    run = BUILDERS[who](folder, *setting.split(","))
    for line in sys.stdin:
        lengths = json.loads(line)
        asked = prompts(len(lengths))
        start = time.perf_counter()
        run(asked, lengths)
        print(time.perf_counter() - start, file=answers, flush=True)


class Contender:
    """One contender's process, in one setting."""

    def __init__(self, who: str, python: str, folder: str, threads: int, setting: tuple[str, ...]):
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(threads),
        }
        command = [python, "-m", "benchmarks.real_size", folder, "--threads", str(threads)]
        command += ["--serve", who, "--setting", ",".join(setting)]
        pipe, self.setting = subprocess.PIPE, " ".join(setting)
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def seconds(self, task: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(tasks()[task]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def fastest(who: str, python: str, folder: str, threads: int, task: str) -> tuple[str, ...]:
    """The setting in which `who` is fastest on `task`, of the second run each."""
    times = {}
    for setting in SETTINGS[who]:
        contender = Contender(who, python, folder, threads, setting)
        contender.seconds(task)
        times[setting] = contender.seconds(task)
        print(f"{who} {' '.join(setting)}, {task}: {times[setting]:.2f} s", flush=True)
        contender.close()
    return min(times, key=times.__getitem__)


def compare(contenders: dict[str, Contender], task: str, repeats: int) -> dict[str, object]:
    """Seconds of each contender, and of the others over ours, interleaved, after a short run to warm up."""
    times: dict[str, list[float]] = {who: [] for who in contenders}
    for contender in contenders.values():
        contender.seconds("1 equal")
    for _ in range(repeats):
        for who, contender in contenders.items():
            times[who].append(contender.seconds(task))
    ratios = {
        who: sorted(theirs / ours for theirs, ours in zip(times[who], times["oneloop"], strict=True))
        for who in times
        if who != "oneloop"
    }
    tokens = sum(tasks()[task]) / statistics.median(times["oneloop"])
    print(f"oneloop, {task}: {tokens:.0f} tokens/s")
    for who, values in ratios.items():
        middle = statistics.median(values)
        print(f"{who} over oneloop, {task}: {middle:.2f} ({values[0]:.2f}-{values[-1]:.2f}) over {repeats}")
    return {"seconds": times, "ratios": ratios, "settings": {w: c.setting for w, c in contenders.items()}}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model")
    options.add_argument("--vllm", help="an interpreter that imports vllm")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--tasks", nargs="*", help="names of tasks; default: all")
    options.add_argument("--serve", help=argparse.SUPPRESS)
    options.add_argument("--setting", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.setting, chosen.model, chosen.threads)
        return
    from benchmarks.engine import hardware  # what vllm's interpreter cannot import

    pythons = {who: sys.executable for who in SETTINGS if who != "vllm"}
    if chosen.vllm:
        pythons["vllm"] = chosen.vllm
    where = (chosen.model, chosen.threads)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"settings": {}, "tasks": {}}
    settings = {who: tuple(setting) for who, setting in kept["settings"].items()}
    for who, python in pythons.items():
        settings[who] = settings.get(who) or fastest(who, python, *where, "16 equal")
        RESULT.write_text(json.dumps(kept | {"settings": settings}, indent=1) + "\n")
    for task in chosen.tasks or tasks():
        contenders = {who: Contender(who, python, *where, settings[who]) for who, python in pythons.items()}
        kept["tasks"][task] = compare(contenders, task, chosen.repeats)
        for contender in contenders.values():
            contender.close()
    result = {"hardware": hardware(), "threads": chosen.threads, "settings": settings, "tasks": kept["tasks"]}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
