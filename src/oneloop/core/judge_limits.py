"""The time, memory and access that a judge is given, and what becomes of rollouts on which it fails."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from oneloop.core.configuration import CONFIGURATION


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CONFIGURATION)
class JudgeLimits:
    """What a judge may take, and what happens to the rollouts on which it fails."""

    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds of wall time a call may take: one rollout, or the batch where the function takes a batch."""
    memory_mb: Annotated[int, Field(ge=16)] = 1024
    """Memory a worker may take beyond what it has after its imports (Linux)."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes; more than one help a judge that scores one rollout at a time."""
    network: bool = False
    """Whether a function of your own may open connections."""
    environment: tuple[str, ...] = ()
    """Names of environment variables a function of your own is told; it is told no others."""
    files: tuple[str, ...] = ()
    """Files and folders a function of your own may read, beside Python and the folder of its own file."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often a rollout in error is judged again before the error counts."""
    on_error: Literal["drop_rollout", "drop_group", "stop"] = "drop_rollout"
    """Leave the rollout without a reward, refuse its whole group, or stop the run."""

    @property
    def of_a_worker(self) -> dict[str, Any]:
        """The settings that need a worker process, by name."""
        names = ("memory_mb", "workers", "network", "environment", "files")
        return {name: getattr(self, name) for name in names}
