"""The plan under random schedules of finishing and aborting: nothing lost, nothing doubled, groups whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.core import storage
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.sample.plan.leftovers import Leftovers
from oneloop.sample.plan.plan import DrySource, Plan
from tests.sample.plan.sampler import FakeSampler, Weights, batches, judged, length_of, same

SEED = 11


def rows(count: int) -> Rows:
    return Rows(rows=[{"prompt": f"{i}+1=", "answer": i + 1} for i in range(count)])


def plan(count: int = 40, n: int = 4, steps: int = 50, **options) -> Plan:
    made = Plan(data=rows(count), count=Uniform(n=n), **{"groups": 3, **options})
    made.begin(SEED, steps)
    return made


def held(made: Plan) -> list[int]:
    piles = made.piles
    pieces = [*piles.unfinished, *piles.judged(), *piles.refused]
    return [number for piece in pieces for number in piece.id.tolist()]


def assert_whole(batch: Rollouts, n: int) -> None:
    groups, sizes = batch.group.unique(return_counts=True)
    assert sizes.tolist() == [n] * len(groups)
    # in the order in which groups were opened, and inside a group in the order in which rows were issued
    assert batch.group.tolist() == sorted(batch.group.tolist())
    assert all(
        batch.id[batch.group == g].tolist() == sorted(batch.id[batch.group == g].tolist()) for g in groups
    )
    assert all(len(batch.key[batch.group == g].unique()) == 1 for g in groups)


options = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 4),
        "surplus": st.integers(0, 4),
        "keep": st.sampled_from([None, KeepMixed()]),
        "then": st.sampled_from(["resume", "restart"]),
        "max_age": st.sampled_from([None, 1, 2]),
        "epochs": st.sampled_from([None, 1]),
        "limit": st.sampled_from([None, 1, 2]),
        "schedule": st.integers(0, 10**6),
        "n": st.integers(1, 4),
    }
)


def drawn(made: dict) -> tuple[Plan, FakeSampler]:
    leftovers = Leftovers(then=made["then"], max_age=made["max_age"])
    options = {name: made[name] for name in ("groups", "n", "keep", "epochs")}
    in_flight = made["groups"] + made["surplus"]
    # a group of one is never mixed: every batch would be refused
    options["n"] = max(options["n"], 2) if made["keep"] else options["n"]
    return plan(in_flight=in_flight, leftovers=leftovers, max_refills=1000, **options), FakeSampler.random(
        made["schedule"]
    )


@given(options)
@settings(max_examples=25)
def test_issued_is_trained_and_held_and_refused(made):
    tried, sampler = drawn(made)
    trained, refused = [], []
    for batch, dropped in batches(tried, sampler, 6, made["limit"]):
        assert_whole(batch, tried.count.n)
        assert len(batch.group.unique()) == tried.groups or tried.piles.source.exhausted
        trained += batch.id.tolist()
        refused += [number for piece in dropped for number in piece.id.tolist()]
        assert sorted(trained + refused + held(tried)) == list(range(tried.piles.next_id))
    assert trained
    assert not set(trained) & set(refused)


@given(options)
@settings(max_examples=15)
def test_restored_in_the_middle_of_everything_it_continues_equally(tmp_path_factory, made):
    tried, sampler = drawn(made)
    asked = tried.ask()
    for _ in range(made["schedule"] % 5):  # stops at some ask, with rows of all piles
        finished, unfinished = sampler(asked) if len(asked) else (asked, asked)
        tried.tell(judged(finished) if len(finished) else finished, unfinished)
        tried.batch()
        asked = tried.ask()
        if asked is None:
            return
    finished, unfinished = sampler(asked) if len(asked) else (asked, asked)
    tried.tell(judged(finished) if len(finished) else finished, unfinished)

    folder = tmp_path_factory.mktemp("plan") / "state"
    storage.write_folder(folder, lambda path: storage.write_state(path, tried.state_dict()))
    again, _ = drawn(made)
    again.load_state_dict(storage.read_state(folder))

    both = [batches(each, FakeSampler.random(5), 3, made["limit"]) for each in (tried, again)]
    for (left, dropped), (right, dropped_too) in zip(*both, strict=True):
        assert same(left, right)
        assert len(dropped) == len(dropped_too) and all(map(same, dropped, dropped_too))
    assert held(tried) == held(again)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=15)
def test_when_weights_stand_still_the_schedule_changes_neither_tokens_nor_batches(one, other):
    runs = []
    for schedule in (one, other):
        made, sampler = plan(in_flight=3), FakeSampler.random(schedule)
        batch, _ = next(batches(made, sampler, 1))
        assert batch.length.tolist() == [length_of(SEED, number) for number in batch.id.tolist()]
        runs.append(batch)
    assert same(*runs)


def test_order_is_a_function_of_the_seed():
    keys = [[batch.key.unique().tolist() for batch, _ in batches(plan(), FakeSampler(), 4)] for _ in range(2)]
    assert keys[0] == keys[1]
    other = Plan(data=rows(40), groups=3, count=Uniform(n=4))
    other.begin(SEED + 1, 4)
    assert [batch.key.unique().tolist() for batch, _ in batches(other, FakeSampler(), 4)] != keys[0]


def test_every_epoch_asks_every_row_once_in_another_order():
    made = plan(count=12, epochs=2, n=1)
    keys = [key for batch, _ in batches(made, FakeSampler(), 100) for key in batch.key.tolist()]
    assert sorted(keys[:12]) == sorted(keys[12:]) == list(range(12))
    assert keys[:12] != keys[12:] != list(range(12))
    straight = plan(count=12, epochs=2, n=1, shuffle=False)
    keys = [key for batch, _ in batches(straight, FakeSampler(), 100) for key in batch.key.tolist()]
    assert keys == [*range(12), *range(12)]


def test_a_dry_source_gives_a_last_smaller_batch_and_then_stops():
    made = plan(count=10, groups=4, epochs=1)
    assert [len(batch.group.unique()) for batch, _ in batches(made, FakeSampler(), 100)] == [4, 4, 2]
    assert made.ask() is None
    assert held(made) == []


def test_more_in_flight_than_groups_stops_when_enough_are_complete():
    made = plan(groups=3, in_flight=5, n=2)
    asked = made.ask()
    assert len(asked.group.unique()) == 5 and asked.facts["enough"] == 3
    # rows 1 and 5 are cut off: groups 0 and 2 wait for them
    sampler = FakeSampler(lambda row: 0 if row in (1, 5) else None)
    finished, unfinished = sampler(asked)
    made.tell(judged(finished), unfinished)
    first = made.batch()
    assert first.group.unique().tolist() == [1, 3, 4]
    assert made.batch() is None
    again = made.ask()
    assert again.id.tolist()[:2] == [1, 5], "what was cut off comes first"
    assert again.group.unique().tolist() == [0, 2, 5, 6, 7]
    finished, unfinished = FakeSampler()(again)
    made.tell(judged(finished), unfinished)
    second = made.batch()
    assert second.group.unique().tolist() == [0, 2, 5]
    surplus = made.ask()
    assert surplus.facts["enough"] == 1 and made.piles.ready[0].group.tolist() == [6, 6]


def test_a_ready_batch_is_an_empty_ask():
    made = plan(groups=1, in_flight=2, n=2)
    finished, unfinished = FakeSampler()(made.ask())
    made.tell(judged(finished), unfinished)
    assert made.batch().group.unique().tolist() == [0]
    asked = made.ask()
    assert asked is not None and len(asked) == 0
    made.tell(asked, asked)
    assert made.batch().group.unique().tolist() == [1]


def test_in_flight_below_groups_is_refused():
    with pytest.raises(ValueError, match=r"in_flight must be at least groups \(3\), got 2"):
        plan(in_flight=2)
    assert plan(in_flight=3).ask().facts["enough"] is None
    assert plan().ask().facts["enough"] is None


def test_keep_mixed_refuses_groups_without_signal_and_asks_for_others():
    made = plan(keep=KeepMixed(), groups=4, n=6)
    for batch, dropped in batches(made, FakeSampler(), 5):
        assert len(batch.group.unique()) == 4
        spread = [batch.reward[batch.group == g].unique().numel() for g in batch.group.unique()]
        assert spread == [2] * 4
        assert all(piece.reward.unique().numel() == 1 for piece in dropped)
    assert made.piles.asks == 0


@pytest.mark.parametrize(
    ("rewards", "kept"),
    [([1.0, 0.0], True), ([1.0, 1.0], False), ([0.1 + 0.2, 0.3], False), ([float("nan")] * 2, False)]
    + [([float("nan"), 1.0], False), ([float("nan"), 1.0, 0.0], True)],
)
def test_what_keep_mixed_keeps(rewards, kept):
    group = plan(n=len(rewards)).ask()
    group = group.take(group.group == 0).put(reward=torch.tensor(rewards, dtype=torch.float64))
    assert KeepMixed().keeps(group) is kept


def test_too_many_refused_groups_are_an_error_with_counts():
    impossible = Rows(rows=[{"prompt": str(i)} for i in range(500)])

    class Nothing:
        def keeps(self, group: Rollouts) -> bool:
            return False

    made = Plan(data=impossible, groups=3, count=Uniform(n=2), keep=Nothing(), max_refills=4)
    made.begin(SEED, 10)
    with pytest.raises(DrySource, match=r"0 of 3 groups carry signal \(15 refused.*\).*max_refills \(4\)"):
        list(batches(made, FakeSampler(), 1))
    assert made.piles.asks == 5


def test_the_error_says_what_the_refused_groups_earned():
    """Solved by everybody, solved by nobody, never judged: three different things to do about it."""
    made = Plan(data=rows(40), groups=2, count=Uniform(n=300), keep=KeepMixed(), max_refills=4)
    made.begin(SEED, 1)
    given = [0.0, 1.0, float("nan"), 0.0]

    def equal(rollouts):
        return rollouts.put(reward=torch.tensor([given[g % 4] for g in rollouts.group.tolist()]).double())

    with pytest.raises(DrySource, match=r"\(10 refused; their mean rewards: 0: 5, 1: 3, no verdict: 2\)"):
        while True:
            asked = made.ask()
            made.tell(*map(equal, FakeSampler()(asked)))
    assert sum(len(group) for group in made.piles.refused) == 3000, "what was sampled is still there"


def test_every_batch_has_its_own_bound():
    made = plan(count=400, keep=KeepMixed(), groups=2, n=3, max_refills=4)
    refused = sum(len(dropped) for _, dropped in batches(made, FakeSampler(), 15))
    assert refused > 8


def test_asking_piecemeal_is_not_refilling():
    made = plan(groups=6, max_refills=0)
    (batch, _), *_ = batches(made, FakeSampler(), 1, limit=1)
    assert len(batch.group.unique()) == 6


def test_a_limit_bounds_the_groups_of_an_ask_resumed_ones_first():
    made = plan(groups=5, n=2)
    asked = made.ask(limit=3)
    assert asked.group.unique().tolist() == [0, 1, 2]
    made.tell(*FakeSampler(lambda row: 1 if row < 4 else None)(asked))
    open_groups = made.piles.unfinished[0].group.unique().tolist()
    again = made.ask(limit=3)
    assert len(again.group.unique()) == 3
    assert again.group.unique().tolist()[: len(open_groups)] == open_groups


def in_part(leftovers: Leftovers, versions: list[int]) -> Rollouts:
    """Unfinished rows, row i with tokens of versions[i], carried over to version 9."""
    made = plan(groups=1, n=len(versions), leftovers=leftovers)
    _, unfinished = FakeSampler(lambda row: 1)(made.ask())
    row = {number: i for i, number in enumerate(unfinished.id.tolist())}
    stamps = torch.tensor([versions[row[number]] for number in unfinished.id[unfinished.owner].tolist()])
    made.piles.unfinished = [unfinished.put_actions(version=stamps)]
    made.after_update(Weights(9), None)
    return Rollouts.join(made.piles.unfinished)


def test_leftovers():
    versions = [9, 8, 7, 6]
    asked = plan(groups=1, n=4).ask()
    ids = FakeSampler(lambda row: 1)(asked)[1].id.tolist()
    assert len(ids) >= 2, "the seed leaves some rows unfinished"
    resumed = in_part(Leftovers(), versions)
    assert resumed.id.tolist() == ids and (resumed.last >= 0).all()
    restarted = in_part(Leftovers(then="restart"), versions)
    assert (
        sorted(restarted.id.tolist()) == ids and restarted.last.eq(-1).all() and len(restarted.actions) == 0
    )
    assert restarted.status == ["pending"] * len(ids)
    aged = in_part(Leftovers(max_age=1), versions)
    old = {number for i, number in enumerate(ids) if 9 - versions[i] > 1}
    assert {n for n, last in zip(aged.id.tolist(), aged.last.tolist(), strict=True) if last == -1} == old
    assert set(aged.columns) == set(resumed.columns)


def test_a_restarted_rollout_keeps_its_place_and_is_sampled_from_the_start():
    made = plan(groups=2, in_flight=3, n=3, leftovers=Leftovers(then="restart"))
    sampler = FakeSampler(lambda row: 1 if row in (0, 4) else None)
    for batch, _ in batches(made, sampler, 4):
        assert_whole(batch, 3)
        versions = [batch.actions.version[batch.owner == row].unique() for row in range(len(batch))]
        assert all(len(stamp) == 1 for stamp in versions), "no rollout mixes two versions"


def test_a_group_in_which_a_judge_failed_is_refused_whole():
    made = plan(groups=2, n=2)
    finished, unfinished = FakeSampler()(made.ask())
    flags = finished.group == 1
    made.tell(judged(finished).put(drop_group=flags & (finished.id == finished.id[flags].min())), unfinished)
    assert made.batch() is None
    assert [piece.group.tolist() for piece in made.piles.take_refused()] == [[1, 1]]
    assert made.ask().group.unique().tolist() == [2]


@part()
class Twice:
    """2 rollouts, then as many more as the best reward is high."""

    n = 2

    @property
    def rounds(self) -> int:
        return 2

    def more(self, groups):
        return torch.where(groups["round"] == 0, 2, groups["best"].nan_to_num(0.0).clamp(min=0).long() * 3)


def test_a_count_in_two_rounds():
    made = Plan(data=rows(30), groups=3, count=Twice())
    made.begin(SEED, 4)
    for batch, _ in batches(made, FakeSampler(), 3):
        sizes = batch.group.unique(return_counts=True)[1].tolist()
        first = [batch.reward[batch.group == g][:2].max().item() for g in batch.group.unique()]
        assert sizes == [5 if best else 2 for best in first]


@part()
class Budgets:
    """Gives every fresh row a budget that says how far the run is."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        return rollouts.put(budget=torch.full((len(rollouts),), 10 + rollouts.facts["step"]))


def test_dress_sees_fresh_rows_only():
    made = plan(groups=1, in_flight=2, n=2, dress=(Budgets(),))
    sampler = FakeSampler(lambda row: 1 if row in (2, 3) else None)
    budgets = [batch.budget.unique().tolist() for batch, _ in batches(made, sampler, 3)]
    assert budgets[0] == [10] and sorted({b for budget in budgets for b in budget}) <= [10, 11, 12]
    assert 10 in budgets[1] or 10 in budgets[2], "a resumed row keeps the budget it was issued with"


def test_facts_say_how_far_the_run_is():
    made = plan(steps=4)
    facts = [batch.facts for batch, _ in batches(made, FakeSampler(), 4)]
    assert [(f["step"], f["progress"]) for f in facts] == [(0, 0), (1, 0.25), (2, 0.5), (3, 0.75)]


def test_no_data_is_an_error():
    class Nothing:
        def __len__(self):
            return 0

        def __getitem__(self, key):
            raise IndexError(key)

    made = Plan(data=Nothing())
    with pytest.raises(ValueError, match="plan.data has no rows"):
        made.begin(0, 1)
