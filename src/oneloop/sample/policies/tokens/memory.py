"""How much memory a language policy takes: the model is built without its weights.

    weights + gradients + optimiser (two moments) + fp32 master + copies + KV cache + logits + activations

All but the last three are exact to the byte; of the cache it is what all slots hold at their longest (the
engine may keep as much again while it grows), logits and activations are estimates. Sampling and learning
take turns, yet all is added up: freed memory is not always given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from oneloop.core.memory import ACTIVATIONS, MemoryRow
from oneloop.core.protocols import Demand
from oneloop.engines.llama_forward import FAMILY, packs, product_type
from oneloop.engines.merged import added_by, plain_adapters
from oneloop.engines.slot_cache import bucket
from oneloop.engines.twin import unwrapped
from oneloop.sample.policies.tokens.forward import CHUNK, HELD
from oneloop.sample.policies.tokens.prompts import Prompts

LOOKED_AT = 16
"""Prompts whose length is measured."""
LESS = (
    "Lower learner.tokens_per_micro_batch, policy.language.slots or policy.language.max_new_tokens, or train "
    "adapters (policy.language.lora)"
)


@dataclass(frozen=True)
class Counted:
    """The facts about a language policy that its memory depends on."""

    model: Any
    """The model on the meta device, adapters included."""
    prompts: Prompts
    device: str
    precision: str
    """float32, bf16_autocast or bf16."""
    sampled_in_bf16: bool
    """Whether the engine keeps a bf16 copy of the weights."""
    slots: int
    limit: int
    """Tokens a rollout may have."""
    checkpointing: bool = False
    """Whether blocks are recomputed, so that only their inputs, and one block's activations, are held."""

    @property
    def narrow(self) -> bool:
        """Whether the engine computes in bf16."""
        return self.precision == "bf16" or self.sampled_in_bf16


def memory_rows(policy: Counted, demands: Sequence[Demand]) -> list[MemoryRow]:
    """What is held all the time, and what the largest of the phases among `demands` takes besides."""
    learned = [demand for demand in demands if demand.micro_batch is not None]
    passing = [_passing(policy, demand) for demand in learned]
    steady = _steady(policy, any(demand.reference for demand in learned))
    return [*steady, *max(passing, key=lambda phase: sum(row.bytes for row in phase))]


def _steady(policy: Counted, reference: bool) -> list[MemoryRow]:
    weights = list(policy.model.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    count, learned = sum(w.numel() for w in weights), sum(w.numel() for w in trained)
    own = sum(w.numel() * w.element_size() for w in weights)
    gradients = sum(w.numel() * w.element_size() for w in trained)
    master = 4 * learned if any(w.dtype != torch.float32 for w in trained) else 0
    autocast = 2 * count if policy.precision == "bf16_autocast" else 0
    return [
        MemoryRow("weights", own, f"{count:,} parameters, {policy.precision}"),
        MemoryRow("gradients", gradients + master, f"{learned:,} are trained"),
        MemoryRow("optimiser", 8 * learned, "two moments in fp32"),
        MemoryRow("master weights", master, "fp32 copies of what is trained"),
        MemoryRow("engine copy", engine_copies(policy, count), "weights as the sampler reads them"),
        MemoryRow("autocast", autocast, "bf16 weights of a forward pass"),
        MemoryRow("reference", gradients if reference else 0, "what is trained as a phase found it"),
    ]


def engine_copies(policy: Counted, count: int) -> int:
    """Bytes of the sampler's own weights: bf16 copies, weights with adapters added, and on a CPU the Llama
    family's laid out anew."""
    device = torch.device(policy.device)
    weights = torch.bfloat16 if policy.narrow else torch.float32
    dtype = product_type(device, weights, policy.precision == "bf16_autocast")
    plain = unwrapped(policy.model)
    adapted = plain_adapters(plain, torch.bfloat16 if policy.sampled_in_bf16 else None)
    beside = sum(weight.numel() for layer in adapted.values() for weight in added_by(layer))
    changed = sum(layer.get_base_layer().weight.numel() for layer in adapted.values())
    copied = 2 * (count - beside) if policy.sampled_in_bf16 else 4 * changed
    terse = type(plain).__name__ in FAMILY and (adapted or plain is policy.model)
    if not terse or not packs(device, dtype):
        return copied
    linear = [module for module in plain.modules() if isinstance(module, torch.nn.Linear)]
    products = sum(weight.numel() for module in linear for weight in module.parameters())
    return copied + dtype.itemsize * (products - beside)


def _passing(policy: Counted, demand: Demand) -> list[MemoryRow]:
    """Memory that one step takes besides what is held all the time."""
    assert demand.micro_batch is not None
    config = policy.model.config.get_text_config()
    wide = 4 if policy.precision == "float32" else 2
    prompt = prompt_length(policy.prompts, demand)
    positions = getattr(config, "max_position_embeddings", None) or 1 << 30
    length = bucket(min((prompt or 0) + policy.limit, positions))
    slots = min(policy.slots, demand.rollouts) if demand.sampled else 0
    parameters = sum(weight.numel() for weight in policy.model.parameters())
    tokens = min(demand.micro_batch(torch.device(policy.device), parameters), demand.rollouts * length)
    logits = tokens * config.vocab_size
    whole = demand.whole_logits or logits <= HELD
    layers = config.num_hidden_layers
    held = layers + ACTIVATIONS if policy.checkpointing else layers * ACTIVATIONS
    states = tokens * config.hidden_size * held
    known = f"{prompt} prompt" if prompt is not None else "prompts not counted"
    return [
        MemoryRow(
            "KV cache", slots * length * kv_bytes(policy), f"{slots} slots x {length} tokens ({known})"
        ),
        MemoryRow(
            "logits", 3 * 4 * (logits if whole else CHUNK), "in one piece" if whole else "a chunk at a time"
        ),
        MemoryRow("activations", states * wide, f"about, {tokens:,} tokens a micro-batch"),
    ]


def kv_bytes(policy: Counted) -> int:
    """Bytes of keys and values a token takes in all layers; on the CPU they are fp32."""
    size = 2 if policy.narrow and policy.device != "cpu" else 4
    ends = (".k_proj", ".v_proj")
    made = [layer for name, layer in policy.model.named_modules() if name.endswith(ends)]
    if made:  # heads of one layer may be larger than those of another
        return int(size * sum(layer.out_features for layer in made))
    config = policy.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size_of_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size * 2 * config.num_hidden_layers * heads * size_of_head)


def prompt_length(prompts: Prompts, demand: Demand) -> int | None:
    """Tokens of the longest of the first prompts; None where they cannot be read."""
    data = demand.data
    try:
        keys = range(min(LOOKED_AT, len(data)))
        return max(len(prompts.encode(data[key]["prompt"], f"data row {key}", data[key])) for key in keys)
    except Exception:
        return None
