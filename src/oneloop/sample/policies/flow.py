"""What a recipe says of a flow policy: a network that turns noise into an image in a few steps."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from oneloop.core.memory import device_of
from oneloop.core.part import Of, part
from oneloop.engines.hardware import prefers_bf16
from oneloop.sample.policies.denoising.memory import FlowOutline, empty_network
from oneloop.sample.policies.denoising.sde import Noise

if TYPE_CHECKING:
    from oneloop.sample.policies.denoising.policy import FlowPolicy


def _writes(options: "Flow") -> tuple[str, ...]:
    always = ("last", "status", "start", "output", "actions.parent", "actions.version", "actions.latent")
    beside = ("reference_output",) if options.beside_reference else ()
    return (*always, *beside, *(() if options.noise == "ode" else ("actions.logprob",)))


@part(writes=_writes, paper="arXiv 2505.05470")
class Flow:
    """Options of a flow policy; `open()` loads it."""

    units: ClassVar[dict[str, str]] = {"logprob": "nats_per_dim", "entropy": "differential"}
    gives: ClassVar[tuple[str, ...]] = ("entropy", "proximal", "reference")
    finishes: ClassVar[bool] = True

    model: Annotated[Any, Of("flow_model")]
    """A part of `models`: {flow_transformer: {}}, {flow_mlp: {}}, {one_dm: {}} or {diffusion_pipeline:
    {name: ...}}."""
    steps: Annotated[int, Field(ge=2)] = 20
    """Calls of the network for an image; all but the last are actions."""
    shift: Annotated[float, Field(gt=0)] | None = None
    """Shift of the noise levels: 1 is even, larger spends more steps at high noise. None: a pipeline's own,
    else 3."""
    noise: Noise = "dance"
    """Noise schedule of the sampler: dance, flow, cps, ddim, or ode (nothing is drawn but the start)."""
    level: Annotated[float, Field(gt=0)] | None = None
    """Noise strength: factor of g in dance and flow, share of a right angle in cps, eta in ddim; None: .3,
    .7, .7, 1."""
    precision: Literal["float32", "bf16_autocast", "auto"] = "float32"
    """Precision of the network's arithmetic; the sampler's is fp32. auto: bf16 on a GPU that multiplies
    it."""
    stored: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision in which latents are kept; they are rounded to it before their log-probs are computed."""
    beside_reference: bool = False
    """Whether the reference makes an image of each group's prompt too, from its own noise."""
    reference_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decay per update of a reference that is a moving average of the weights; None: a frozen reference."""
    composite: bool = False
    """Whether an edited image keeps its source outside the mask; the network must take a `condition`."""
    tokens_per_call: Annotated[int, Field(ge=1)] = 16384
    """Tokens forwarded at a time when sampling and scoring; the learner has its own limit."""
    device: str = "auto"
    """Device of network and sampling, such as cuda:0; auto: a GPU when there is one."""

    def __post_init__(self) -> None:
        if self.noise == "ode" and self.level is not None:
            raise ValueError(f"noise 'ode' has no level, got level={self.level}")

    @property
    def narrow(self) -> bool:
        """Whether the network's arithmetic is bf16."""
        return self.precision == "bf16_autocast" or (
            self.precision == "auto" and prefers_bf16(torch.device(device_of(self.device)))
        )

    def outline(self) -> FlowOutline:
        """The policy without weights. Raises ValueError: no such network or device."""
        device, stored = device_of(self.device, "policy.flow.device"), getattr(torch, self.stored)
        network = empty_network(self.model)
        return FlowOutline(network, device, self.steps, self.narrow, stored, self.tokens_per_call)

    def open(self, weights: str | None = None) -> "FlowPolicy":
        """Loads the network, with those of the folder `weights` if given.

        Raises ValueError when it cannot be loaded, or when a step has no noise to speak of.
        """
        from oneloop.sample.policies.denoising.policy import FlowPolicy  # it is made from these options

        return FlowPolicy(self, weights)
