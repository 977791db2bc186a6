"""Sampling from a real model: the slot engine against `generate`, `generate_batch` and a vLLM on the CPU.

SmolLM2-135M-Instruct, one prompt of 100 tokens a group of 8, no end token, so that all draw as many tokens,
at temperature 1:
    1, 16, 64      so many sequences of 64 tokens
    long tail      64 sequences, log-normal lengths with median 32 and 256 at most
Each contender lives in a process of its own. It first tries its settings (fp32 and bf16, attention) on 16
sequences and keeps its fastest, which the results remember; ours runs in fp32, as `precision: auto` does on a
CPU. Runs are interleaved; a ratio is taken within each repeat. Ours alone computes log-probs.

    python -m benchmarks.real_size MODEL [--vllm PYTHON] [--repeats 3] [--threads 2]

MODEL: the folder that `oneloop fetch smollm2` makes. PYTHON: an interpreter that imports vllm for CPUs."""

from __future__ import annotations

import argparse
import copy
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
    quantiles = (np.arange(64) + 0.5) / 64
    normal = np.array([statistics.NormalDist().inv_cdf(quantile) for quantile in quantiles])
    tail = np.maximum(1, (np.exp(normal * np.log(8) / normal[-1]) * 32).round().astype(int))
    equal = {f"{rows} equal": [LENGTH] * rows for rows in (1, 16, 64)}
    return {**equal, "64 long tail": np.random.default_rng(2).permutation(tail).tolist()}


def oneloop(folder: str, _: str) -> Run:
    import torch
    from transformers import AutoModelForCausalLM

    from oneloop.core.draws import mix
    from oneloop.engines.request import Request
    from oneloop.engines.slots import SlotEngine

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = SlotEngine(model, eos=())

    def run(asked: list[list[int]], lengths: list[int]) -> None:
        rows = enumerate(zip(asked, lengths, strict=True))
        requests = [
            Request(int(mix(row)), row // GROUP, tuple(prompt), length) for row, (prompt, length) in rows
        ]
        assert [len(reply.tokens) for reply in engine.generate(requests)] == lengths

    return run


def generate(folder: str, precision: str, attention: str) -> Run:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()
    model.generation_config.eos_token_id = None

    def run(asked: list[list[int]], lengths: list[int]) -> None:
        longest = max(lengths)
        with torch.inference_mode():
            out = model.generate(
                torch.tensor(asked),
                attention_mask=torch.ones(len(asked), PROMPT, dtype=torch.long),
                do_sample=True,
                top_k=0,
                max_new_tokens=longest,
                pad_token_id=0,
            )
        assert out.shape[1] == PROMPT + longest

    return run


def continuous(folder: str, precision: str, attention: str) -> Run:
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()
    settings = ContinuousBatchingConfig(page_size=32, num_blocks=1024, max_batch_tokens=1024, seed=0)

    def run(asked: list[list[int]], lengths: list[int]) -> None:
        law = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=256, eos_token_id=-1, pad_token_id=0)
        with model.continuous_batching_context_manager(
            generation_config=law, continuous_batching_config=copy.deepcopy(settings)
        ) as manager:
            for prompt, length in zip(asked, lengths, strict=True):
                manager.add_request(prompt, max_new_tokens=length)
            found = [len(manager.get_result(timeout=300).generated_tokens) for _ in asked]
        assert sorted(found) == sorted(lengths)

    return run


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
    "oneloop": [("fp32",)],
    "generate": [("fp32", "sdpa"), ("fp32", "eager"), ("bf16", "sdpa")],
    "generate_batch": [("fp32", "sdpa"), ("bf16", "sdpa")],
    "vllm": [("fp32",), ("bf16",)],
}
BUILDERS = {"oneloop": oneloop, "generate": generate, "generate_batch": continuous, "vllm": vllm}


def serve(who: str, setting: str, folder: str, threads: int) -> None:
    """A process of one contender: for each task named on a line of input, a line with its seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes elsewhere
    import torch

    torch.set_num_threads(threads)
    run = BUILDERS[who](folder, *setting.split(","))
    for line in sys.stdin:
        lengths = tasks()[line.strip()]
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
        command = [python, __file__, folder, "--threads", str(threads)]
        command += ["--serve", who, "--setting", ",".join(setting)]
        pipe, self.setting = subprocess.PIPE, " ".join(setting)
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def seconds(self, task: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(task, file=self.process.stdin, flush=True)
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
    options.add_argument("--tasks", nargs="*", default=list(tasks()))
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
    for task in chosen.tasks:
        contenders = {who: Contender(who, python, *where, settings[who]) for who, python in pythons.items()}
        kept["tasks"][task] = compare(contenders, task, chosen.repeats)
        for contender in contenders.values():
            contender.close()
    result = {"hardware": hardware(), "threads": chosen.threads, "settings": settings, "tasks": kept["tasks"]}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
