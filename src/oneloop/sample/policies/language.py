"""What a recipe says of a language policy: any Hugging Face causal model whose actions are tokens."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from oneloop.core.memory import device_of
from oneloop.core.part import Of, part
from oneloop.engines.hardware import prefers_bf16
from oneloop.engines.turns import eos_ids
from oneloop.engines.twin import context_window, unwrapped
from oneloop.sample.policies.tokens.elastic import ElasticOptions
from oneloop.sample.policies.tokens.generation import SAMPLING, unheeded
from oneloop.sample.policies.tokens.loading import LANGUAGE, Kind, outline
from oneloop.sample.policies.tokens.lora import Lora
from oneloop.sample.policies.tokens.memory import Counted
from oneloop.sample.policies.tokens.outline import LanguageOutline
from oneloop.sample.policies.tokens.prompts import Prompts

if TYPE_CHECKING:
    from oneloop.sample.policies.tokens.policy import LanguagePolicy


@part(
    writes=(
        *("last", "status", "text", "actions.parent", "actions.version", "actions.logprob"),
        *("actions.token", "actions.span"),
    )
)
class Language:
    """Options of a language policy; `open()` loads it."""

    kind: ClassVar[Kind] = LANGUAGE
    units: ClassVar[dict[str, str]] = {"logprob": "nats", "entropy": "discrete"}
    gives: ClassVar[tuple[str, ...]] = ("entropy", "proximal", "reference")

    model: Annotated[Any, Of("language_model", text=True)]
    """Hub name, folder, or a part of `models` such as {small_llama: {}}."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    """Tokens a rollout may have, the end token included (`max_completion_length` elsewhere)."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from the k most likely tokens; 0: all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the most likely tokens that hold this much probability; 1: all."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Sample from tokens at least this likely, relative to the likeliest; 0: all."""
    stop: tuple[str, ...] = ()
    """Strings that end a rollout; judges see the text before them."""
    chat_template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Variables of the model's chat template, such as {enable_thinking: false} of Qwen3."""
    precision: Literal["float32", "bf16_autocast", "bf16", "auto"] = "float32"
    """float32; fp32 weights with bf16 arithmetic; or bf16 weights with an fp32 master in the learner.
    auto: bf16_autocast on a GPU that multiplies bf16, else float32. A CPU that multiplies bf16 may be
    faster in bf16_autocast, less exactly."""
    sampling_precision: Literal["same", "bf16", "auto"] = "same"
    """same: the engine reads the weights that are trained; beside bf16_autocast, Llama's on a CPU that
    multiplies bf16 are multiplied in bf16 as well. bf16: it keeps a bf16 copy of the weights (faster, not
    exactly the trained law). auto: bf16 on a GPU where the learner computes in bf16 too, else same."""
    lora: Lora | None = None
    """LoRA options: train adapters instead of all weights; None: all weights."""
    elastic: ElasticOptions | None = None
    """Sizes of subnets that are sampled and trained where `flops` are drawn; None: the whole model alone."""
    checkpointing: bool = False
    """Whether the backward pass recomputes each block from its input: much less memory for activations, a
    third more time, the same gradient."""
    slots: Annotated[int, Field(ge=1)] = 256
    """Sequences sampled at a time."""
    device: str = "auto"
    """Device of model and sampling, such as cuda:0; auto: a GPU when there is one."""

    def __post_init__(self) -> None:
        if self.elastic is None:
            return
        if self.kind is not LANGUAGE:
            raise ValueError("elastic: a model that reads pictures has no subnets; leave it out")
        for option in ("lora", "checkpointing"):
            if getattr(self, option):
                raise ValueError(
                    f"elastic trains all weights of the subnet that is drawn; leave out {option}"
                )

    def open(self, weights: str | None = None) -> "LanguagePolicy":
        """Loads `model`, or the one at `weights`, its adapters included. Raises ValueError."""
        from oneloop.sample.policies.tokens.elastic_policy import ElasticPolicy  # made from these options
        from oneloop.sample.policies.tokens.policy import LanguagePolicy

        own = self.holding(weights).settled()
        return LanguagePolicy(own) if own.elastic is None else ElasticPolicy(own)

    def holding(self, weights: str | None) -> Self:
        """The same options for the model at `weights`, whose adapters are part of it; None: as they are."""
        return self if weights is None else dataclasses.replace(self, model=weights, lora=None)

    def outline(self) -> LanguageOutline:
        """The policy without weights. Raises ValueError: no such model or device, or one not supported."""
        own = self.settled()
        model, tokenizer = outline(own.model, own.dtype, own.lora, own.kind)
        subnets = None if own.elastic is None else own.elastic.subnets(model)
        narrow = own.sampling_precision == "bf16"
        ours = not isinstance(own.model, str) or (Path(own.model) / "loop").is_dir()  # a run's checkpoint
        law = {name: getattr(own, name) for name in SAMPLING}
        asked = "" if ours else unheeded(own.model, law)
        counted = Counted(
            model=model,
            prompts=own.prompts(model, tokenizer),
            device=own.device,
            precision=own.precision,
            sampled_in_bf16=narrow,
            slots=own.slots,
            limit=own.max_new_tokens,
            checkpointing=own.checkpointing,
        )
        try:
            return LanguageOutline(counted, not ours, own.kind, subnets, bool(own.stop), asked)
        except ValueError as error:
            raise ValueError(f"{own.kind.option}: {error}") from error

    def prompts(self, model: Any, tokenizer: Any) -> Prompts:
        """The prompt encoder for `model`. Raises ValueError for one with layers that are not supported."""
        embeddings = int(model.get_input_embeddings().weight.shape[0])
        try:
            window = context_window(unwrapped(model))
        except ValueError as error:
            raise ValueError(f"{self.kind.option}: {error}") from error
        ends = eos_ids(model, tokenizer)
        return Prompts(tokenizer, ends, self.chat_template_kwargs, embeddings, window)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def settled(self) -> Self:
        """The same options with "auto" replaced by what this machine does best."""
        device = device_of(self.device, self.kind.option.replace("model", "device"))
        precision, sampling = self.precision, self.sampling_precision
        if precision == "auto":
            precision = "bf16_autocast" if prefers_bf16(torch.device(device)) else "float32"
        if sampling == "auto":
            # beside a learner in fp32 a sampler in bf16 would be the only thing that is not exact, and a CPU
            # needs no copy: its layouts are made in bf16
            sampling = "same" if precision == "float32" or device == "cpu" else "bf16"
        return dataclasses.replace(self, device=device, precision=precision, sampling_precision=sampling)
