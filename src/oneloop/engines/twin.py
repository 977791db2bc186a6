"""A second view of the training model, made for sampling: same weights, own modules, the slot attention.

So the training model's mode, configuration and hooks are never touched, and a sampler in another thread is
safe as long as the weights stand still. The twin proves on a few tokens that it computes what the model does.
Not here: the sampling loop (slots.py)."""

from __future__ import annotations

import inspect
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oneloop.engines.attention import PRESENT
from oneloop.engines.llama_forward import LlamaForward, fusable, product_type
from oneloop.engines.merged import SecondModel
from oneloop.engines.slot_cache import SlotCache, SlotStep, bucket


class Forward(Protocol):
    """The packed logits of a model."""

    def __call__(self, ids: Tensor, step: SlotStep, keep: list[int] | None) -> Tensor:
        """Logits [kept, V] of ids [N]; `keep`: positions wanted, None for all."""

    def refresh(self) -> None:
        """Take over the model's weights after an update."""

    def free(self) -> None:
        """Give back what is made of the weights; only `refresh` is called then."""


def twin(model: PreTrainedModel, dtype: torch.dtype | None, autocast: bool) -> tuple[SecondModel, Forward]:
    """A second model in evaluation mode on the slot attention, and what gives its logits packed.

    Its parameters are those of `model` itself (dtype None) or copies of them in `dtype`; adapters are added
    to the weights they stand beside (see merged.py). autocast: whoever trains the model multiplies in bf16,
    and so does the function where it lays weights out itself (see llama_forward.py); others stay exact.
    The function is the tersest that gives the model's logits on a few tokens. Raises ValueError, naming the
    kind of model, when none does.
    """
    made = SecondModel(model, dtype)
    try:
        products = product_type(made.model.device, made.model.dtype, autocast)
        return made, _forward(made.model, dtype is not None, products)
    except Exception as error:  # whatever a model does that was not made for this
        raise ValueError(f"{type(model).__name__} cannot be sampled in this process: {error}") from error


def _forward(second: PreTrainedModel, owned: bool, products: torch.dtype) -> Forward:
    # all over the vocabulary: its first tokens are often markers, which one after another no text holds
    vocabulary = second.config.get_text_config().vocab_size
    probe = torch.arange(12, device=second.device) * max(1, vocabulary // 12) % vocabulary
    with torch.inference_mode():
        expected = second(input_ids=probe[None], use_cache=False).logits[0].float()
    # what a vision tower attends over is no sequence of the cache: it keeps its own attention
    text = "text_config" if "text_config" in second.config.sub_configs else ""
    second.set_attn_implementation({text: "oneloop_slots"} if text else "oneloop_slots")
    forwards: list[tuple[Forward, torch.dtype]] = [(Modules(second), second.dtype)]
    if fusable(second):
        forwards.insert(0, (LlamaForward(second, owned, products), products))
    for forward, narrowest in forwards:
        with torch.inference_mode():
            gap = (expected - _probe(forward, probe, second.dtype)).abs().max().item()
        size = expected.abs().max().item()
        if gap <= (1e-3 if narrowest == torch.float32 else 0.1) * size:
            return forward
    raise ValueError(
        f"its logits are off by {gap:.3g} on a scale of {size:.3g} under the slot engine, so its attention "
        "is of a kind that is not supported"
    )


class Modules:
    """The packed logits of any model, by its own modules."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.chooses = "logits_to_keep" in inspect.signature(model.forward).parameters

    def __call__(self, ids: Tensor, step: SlotStep, keep: list[int] | None) -> Tensor:
        """Logits [kept, V] of ids [N]; `keep`: positions wanted, None for all."""
        wanted = 0 if keep is None else torch.tensor(keep, device=ids.device)
        options = {"logits_to_keep": wanted} if self.chooses else {}
        present = PRESENT.set(step)
        try:
            places = step.position[None] if step.turned is None else step.turned
            options |= step.inputs
            made = self.model(input_ids=ids[None], position_ids=places, use_cache=False, **options).logits[0]
        finally:
            PRESENT.reset(present)
        logits: Tensor = made if self.chooses or keep is None else made[keep]
        return logits

    def refresh(self) -> None:
        """Nothing to do: the modules hold the weights."""

    def free(self) -> None:
        """Nothing to do."""


def _probe(forward: Forward, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits [n, V] of ids [n], the first 8 as a prefix and the others one at a time."""
    cache = SlotCache(dtype)
    cache.fit(1, bucket(len(ids)), 0)
    slot, place = torch.zeros_like(ids), torch.arange(len(ids), device=ids.device)
    pieces = [forward(ids[:8], SlotStep(cache, slot[:8], place[:8], 0, [(0, 8)]), None)]
    for n in range(8, len(ids)):
        step = SlotStep(cache, slot[n : n + 1], place[n : n + 1], 1)
        pieces.append(forward(ids[n : n + 1], step, None))
    return torch.cat(pieces).float()


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """The transformers model inside a PEFT wrapper, adapters in place, or the model itself."""
    config = getattr(model, "active_peft_config", None)
    if config is None:
        return model
    if config.is_prompt_learning:
        raise ValueError(f"{config.peft_type} adds virtual tokens, which the slot engine does not; use LoRA")
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
            f"{type(model).__name__} has {', '.join(sorted(strange))} layers; supported are full_attention "
            "and sliding_attention"
        )
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limit = rope.get("original_max_position_embeddings") or limit
    return limit
