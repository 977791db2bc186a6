"""What a recipe says of stages that run beside one another: how far sampling may be ahead of the update."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oneloop.core.part import part


@part(paper="arXiv 2110.15032")
class Runtime:
    """How sampling and judging overlap with the update; phases on demonstrations have nothing to overlap."""

    ahead: Annotated[int, Field(ge=0)] = 0
    """Batches that may be under way while one is learned from; their rollouts are up to that many versions
    old. 0: one stage after the other."""
    order: Literal["strict", "completion"] = "strict"
    """strict: rollouts are used in the order in which they were asked for, each sampled with the weights of
    exactly `ahead` updates before its own, so that a run can be repeated to the bit. completion: as they are
    done, sampled with the newest weights."""
    backend: Literal["threads", "ray"] = "threads"
    """Where samplers and judges work: threads of this process, or workers of a Ray cluster."""
    samplers: Annotated[int, Field(ge=1)] = 1
    """Samplers, each with a copy of the trained weights; they share the groups of a batch."""
    sampler_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads torch computes with in each sampler. None: those of this machine in equal shares for samplers
    and learner."""
    sampler_gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of each sampler on a Ray cluster."""
    judges: Annotated[int, Field(ge=1)] = 1
    """Judge workers on a Ray cluster."""
    address: str | None = None
    """Address of the Ray cluster, such as 10.0.0.1:6379. None: the one this machine is part of, or else a new
    one of this machine alone."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.samplers > 1 and not self.ahead:
            raise ValueError(f"samplers {self.samplers} need `ahead` of at least 1: nothing overlaps without")
        defaults = {"sampler_gpus": 0.0, "judges": 1, "address": None}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if given and self.backend == "threads":
            raise ValueError(f"{', '.join(given)}: only for backend 'ray', got backend 'threads'")
        return self
