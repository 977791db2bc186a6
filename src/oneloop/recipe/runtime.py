"""What a recipe says of stages that run beside one another: how far sampling may be ahead of the update."""

from typing import Annotated, Any, Literal, Self

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
    max_staleness: Annotated[int, Field(ge=1)] | None = None
    """Most updates by which any rollout of a batch may be behind, at least `ahead`; where a rollout would get
    older, the update waits for it. None: no bound beyond that of the order."""
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

    def faults(self, where: str, phase: Any) -> list[str]:
        """A bound on staleness that groups of `phase` would break by waiting their turn beyond a batch."""
        if self.max_staleness is None or phase.sample != "policy":
            return []
        plan = phase.plan
        least = self.ahead + -(-(plan.in_flight or plan.groups) // plan.groups) - 1
        if self.max_staleness >= least:
            return []
        return [
            f"runtime.max_staleness: {self.max_staleness} cannot be kept in {where}, where plan.in_flight "
            f"({plan.in_flight}) lets groups wait for up to {least} updates; give at least {least}"
        ]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.samplers > 1 and not self.ahead:
            raise ValueError(f"samplers {self.samplers} need `ahead` of at least 1: nothing overlaps without")
        if self.max_staleness is not None and not 0 < self.ahead <= self.max_staleness:
            raise ValueError(
                f"max_staleness {self.max_staleness} needs `ahead` of 1 to {self.max_staleness}, got "
                f"{self.ahead}: what is sampled ahead is that many updates old when its turn comes"
            )
        defaults = {"sampler_gpus": 0.0, "judges": 1, "address": None}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if given and self.backend == "threads":
            raise ValueError(f"{', '.join(given)}: only for backend 'ray', got backend 'threads'")
        return self
