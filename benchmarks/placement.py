"""The planner against execution and against plans made by hand.

    python -m benchmarks.placement [--ranks 4] [--only llama,gpt2] [--out benchmarks/results/placement.json]

On twelve architectures with random weights (64 wide, 2 layers, batch 4 x 32, parameters at most 1/ranks on a
rank): bytes recorded over bytes predicted for forward, backward and AdamW on gloo ranks; gradients against
one process in fp64 and fp32; bytes over those of the plans by hand, in the memory of the best of them, and in
its memory and work. Then the time to plan a Llama of 8 layers.

Most of these models compute norms, softmaxes and rotary positions in fp32 whatever their weights are. In the
fp64 runs, planned and in one process alike, such steps are in fp64 (`WholePrecision`): else both differ by
the rounding of fp32, which says nothing about the plan.
"""

import argparse
import json
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from tests.parallel.placement.ranks import on_ranks
from torch.overrides import TorchFunctionMode

from oneloop.cli.plan_check import step
from oneloop.cli.plan_model import built, sample
from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.hand import data_parallel, megatron, per_linear, zero3
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.planner import plan_traced
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.placement.trace import trace

BATCH, LENGTH = 4, 32
BYTES_ALONE = 1e-4
"""Bytes that a floating point operation weighs as much as where work decides ties, as in Megatron's plan."""
COMMON: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
}
GROUPED = COMMON | {"num_key_value_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, **IDS},
    ),
    "bert": ("BertConfig", "BertForMaskedLM", COMMON | PLAIN),
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED | IDS),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", GROUPED | IDS | {"head_dim": 16}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", COMMON | IDS),
    "vit": (
        "ViTConfig",
        "ViTForImageClassification",
        {k: v for k, v in COMMON.items() if k != "vocab_size"}
        | {"image_size": 32, "patch_size": 8, "num_labels": 8, **PLAIN},
    ),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {k: v for k, v in COMMON.items() if k != "intermediate_size"}
        | {"ffn_dim": 256, "word_embed_proj_dim": 64, "max_position_embeddings": 64, "dropout": 0.0, **IDS},
    ),
    "mistral": ("MistralConfig", "MistralForCausalLM", GROUPED | IDS | {"num_key_value_heads": 2}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", GROUPED | IDS | {"head_dim": 16}),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", GROUPED | IDS),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", GROUPED | IDS),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", GROUPED | IDS | {"num_local_experts": 4}),
}


class WholePrecision(TorchFunctionMode):
    """Conversions to fp32 and results asked for in fp32 are in fp64 instead."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        single = torch.float32
        args = [torch.float64 if arg is single else arg for arg in args]
        kwargs = {k: torch.float64 if v is single else v for k, v in (kwargs or {}).items()}
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--only", default=",".join(ARCHITECTURES))
    parser.add_argument("--double", default=",".join(ARCHITECTURES), help="run in fp64 too")
    parser.add_argument("--megatron", default=",".join(ARCHITECTURES), help="solve Megatron's placements too")
    parser.add_argument("--llama-8", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/placement.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        names = options.only.split(",")
        rows = {name: planned(name, options, Path(scratch)) for name in names}
        cases = [case for row in rows.values() for case in row["cases"].values()]
        ran = on_ranks(options.ranks, run_all, cases, seconds=3000)
    runs = [(name, kind) for name in rows for kind in rows[name]["cases"]]
    for index, (name, kind) in enumerate(runs):
        results = [rank[index] for rank in ran]
        rows[name][kind] = {
            "predicted": rows[name]["predicted"][kind],
            "recorded": sorted({result[0] for result in results}),
            "differs": results[0][1],
            "gradient_gap": max(result[2] for result in results),
        }
    for name, row in rows.items():
        kinds = list(row["cases"])
        del row["cases"], row["predicted"]
        ratio = {kind: row[kind]["recorded"][0] / row[kind]["predicted"] for kind in kinds}
        print(name, ratio, {kind: row[kind]["gradient_gap"] for kind in ratio}, row["over"], flush=True)
    before = json.loads(options.out.read_text()) if options.out.is_file() else {}
    architectures = before.get("architectures", {}) | rows
    found = before | {"ranks": options.ranks, "torch": torch.__version__, "architectures": architectures}
    if options.llama_8:
        found["llama_8"] = llama_8()
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def planned(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Plans in one or two precisions and the plans by hand of the first."""
    ranks = options.ranks
    config, kind, sizes = ARCHITECTURES[name]
    made = getattr(transformers, config)(**sizes)
    made.architectures = [kind]
    folder = scratch / name
    made.save_pretrained(folder)
    row: dict[str, Any] = {"cases": {}, "predicted": {}}
    doubled = name in options.double.split(",")
    for dtype in (torch.float32, torch.float64) if doubled else (torch.float32,):
        model = built(str(folder), dtype)
        given = sample(model.config, BATCH, LENGTH, dtype)
        with WholePrecision() if dtype == torch.float64 else nullcontext():
            traced = program(trace(model, given))
        wishes = Wishes(budget=Budget(parameters=_least(traced, model, ranks)))
        found = plan_traced(traced, (ranks,), wishes, name=kind)
        text = str(dtype).removeprefix("torch.")
        row["cases"][text] = (found.to_json(), str(folder), dtype, BATCH, LENGTH)
        row["predicted"][text] = found.bytes_per_step
        if dtype == torch.float32:
            pinned = name in options.megatron.split(",")
            row |= _described(found, traced, model, given, ranks, wishes, pinned)
            print(name, {key: value for key, value in row.items() if key != "cases"}, flush=True)
    return row


def _least(traced: Any, model: Any, ranks: int) -> int:
    """1/ranks of the parameters; where an axis does not divide, as little as there can be."""
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    whole = sum(
        p.numel() * p.element_size() for p in model.parameters() if all(size % ranks for size in p.shape)
    )
    return (held - whole) // ranks + whole


def _described(
    found: Any, traced: Any, model: Any, given: Any, ranks: int, wishes: Wishes, pinned: bool
) -> dict[str, Any]:
    hand: dict[str, Any] = {}
    for plan_name, make in {
        "dp": lambda: data_parallel(traced, (ranks,)),
        "zero3": lambda: zero3(traced, (ranks,)),
        "megatron": lambda: megatron(traced, (ranks,), model, replace(wishes, time_limit=30)),
        "hf": lambda: per_linear(model, (ranks,), given),
    }.items():
        if plan_name == "megatron" and not pinned:
            continue
        try:
            one = make()
            hand[plan_name] = {
                "bytes": one.volume,
                "parameter_memory": one.parameter_memory,
                "flops_per_rank": one.flops_per_rank,
            }
        except PlacementError as error:
            hand[plan_name] = {"not_expressible": str(error)}
    priced = {name: one for name, one in hand.items() if "bytes" in one and name != "dp"}
    best = min(priced, key=lambda name: priced[name]["bytes"])
    most = max(priced[best]["parameter_memory"], found.parameter_memory)
    work = priced[best]["flops_per_rank"]
    alike = found
    if most > found.parameter_memory:
        alike = plan_traced(traced, (ranks,), replace(wishes, budget=Budget(parameters=most)))
    # as a plan by hand is priced: bytes alone, but no more work than it takes
    least = replace(wishes, budget=Budget(parameters=most, flops=work), balance=BYTES_ALONE)
    within = None if work is None else plan_traced(traced, (ranks,), least)
    return {
        "operations": len(traced.operations),
        "status": found.status,
        "gap": found.gap,
        "solve_seconds": found.solve_seconds,
        "flops_per_rank": found.flops_per_rank,
        "parameter_memory": found.parameter_memory,
        "by_hand": hand,
        "over": {name: found.bytes_per_step / one["bytes"] for name, one in hand.items() if one.get("bytes")},
        "best_by_hand": best,
        "over_best_in_its_memory": alike.bytes_per_step / priced[best]["bytes"],
        "over_best_in_its_memory_and_work": within and within.bytes_per_step / priced[best]["bytes"],
        "in_its_memory_and_work": within
        and {"bytes": within.bytes_per_step, "flops_per_rank": within.flops_per_rank, "gap": within.gap},
    }


def run_all(cases: list[tuple[Any, ...]]) -> list[tuple[int, list[str], float]]:
    """Every case on this rank, one after the other."""
    found = []
    for case in cases:
        with WholePrecision() if case[2] == torch.float64 else nullcontext():
            checked = step(*case)
        found.append((checked.recorded, checked.differs, checked.gap))
        dist.barrier()
    return found


def llama_8() -> dict[str, Any]:
    """Time to plan 8 layers of width 512 with a vocabulary of 32,000 on 8 ranks."""
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
    config = transformers.LlamaConfig(vocab_size=32_000, num_key_value_heads=8, use_cache=False, **sizes)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config).eval()
    tokens = torch.zeros(8, 128, dtype=torch.int64)
    start = time.perf_counter()
    traced = program(trace(model, {"input_ids": tokens, "labels": tokens.clone()}))
    traced_in = time.perf_counter() - start
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    start, busy = time.perf_counter(), time.process_time()
    found = plan_traced(traced, (8,), Wishes(budget=Budget(parameters=held // 8), time_limit=600))
    row = {
        "operations": len(traced.operations),
        "trace_seconds": traced_in,
        "plan_seconds": time.perf_counter() - start,
        "plan_cpu_seconds": time.process_time() - busy,
        "status": found.status,
        "gap": found.gap,
    }
    print("llama_8", row, flush=True)
    return row


if __name__ == "__main__":
    main()
