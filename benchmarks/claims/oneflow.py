"""OneFlow's idea, placements found by a search, against plans made by hand (arXiv 2110.15032).

A seed is an architecture: one layer, 64 wide, batch 4 x 32, on 4 ranks. Counted are bytes that all ranks send
in one training step, forward, backward and AdamW, as the plan says; benchmarks/placement.py runs such plans
and records exactly as many. Arms, each the best of its kind:

    planned               the search, with the memory for parameters that the best plan by hand takes
    planned, a quarter    the search, with a quarter of the parameters on a rank
    tensor parallel       Megatron's placements with the best activations that the search finds, or the model
                          class's own plan where torch runs it; the one that sends less
    ZeRO-3                parameters cut over all ranks, gathered twice, gradients scattered
    data parallel         whole parameters on every rank: four times the memory, not a rival in the headline

Ratios of models so small do not carry over to large ones: activations outweigh weights here.
"""

import tempfile
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import transformers

from benchmarks.claims.claim import Arm, Claim, Fraction, Row, Rows
from oneloop.cli.plan_model import built, sample
from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.hand import HandPlan, data_parallel, megatron, per_linear, zero3
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.planner import plan_traced
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.placement.trace import trace

RANKS, BATCH, LENGTH = 4, 4, 32
COMMON: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 256,
}
IDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GPT2 = {"vocab_size": 128, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 64, **IDS}
VIT = {name: size for name, size in COMMON.items() if name != "vocab_size"} | PLAIN
ARCHITECTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("LlamaConfig", "LlamaForCausalLM", COMMON | IDS),
    ("GPT2Config", "GPT2LMHeadModel", GPT2),
    ("ViTConfig", "ViTForImageClassification", VIT | {"image_size": 32, "patch_size": 8, "num_labels": 8}),
    ("MistralConfig", "MistralForCausalLM", COMMON | IDS | {"num_key_value_heads": 2}),
    ("BertConfig", "BertForMaskedLM", COMMON | PLAIN),
)
WISHES = Wishes(time_limit=600)


@cache
def plans(seed: int) -> Rows:
    """Every arm's bytes and memory for one architecture."""
    config, kind, sizes = ARCHITECTURES[seed % len(ARCHITECTURES)]
    made = getattr(transformers, config)(**sizes)
    made.architectures = [kind]
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        model = built(folder, torch.float32)
    given = sample(model.config, BATCH, LENGTH, torch.float32)
    traced = program(trace(model, given))
    tensor: list[HandPlan] = []
    for make in (
        lambda: megatron(traced, (RANKS,), model, WISHES),
        lambda: per_linear(model, (RANKS,), given),
    ):
        try:
            tensor.append(make())
        except PlacementError:  # a class without a plan of its own, or one that torch does not run
            continue
    hand = {
        "tensor parallel": min(tensor, key=lambda one: one.volume),
        "ZeRO-3": zero3(traced, (RANKS,)),
        "data parallel": data_parallel(traced, (RANKS,)),
    }
    rows = {name: row(one.volume, one.parameter_memory) for name, one in hand.items()}
    best = min((rows["tensor parallel"], rows["ZeRO-3"]), key=lambda one: one["bytes"])
    quarter = least(model)
    for name, memory in (("planned", max(quarter, int(best["work"]))), ("planned, a quarter", quarter)):
        found = plan_traced(traced, (RANKS,), replace(WISHES, budget=Budget(parameters=memory)), name=kind)
        assert found.status == "optimal"
        rows[name] = row(found.bytes_per_step, found.parameter_memory)
    return rows


def row(sent: float, memory: float) -> Row:
    """What is measured of a plan."""
    return {"bytes": float(sent), "work": float(memory)}


def least(model: torch.nn.Module) -> int:
    """A quarter of the bytes of parameters; of those with an axis that 4 does not divide, all."""
    held = {weight: weight.numel() * weight.element_size() for weight in model.parameters()}
    whole = sum(size for weight, size in held.items() if all(axis % RANKS for axis in weight.shape))
    return (sum(held.values()) - whole) // RANKS + whole


def train(arm: str, value: float, seed: int) -> Row:
    """Bytes of one arm for the seed's architecture."""
    return plans(seed)[arm]


def headline(rows: Rows) -> Fraction:
    """Bytes of the best plan by hand over those of the plan that was searched, in its memory."""
    return min(rows["tensor parallel"]["bytes"], rows["ZeRO-3"]["bytes"]), rows["planned"]["bytes"]


CLAIM = Claim(
    paper="arXiv 2110.15032",
    parts=("parallel.placement",),
    recipe="docs/planner.md",
    says="placements deduced op by op match hand-tuned data, model and hybrid parallel systems in throughput",
    claim="over five small architectures the best plan by hand sends 1.1 times the bytes of the searched "
    "one, in the same memory for parameters",
    target=1.1,
    only_under="activations that outweigh the weights",
    arms=tuple(
        Arm(name) for name in ("planned", "planned, a quarter", "tensor parallel", "ZeRO-3", "data parallel")
    ),
    at_best={
        "planned": "solved to proven optimality: no plan in its memory sends less",
        "planned, a quarter": "solved to proven optimality: no plan in its memory sends less",
        "tensor parallel": "both plans were tried, Megatron's and the class's own; the one that sends less",
        "ZeRO-3": "it has no setting: parameters are cut over all ranks",
        "data parallel": "it has no setting: parameters are whole on every rank",
    },
    train=train,
    work="bytes of parameters on a rank",
    headline=headline,
)
