"""How much memory a run will need, said before it starts: the model is built without its weights.

    weights + gradients + optimiser (two moments) + fp32 master + copies + KV cache + logits + activations

For a language policy all but the last three are exact to the byte; of the cache it is what all slots hold at
their longest (the engine may keep as much again while it grows), logits and activations are estimates.
Sampling and learning take turns, yet all is added up: freed memory is not always given back. Flow policies:
see flow_memory.py. Not here: other policies.
"""

from collections.abc import Sequence
from typing import Any

import torch

from oneloop.core.memory import ACTIVATIONS, Estimate, Row, device_of, free_memory
from oneloop.core.part import declared
from oneloop.engines.llama_forward import FAMILY, packs
from oneloop.engines.merged import added_by, plain_adapters
from oneloop.engines.slot_cache import bucket
from oneloop.engines.twin import unwrapped
from oneloop.recipe.recipe import Phase, Recipe
from oneloop.run.memory.flow import flow_rows
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.forward import CHUNK
from oneloop.sample.policies.tokens.loading import outline
from oneloop.sample.policies.tokens.prompts import Prompts

LOOKED_AT = 16
"""Prompts whose length is looked at."""
LESS_LANGUAGE = (
    "Lower learner.tokens_per_micro_batch, policy.language.slots or policy.language.max_new_tokens, or train "
    "adapters (policy.language.lora)"
)
LESS_FLOW = (
    "Lower learner.tokens_per_micro_batch, policy.flow.tokens_per_call or plan.groups, or keep latents in "
    "half the bytes (policy.flow.stored: bfloat16)"
)


def estimate(recipe: Recipe) -> Estimate | None:
    """What `recipe` needs; None for a policy this cannot look into.

    Reads the model's configuration, tokenizer and some data rows, never its weights. Raises ValueError when
    the model cannot be found.
    """
    phases = list(recipe.phases.values())
    if isinstance(recipe.policy, Flow):
        return _found(flow_rows(recipe.policy, phases), device_of(recipe.policy.device), LESS_FLOW)
    if not isinstance(recipe.policy, Language):
        return None
    policy = recipe.policy.settled()
    model, tokenizer = empty_model(policy)
    rows = _steady(policy, model, phases)
    passing = [_passing(policy, model, tokenizer, phase) for phase in phases]
    rows += max(passing, key=lambda phase: sum(row.bytes for row in phase))
    return _found(rows, policy.device, LESS_LANGUAGE)


def _found(rows: Sequence[Row], device: str, remedy: str) -> Estimate:
    return Estimate(tuple(row for row in rows if row.bytes), device, free_memory(device), remedy)


def empty_model(policy: Language) -> tuple[Any, Any]:
    """(the model as it will be trained, without memory for its weights; its tokenizer)."""
    dtype = torch.bfloat16 if policy.precision == "bf16" else torch.float32
    return outline(policy.model, dtype, policy.lora)


def _steady(policy: Language, model: Any, phases: Sequence[Phase]) -> list[Row]:
    """What is held all the time."""
    weights = list(model.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    count, learned = sum(w.numel() for w in weights), sum(w.numel() for w in trained)
    own = sum(w.numel() * w.element_size() for w in weights)
    gradients = sum(w.numel() * w.element_size() for w in trained)
    master = 4 * learned if any(w.dtype != torch.float32 for w in trained) else 0
    reads = {column for phase in phases for term in phase.objective for column in declared(term, "reads")}
    copies = own if "actions.reference" in reads and policy.lora is None else 0
    return [
        Row("weights", own, f"{count:,} parameters, {policy.precision}"),
        Row("gradients", gradients + master, f"{learned:,} are trained"),
        Row("optimiser", 8 * learned, "two moments in fp32"),
        Row("master weights", master, "fp32 copies of what is trained"),
        Row("engine copy", engine_copies(policy, model, count), "weights as the sampler reads them"),
        Row(
            "autocast",
            2 * count if policy.precision == "bf16_autocast" else 0,
            "bf16 weights of a forward pass",
        ),
        Row("reference", copies, "the weights at the start of a phase"),
    ]


def engine_copies(policy: Language, model: Any, count: int) -> int:
    """Bytes of the sampler's own weights: a bf16 copy, and on a CPU the Llama family's laid out anew."""
    narrow = policy.precision == "bf16" or policy.sampling_precision == "bf16"
    dtype = torch.bfloat16 if narrow else torch.float32
    copies = torch.bfloat16 if policy.sampling_precision == "bf16" else None
    plain = unwrapped(model)
    adapted = plain_adapters(plain, copies)
    beside = sum(weight.numel() for layer in adapted.values() for weight in added_by(layer))
    changed = sum(layer.get_base_layer().weight.numel() for layer in adapted.values())
    copied = 2 * (count - beside) if copies else 4 * changed
    terse = type(plain).__name__ in FAMILY and (adapted or not policy.lora)
    if not terse or not packs(torch.device(policy.device), dtype):
        return copied
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    products = sum(weight.numel() for module in linear for weight in module.parameters())
    return copied + dtype.itemsize * (products - beside)


def _passing(policy: Language, model: Any, tokenizer: Any, phase: Phase) -> list[Row]:
    """What one step takes."""
    config = model.config.get_text_config()
    wide = 4 if policy.precision == "float32" else 2
    rows = (phase.plan.in_flight or phase.plan.groups) * phase.plan.count.n
    prompt = prompt_length(tokenizer, phase.plan.data)
    positions = getattr(config, "max_position_embeddings", None) or 1 << 30
    length = bucket(min((prompt or 0) + policy.max_new_tokens, positions))
    slots = min(policy.slots, rows) if phase.sample == "policy" else 0
    tokens = min(phase.learner.micro_batch(torch.device(policy.device)), rows * length)
    whole = any("logits" in type(term).__call__.__code__.co_names for term in phase.objective)
    logits = tokens * config.vocab_size if whole else min(tokens * config.vocab_size, CHUNK)
    states = tokens * config.num_hidden_layers * config.hidden_size * ACTIVATIONS
    known = f"{prompt} prompt" if prompt is not None else "prompts not counted"
    return [
        Row(
            "KV cache",
            slots * length * kv_bytes(policy, config),
            f"{slots} slots x {length} tokens ({known})",
        ),
        Row("logits", 3 * 4 * logits, "in one piece" if whole else "a chunk at a time"),
        Row("activations", states * wide, f"about, {tokens:,} tokens a micro-batch"),
    ]


def kv_bytes(policy: Language, config: Any) -> int:
    """Bytes of keys and values a token takes in all layers; on the CPU they are fp32."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size_of_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    narrow = policy.precision == "bf16" or policy.sampling_precision == "bf16"
    return int(
        2 * config.num_hidden_layers * heads * size_of_head * (2 if narrow and policy.device != "cpu" else 4)
    )


def prompt_length(tokenizer: Any, data: Any) -> int | None:
    """Tokens of the longest of the first prompts; None where they cannot be read (the run says why)."""
    prompts = Prompts(tokenizer, ())
    try:
        rows = range(min(LOOKED_AT, len(data)))
        return max(len(prompts.encode(data[row]["prompt"], f"data row {row}")) for row in rows)
    except Exception:
        return None
