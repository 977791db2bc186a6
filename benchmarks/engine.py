"""The slot engine against transformers' `generate` and continuous batching (the manager of `generate_batch`).

Same 3.2 M-parameter Llama, same prompts (8 groups of 8), same number of tokens for every request, sampled at
temperature 1 on a CPU. Lengths are forced (no end token), so all do the same useful work:
    long tail: log-normal, median 32, the longest 8 times the median. `generate` must run its batch to the
               longest; the continuous batcher gets each request's own limit.
    equal:     64 tokens each.
Each contender lives in a process of its own, so that none leaves threads or memory to another. It first tries
its settings (fp32, bf16 where the CPU multiplies it; sdpa, eager; ...) and keeps its fastest. The engine also
computes log-probs, the others are spared that. Runs are interleaved; a ratio is taken within each repeat.
    python benchmarks/engine.py [--repeats 7] [--threads 2]"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging

from oneloop.core.draws import mix
from oneloop.core.orphans import end_with_parent
from oneloop.engines.hardware import multiplies_bf16
from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine

VOCABULARY, GROUPS, SIZE, MEDIAN = 1024, 8, 8, 32
Run = Callable[[list[Request]], None]


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **shape, **ends)).eval()


def set_up(dtype: torch.dtype, attention: str) -> LlamaForCausalLM:
    """The model as a peer takes it."""
    peer = model().to(dtype)
    peer.set_attn_implementation(attention)
    return peer


def requests(lengths: np.ndarray) -> list[Request]:
    """8 prompts of 8 to 24 tokens, 8 requests each."""
    random = np.random.default_rng(1)
    prompts = [tuple(random.integers(1, VOCABULARY, random.integers(8, 25)).tolist()) for _ in range(GROUPS)]
    return [
        Request(int(mix(n)), n // SIZE, prompts[n // SIZE], int(length)) for n, length in enumerate(lengths)
    ]


def long_tail() -> np.ndarray:
    """Log-normal quantiles with median 32, scaled so that the longest is 256, in random order."""
    quantiles = (np.arange(GROUPS * SIZE) + 0.5) / (GROUPS * SIZE)
    normal = np.array([statistics.NormalDist().inv_cdf(quantile) for quantile in quantiles])
    lengths = np.exp(normal * np.log(8) / normal[-1]) * MEDIAN
    return np.random.default_rng(2).permutation(np.maximum(1, lengths.round().astype(int)))


def engine(peer: PreTrainedModel, dtype: torch.dtype | None = None, autocast: bool = False) -> Run:
    slots = SlotEngine(peer, eos=(), dtype=dtype, autocast=autocast)

    def run(asked: list[Request]) -> None:
        replies = slots.generate(asked)
        assert [len(reply.tokens) for reply in replies] == [request.limit for request in asked]

    return run


def generate(peer: PreTrainedModel, cache: str = "dynamic") -> Run:
    def run(asked: list[Request]) -> None:
        width, longest = max(len(r.prompt) for r in asked), max(r.limit for r in asked)
        ids = torch.tensor([(0,) * (width - len(r.prompt)) + r.prompt for r in asked])
        with torch.inference_mode():
            out = peer.generate(
                ids,
                attention_mask=(ids != 0).long(),
                do_sample=True,
                top_k=0,
                max_new_tokens=longest,
                cache_implementation=cache,
                disable_compile=True,
            )
        assert out.shape[1] == width + longest

    return run


def continuous(peer: PreTrainedModel) -> Run:
    settings = ContinuousBatchingConfig(page_size=32, num_blocks=1024, max_batch_tokens=1024, seed=0)

    def run(asked: list[Request]) -> None:
        law = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=256, eos_token_id=-1, pad_token_id=0)
        with peer.continuous_batching_context_manager(
            generation_config=law, continuous_batching_config=copy.deepcopy(settings)
        ) as manager:
            for request in asked:
                manager.add_request(list(request.prompt), max_new_tokens=request.limit)
            lengths = [len(manager.get_result(timeout=120).generated_tokens) for _ in asked]
        assert sorted(lengths) == sorted(request.limit for request in asked)

    return run


CONTENDERS: dict[str, dict[str, Callable[[], Run]]] = {
    "oneloop": {
        "fp32": lambda: engine(model()),
        "bf16": lambda: engine(model(), torch.bfloat16),
        "bf16 products": lambda: engine(model(), autocast=True),
    },
    "generate": {
        f"{name} {attention} {cache}": lambda d=dtype, a=attention, c=cache: generate(set_up(d, a), c)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for attention in ("sdpa", "eager")
        for cache in ("dynamic", "static")
    },
    "generate_batch": {
        f"{name} {attention}": lambda d=dtype, a=attention: continuous(set_up(d, a))
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for attention in ("sdpa", "eager")
    },
}


def hardware() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name", platform.processor())
    return f"{name}, {platform.machine()}, torch {torch.__version__}"


def seconds(run: Run, asked: list[Request]) -> float:
    start = time.perf_counter()
    run(asked)
    return time.perf_counter() - start


def fastest(settings: dict[str, Callable[[], Run]], asked: list[Request]) -> tuple[str, Run]:
    """The setting with the best of two warm runs."""
    runs, times = {}, {}
    for name, build in settings.items():
        if name.startswith("bf16") and not multiplies_bf16(torch.device("cpu")):
            continue
        runs[name] = build()
        times[name] = min(seconds(runs[name], asked) for _ in range(3))
    print("   ", {name: round(value, 3) for name, value in times.items()}, flush=True)
    best = min(times, key=times.__getitem__)
    return best, runs[best]


def contender(who: str, threads: int, lengths: np.ndarray, line: Connection) -> None:
    """A process: says which setting it chose, then times a run each time it is asked."""
    end_with_parent()
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    asked = requests(lengths)
    best, run = fastest(CONTENDERS[who], asked)
    line.send(best)
    while line.recv():
        line.send(seconds(run, asked))


def compare(name: str, lengths: np.ndarray, repeats: int, threads: int) -> dict[str, object]:
    tokens, median, longest = lengths.sum(), np.median(lengths), lengths.max()
    print(f"{name}: {len(lengths)} requests, {tokens} tokens, median {median}, longest {longest}")
    lines, chosen = {}, {}
    for who in CONTENDERS:
        lines[who], other = multiprocessing.get_context("spawn").Pipe()
        arguments = (who, threads, lengths, other)
        multiprocessing.get_context("spawn").Process(target=contender, args=arguments, daemon=True).start()
        chosen[who] = lines[who].recv()
    times: dict[str, list[float]] = {who: [] for who in chosen}
    for _ in range(repeats):
        for who, line in lines.items():
            line.send(True)
            times[who].append(line.recv())
    for line in lines.values():
        line.send(False)
    ratios = {
        who: sorted(theirs / ours for theirs, ours in zip(times[who], times["oneloop"], strict=True))
        for who in times
        if who != "oneloop"
    }
    for who, setting in chosen.items():
        middle = statistics.median(times[who])
        print(f"    {who} ({setting}): {middle:.3f} s, {tokens / middle:.0f} tokens/s")
    return {"settings": chosen, "seconds": times, "ratios": ratios}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    equal = np.full(GROUPS * SIZE, 64)
    results = {
        "long tail": compare("long tail", long_tail(), chosen.repeats, chosen.threads),
        "equal lengths": compare("equal lengths", equal, chosen.repeats, chosen.threads),
    }
    target = Path(__file__).parent / "results" / "engine.json"
    target.write_text(json.dumps({"hardware": hardware(), "threads": chosen.threads, **results}, indent=1))
    for name, result in results.items():
        for who, ratios in result["ratios"].items():
            low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
            print(f"engine vs {who}, {name}: {middle:.2f} ({low:.2f}-{high:.2f}) over {len(ratios)}")


if __name__ == "__main__":
    main()
