"""Partial rollouts: the paper's schedule to the tick, what is conserved, what is biased and what is not."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from oneloop.core import draws, storage
from oneloop.core.rollouts import Rollouts
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.sample.plan.leftovers import Leftovers
from oneloop.sample.plan.plan import Plan
from tests.sample.plan.sampler import Weights, batches, judged, same
from tests.sample.plan.test_plan import Twice
from tests.sample.plan.ticks import Ticks

SEED = 3


def plan(count: int = 400, n: int = 1, steps: int = 50, **options) -> Plan:
    rows = Rows(rows=[{"prompt": str(i)} for i in range(count)])
    made = Plan(data=rows, count=Uniform(n=n), shuffle=False, **options)
    made.begin(SEED, steps)
    return made


@cache
def uniform(number: int) -> float:
    return float(draws.uniforms(draws.mix(SEED, number), np.arange(1))[0])


def memoryless(mean: float):
    return lambda number, key: 1 + int(math.log(1 - uniform(number)) / math.log(1 - 1 / mean))


def carried(batch: Rollouts, version: int) -> tuple[int, int]:
    """(tokens of older weights, tokens)."""
    return int((batch.actions.version < version).sum()), len(batch.actions)


def test_the_schedule_of_the_paper_to_the_tick():
    lengths = dict(enumerate([3, 10, 4, 9, 2, 5, 1, 6]))  # a b c d e f g h
    made, sampler = plan(count=8, groups=2, in_flight=4), Ticks(lambda number, key: lengths[key])
    seen, held = [], []
    for version, (batch, _) in enumerate(batches(made, sampler, 3)):
        seen.append(("".join("abcdefgh"[key] for key in batch.key), *carried(batch, version)))
        piles = made.piles
        unfinished = Rollouts.join(piles.unfinished) if piles.unfinished else batch.take(slice(0, 0))
        open_ = {
            "abcdefgh"[key]: int(done) for key, done in zip(unfinished.key, unfinished.length, strict=True)
        }
        held.append((open_, ["abcdefgh"[int(rows.key[0])] for rows in piles.ready]))
    assert seen == [("ac", 0, 7), ("de", 4, 11), ("bf", 14, 15)]
    assert held == [({"b": 4, "d": 4}, []), ({"b": 9}, ["f"]), ({"h": 1}, ["g"])]
    assert sampler.ticks == [4, 5, 1]
    versions = batch.actions.version[batch.owner == 0].tolist()
    assert versions == [0] * 4 + [1] * 5 + [2], "b in three segments"
    waited = Ticks(lambda number, key: lengths[key])
    assert [batch.key.tolist() for batch, _ in batches(plan(count=8, groups=2), waited, 3)][0] == [0, 1]
    assert waited.ticks == [10, 9, 5] and sum(waited.ticks) == 24 > sum(sampler.ticks) == 10


def test_as_many_in_flight_as_a_batch_needs_is_the_synchronous_sampler():
    sync, same_many = (
        list(batches(plan(groups=3, n=2, **options), Ticks(memoryless(6)), 5))
        for options in ({}, {"in_flight": 3, "leftovers": Leftovers(max_age=1)})
    )
    assert all(same(one, other) for (one, _), (other, _) in zip(sync, same_many, strict=True))


cases = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 3),
        "surplus": st.integers(0, 4),
        "n": st.integers(1, 3),
        "mean": st.integers(2, 12),
        "leftovers": st.builds(
            Leftovers,
            then=st.sampled_from(["resume", "restart"]),
            max_age=st.sampled_from([None, 1, 2]),
            restarts=st.sampled_from([None, 0, 1, 2]),
        ),
    }
)


@given(cases)
@settings(max_examples=15)
def test_every_sampled_token_is_trained_or_held_or_counted_as_lost(case):
    made = plan(
        groups=case["groups"],
        n=case["n"],
        in_flight=case["groups"] + case["surplus"],
        leftovers=case["leftovers"],
    )
    sampler = Ticks(memoryless(case["mean"]))
    spent, rows = 0, []
    for batch, refused in batches(made, sampler, 6):
        spent += len(batch.actions) + made.piles.discarded + sum(len(piece.actions) for piece in refused)
        rows += [number for piece in (batch, *refused) for number in piece.id.tolist()]
        counts = made.piles.counts()
        assert sampler.tokens == spent + counts["held/tokens"]
        here = [*made.piles.judged(), *made.piles.unfinished]
        held = [number for piece in here for number in piece.id.tolist()]
        assert sorted(rows + held) == list(range(made.piles.next_id)), "each row in exactly one place"
        bound = case["leftovers"].max_age
        if bound is not None and len(batch.actions):
            # an unfinished token grows no older; finished siblings may wait for theirs
            oldest = [
                int(piece.actions.version.min()) for piece in made.piles.unfinished if len(piece.actions)
            ]
            assert all(sampler.version - stamp <= bound for stamp in oldest)
        if case["leftovers"].then == "restart":
            path = batch.actions.version, batch.owner
            assert all(len(path[0][path[1] == row].unique()) == 1 for row in range(len(batch)))


def test_a_group_restarted_too_often_is_refused_whole_and_counted():
    made = plan(groups=1, in_flight=2, n=2, leftovers=Leftovers(max_age=1, restarts=1))
    sampler = Ticks(lambda number, key: 100 if number == 1 else 2)
    lost, restarted, dropped = [], [], []
    for _, refused in batches(made, sampler, 5):
        lost += [(piece.id.tolist(), piece.length.tolist()) for piece in refused]
        restarted.append(made.piles.restarted)
        dropped.append(made.piles.dropped)
    # rollout 1 is two versions old at the second update: it starts again, and at the fourth its group goes
    assert restarted == [0, 1, 0, 0, 0] and dropped == [0, 0, 0, 1, 0]
    assert lost == [([0], [2]), ([1], [4])], (
        "its finished sibling goes with it, and the tokens are kept on record"
    )
    assert 0 not in made.piles.groups
    at_once = plan(groups=1, in_flight=2, n=2, leftovers=Leftovers(max_age=1, restarts=0))
    assert [at_once.piles.dropped for _ in batches(at_once, Ticks(sampler.length), 3)] == [0, 1, 0]


def test_restarted_groups_are_remembered_by_a_checkpoint(tmp_path):
    def made() -> Plan:
        return plan(groups=1, in_flight=2, n=2, leftovers=Leftovers(max_age=1, restarts=1))

    length = Ticks(lambda number, key: 100 if number == 1 else 2).length
    whole = made()
    expected = [(batch.id.tolist(), whole.piles.dropped) for batch, _ in batches(whole, Ticks(length), 5)]
    first, sampler = made(), Ticks(length)
    for _ in batches(first, sampler, 3):
        pass
    storage.write_folder(tmp_path / "at", lambda path: storage.write_state(path, first.state_dict()))
    again, later = made(), Ticks(length)
    again.load_state_dict(storage.read_state(tmp_path / "at"))
    later.version = 3
    rest = []
    for batch, _ in batches_from(again, later, 3, 2):
        rest.append((batch.id.tolist(), again.piles.dropped))
    assert rest == expected[3:]


def batches_from(made: Plan, sampler: Ticks, version: int, steps: int):
    """As `batches`, with weights that start at `version`."""
    learner = Weights(version)
    for _ in range(steps):
        batch = None
        while batch is None:
            finished, unfinished = sampler(made.ask())
            made.tell(judged(finished), unfinished)
            batch = made.batch()
        learner.version += 1
        sampler.version = learner.version
        made.after_update(learner, batch)
        yield batch, made.piles.take_refused()


@pytest.mark.parametrize(("in_flight", "harmonic"), [(16, (8, 16)), (None, (0, 8))])
def test_ticks_a_batch_of_memoryless_lengths(in_flight, harmonic):
    """m (H_N' - H_(N'-N)) in every phase, against m H_N when all are waited for."""
    mean, steps = 40, 40
    sampler = Ticks(memoryless(mean))
    for _ in batches(plan(count=1000, groups=8, in_flight=in_flight), sampler, steps):
        pass
    expected = mean * sum(1 / k for k in range(harmonic[0] + 1, harmonic[1] + 1))
    assert sum(sampler.ticks) / steps == pytest.approx(expected, rel=0.12)


def test_long_answers_are_late_and_not_lost_but_dropping_loses_them():
    def length(number: int, key: int) -> int:
        return 1 + min(120, int(8 * math.exp(ndtri(uniform(number)))))

    means = {}
    for name, leftovers in {"keep": Leftovers(), "drop": Leftovers(then="restart", restarts=0)}.items():
        made = plan(count=2000, groups=6, in_flight=12, leftovers=leftovers)
        trained = [batch.length.double().mean().item() for batch, _ in batches(made, Ticks(length), 45)]
        means[name] = (sum(trained[:3]) / 3, sum(trained[10:]) / len(trained[10:]))
    population = sum(length(number, 0) for number in range(400)) / 400
    assert means["keep"][0] < 0.85 * population, "the first batches hold what is short"
    assert means["keep"][1] == pytest.approx(population, rel=0.1)
    assert means["drop"][1] < 0.7 * population


def test_refused_groups_are_replaced_while_others_stay_in_flight():
    made = plan(groups=3, in_flight=7, n=3, keep=KeepMixed())
    sampler, spent = Ticks(memoryless(8)), 0
    for batch, refused in batches(made, sampler, 6):
        assert len(batch.group.unique()) == 3
        assert all(len(rows.reward.unique()) == 1 for rows in refused)
        spent += len(batch.actions) + sum(len(rows.actions) for rows in refused)
        assert sampler.tokens == spent + made.held()["held/tokens"]


def test_groups_asked_in_rounds_may_be_interrupted_in_each():
    made = Plan(
        data=Rows(rows=[{"prompt": str(i)} for i in range(400)]), count=Twice(), groups=2, in_flight=6
    )
    made.begin(SEED, 50)
    sampler, spent, rounds = Ticks(memoryless(8)), 0, 0
    for batch, refused in batches(made, sampler, 8):
        assert not refused and len(batch.group.unique()) == 2
        for group in batch.group.unique():
            rewards = batch.reward[batch.group == group]
            assert len(rewards) == (5 if rewards[:2].max() else 2)
            rounds += len(rewards) == 5
        spent += len(batch.actions)
        assert sampler.tokens == spent + made.held()["held/tokens"]
    assert rounds


def test_a_plan_that_waits_for_all_holds_nothing_and_says_nothing():
    assert plan(groups=2).held() == {} == plan(groups=2, in_flight=2).held()
    made = plan(groups=1, in_flight=3, n=2)
    sampler = Ticks(lambda number, key: [2, 3, 1, 1, 9, 9][number])
    next(batches(made, sampler, 1))
    assert made.held() == {
        "held/unfinished": 4,
        "held/waiting": 0,
        "held/ready": 0,
        "held/unfinished_tokens": 4,
        "held/tokens": 4,
        "leftovers/restarted": 0,
        "leftovers/discarded_tokens": 0,
        "leftovers/dropped_groups": 0,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_age": 0}, "max_age"), ({"restarts": -1}, "restarts"), ({"then": "drop"}, "then")],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Leftovers(**options)


def test_nothing_is_too_old_where_nothing_was_sampled():
    asked = plan(groups=2, n=2).ask()
    for leftovers in (Leftovers(then="restart"), Leftovers(max_age=1)):
        assert not leftovers.too_old(asked, 9).any()
    assert torch.equal(Leftovers().too_old(asked, 9), torch.zeros(4, dtype=torch.bool))
