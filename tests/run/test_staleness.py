"""The bound on staleness under random durations: never broken, and never in the way of everything."""

import random
from types import SimpleNamespace

import pytest
import torch

from oneloop.run.staleness import Ages, in_time


def test_worked_examples():
    assert in_time([], version=5, bound=1, size=2)
    assert in_time([1, 1], version=1, bound=1, size=2) and not in_time([0], version=1, bound=1, size=2)
    # three groups of version 0 fill two batches, so with a bound of 2 one batch must go first
    assert in_time([0, 0, 0, 0], version=0, bound=2, size=2)
    assert not in_time([0, 0, 0, 0, 1], version=1, bound=2, size=2)


@pytest.mark.parametrize(("ahead", "more"), [(1, 0), (1, 2), (2, 0), (3, 1)])
def test_no_group_is_used_too_late_in_random_schedules(ahead, more):
    """Groups are done in any order; a batch is taken as soon as there is one that may be taken."""
    draw, size, bound = random.Random(0), 3, ahead + more
    oldest = 0
    for _ in range(60):
        ages, opened, out, ready = Ages(bound), 0, [], []
        for version in range(25):
            while len(out) + len(ready) < (ahead + 1) * size:
                out.append(opened)
                ages.ask([opened], version)
                opened += 1
            while True:
                rows = [SimpleNamespace(group=torch.tensor([number])) for number in ready]
                piles = SimpleNamespace(ready=rows, groups=dict.fromkeys(out))
                if len(ready) >= size and ages.may_take(piles, size, version):
                    break
                done = draw.choices(out, [4.0 ** (number % 7) for number in out])[0]
                out.remove(done)
                ready.append(done)
            taken, ready = sorted(ready)[:size], sorted(ready)[size:]
            oldest = max(oldest, *(version - ages.born[number] for number in taken))
    assert oldest == bound


@pytest.mark.parametrize("seed", range(4))
def test_in_time_is_what_taking_the_oldest_first_would_show(seed):
    draw = random.Random(seed)
    seen = set()
    for _ in range(200):
        version, bound, size = draw.randrange(5), draw.randrange(4), draw.randrange(1, 4)
        waiting = [draw.randrange(version + 1) for _ in range(draw.randrange(9))]
        # the next batch is the one of version + 1
        used = {place: version + 1 + place // size for place in range(len(waiting))}
        wanted = all(used[place] - born <= bound for place, born in enumerate(sorted(waiting)))
        assert in_time(waiting, version, bound, size) == wanted, (waiting, version, bound, size)
        seen.add(wanted)
    assert seen == {True, False}


def test_ages_keep_the_first_version_and_forget_what_is_gone():
    ages = Ages(1)
    ages.ask([4, 5], 0)
    ages.ask([5, 6], 1)
    assert ages.born == {4: 0, 5: 0, 6: 1}
    ready = [SimpleNamespace(group=torch.tensor([number])) for number in (5, 4)]
    # 4 and 5 are taken together; were 6 as old, it would be too late for the batch after
    assert ages.may_take(SimpleNamespace(ready=ready, groups={6: None}), 2, 1)
    assert not ages.may_take(SimpleNamespace(ready=ready, groups={6: None}), 1, 1)
    assert ages.may_take(SimpleNamespace(ready=[], groups={6: None}), 2, 1) and ages.born == {6: 1}
    assert Ages(None).may_take(SimpleNamespace(ready=ready, groups={}), 1, 99)
