"""Refuse groups without signal, so that the plan asks for others until the batch is full (DAPO's dynamic
sampling, BroRL's refill). The bound on refills is the plan's `max_refills`."""

from oneloop import segments
from oneloop.part import part
from oneloop.rollouts import Rollouts


@part(reads=("reward",))
class KeepMixed:
    """Keeps a group whose rewards differ; one value, or no verdict at all, is refused."""

    def __call__(self, group: Rollouts) -> bool:
        """Whether the complete `group` is worth learning from."""
        return not bool(segments.constant(group.reward, group.group).all())
