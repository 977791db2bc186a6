"""The bound on staleness: a batch is taken only while everything else can still be used in time."""

from collections.abc import Collection

from oneloop.sample.plan.piles import Piles


def in_time(waiting: Collection[int], version: int, bound: int, size: int) -> bool:
    """Whether groups first sampled with the versions `waiting` can all still be at most `bound` versions old.

    They are left when the batch is taken that is learned from with the weights of `version`; each later batch
    takes `size` groups, the oldest first. So for every k at most k `size` of them may be due by version + k.

    >>> in_time([0, 0], version=0, bound=1, size=2), in_time([0, 0, 0], version=0, bound=1, size=2)
    (True, False)
    """
    return all(
        sum(born + bound <= version + k for born in waiting) <= k * size for k in range(max(bound, 0) + 1)
    )


class Ages:
    """The version of the weights when the first rollouts of each group were asked for.

    `bound`: as `runtime.max_staleness`; None: none.
    """

    def __init__(self, bound: int | None):
        self.bound, self.born = bound, dict[int, int]()

    def ask(self, groups: Collection[int], version: int) -> None:
        """Rollouts of `groups` are asked for at `version`; groups asked for before stay as they are."""
        for group in groups:
            self.born.setdefault(group, version)

    def may_take(self, piles: Piles, size: int, version: int) -> bool:
        """Whether the next batch of `size` groups may be taken with no other group getting too old."""
        if self.bound is None:
            return True
        ready = sorted(int(rows.group[0]) for rows in piles.ready)
        self.born = {group: born for group, born in self.born.items() if group in {*ready, *piles.groups}}
        taken = set(ready[:size])
        left = [born for group, born in self.born.items() if group not in taken]
        return in_time(left, version, self.bound, size)
