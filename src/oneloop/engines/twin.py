"""A second view of the training model, made for sampling: same weights, own modules, the slot attention.

So the training model's mode, configuration and hooks are never touched, and a sampler in another thread is
safe as long as the weights stand still. The twin proves on a few tokens that it computes what the model does.
Not here: the sampling loop (slots.py)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from oneloop.engines.slot_cache import SlotCache, Step


def packed_logits(model: nn.Module, ids: Tensor, step: Step, keep: list[int] | None) -> Tensor:
    """Logits [kept, V] of one packed forward over ids [N]; `keep`: positions wanted, None for all."""
    wanted = 0 if keep is None else torch.tensor(keep, device=ids.device)
    output = model(
        input_ids=ids[None],
        position_ids=step.position[None],
        use_cache=False,
        logits_to_keep=wanted,
        slot_step=step,
    )
    return output.logits[0]  # type: ignore[no-any-return]


def twin(model: PreTrainedModel, dtype: torch.dtype | None) -> PreTrainedModel:
    """A second model with modules and configuration of its own, in evaluation mode, on the slot attention.

    Its parameters are those of `model` itself (dtype None) or copies of them in `dtype`.
    Raises ValueError if the model does not compute the same logits with the slot attention.
    """

    def parameter(source: nn.Parameter) -> nn.Parameter:
        if dtype is None:
            return source
        return nn.Parameter(source.detach().to(dtype, copy=True), requires_grad=False)

    shared = {id(source): parameter(source) for source in model.parameters()}
    second: PreTrainedModel = copy.deepcopy(model, shared).eval()
    probe = torch.arange(12, device=model.device) % second.config.get_text_config().vocab_size
    with torch.inference_mode():
        expected = second(input_ids=probe[None], use_cache=False).logits[0].float()
        second.set_attn_implementation("oneloop_slots")
        got = _probe(second, probe)
    gap, size = (expected - got).abs().max().item(), expected.abs().max().item()
    if not gap <= (1e-3 if second.dtype == torch.float32 else 0.1) * size:
        raise ValueError(
            f"engine: {type(model).__name__} gives other logits under the slot engine (off by {gap:.3g} on a "
            f"scale of {size:.3g}), so its attention is not supported; sample it from a server instead"
        )
    return second


def _probe(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits [n, V] of ids [n], the first 8 as a prefix and the others one at a time."""
    cache = SlotCache(1, len(ids), torch.float32)
    slot, place = torch.zeros_like(ids), torch.arange(len(ids), device=ids.device)
    pieces = [packed_logits(model, ids[:8], Step(cache, slot[:8], place[:8], 0, 0, [(0, 8)]), None)]
    for n in range(8, len(ids)):
        step = Step(cache, slot[n : n + 1], place[n : n + 1], 1, cache.capacity)
        pieces.append(packed_logits(model, ids[n : n + 1], step, None))
    return torch.cat(pieces).float()


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """The transformers model inside a PEFT wrapper, adapters in place, or the model itself."""
    config = getattr(model, "active_peft_config", None)
    if config is None:
        return model
    if config.is_prompt_learning:
        raise ValueError(
            f"engine: {config.peft_type} adds virtual tokens, which the slot engine does not; use LoRA"
        )
    return model.get_base_model()  # type: ignore[operator,no-any-return]


def context_window(model: PreTrainedModel) -> int | None:
    """Positions the model can see, None where its configuration states none.

    With `longrope` this is the original window: beyond it the rotation of all earlier positions changes with
    the length of the sequence, and no cached key is exact. Raises ValueError for layers that are neither
    plain nor sliding attention.
    """
    config = model.config.get_text_config()
    strange = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange:
        raise ValueError(
            f"engine: {type(model).__name__} has {', '.join(sorted(strange))} layers; the slot engine runs "
            "full_attention and sliding_attention layers only; sample this model from a server instead"
        )
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limit = rope.get("original_max_position_embeddings") or limit
    return limit
