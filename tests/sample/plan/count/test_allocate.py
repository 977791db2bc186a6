"""Allocate: the paper's formulas, worked hand-outs, and a plan whose groups end with different sizes."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import t as student

from oneloop.core import storage
from oneloop.core.rollouts import Table
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.allocate import (
    Allocate,
    allocate,
    exploration_bonus,
    half_width,
    uncertainty_reduction,
)
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.sample.plan.plan import Plan
from tests.sample.plan.sampler import FakeSampler, batches, judged, same

WORKED = ([4, 4, 4], [0.5, 0.0, 1 / math.sqrt(3)])  # rewards 1000, 0000, 1100


def deviation(successes: int, n: int) -> float:
    return math.sqrt(successes * (n - successes) / n / (n - 1))


def order_of(budget: int, weight: float, **options: object) -> str:
    """Who gets each rollout in turn, A B C."""
    added = [allocate(*WORKED, k, weight=weight, **options) for k in range(budget + 1)]
    return "".join("ABC"[int((b - a).argmax())] for a, b in itertools.pairwise(added))


def test_half_widths():
    published = [8.984644, 2.484138, 1.591223, 1.241664, 1.049436, 0.924846, 0.836021, 0.768668]
    assert half_width(np.ones(8), np.arange(2, 10)) == pytest.approx(published, abs=1e-6)
    wide = half_width([0.3, 0.3], [500, 3], alpha=0.2)
    assert wide == pytest.approx([0.3 * student.ppf(0.9, n - 1) / math.sqrt(n) for n in (500, 3)])


def test_worked_uncertainty():
    std = [deviation(k, n) for k, n in [(1, 4), (2, 4), (0, 4), (1, 8), (4, 8)]]
    assert std == pytest.approx([0.5, 0.577350, 0, 0.353553, 0.534522], abs=1e-6)
    sizes = [4, 4, 4, 8, 8]
    assert half_width(std, sizes)[[0, 1, 4]] == pytest.approx([0.795612, 0.918693, 0.446872], abs=1e-6)
    assert uncertainty_reduction(std, sizes) == pytest.approx(
        [0.174780, 0.201818, 0, 0.0238128, 0.0360016], abs=1e-6
    )


def test_bonus():
    assert exploration_bonus([4, 8], 32, 0.1) == pytest.approx([0.0934948, 0.0661108], abs=1e-6)
    assert exploration_bonus([4, 8], 32, 0.1, "linear") == pytest.approx(
        [0.1 * math.log(33) / 4, 0.1 * math.log(33) / 8]
    )


@pytest.mark.parametrize(("weight", "order"), [(0.1, "CACACA"), (1.0, "CACABC")])
def test_worked_order(weight, order):
    assert order_of(6, weight) == order
    assert allocate(*WORKED, 6, weight=weight).tolist() == [order.count(letter) for letter in "ABC"]


def test_worked_priorities():
    first = uncertainty_reduction(WORKED[1], WORKED[0]) + exploration_bonus(WORKED[0], 12, 0.1)
    assert first == pytest.approx([0.254857, 0.080077, 0.281895], abs=1e-6)
    second = uncertainty_reduction(WORKED[1], [4, 4, 5]) + exploration_bonus([4, 4, 5], 13, 0.1)
    assert second == pytest.approx([0.256005, 0.081226, 0.183634], abs=1e-6)
    strong = uncertainty_reduction(WORKED[1], WORKED[0]) + exploration_bonus(WORKED[0], 12, 1.0)
    assert strong == pytest.approx([0.975553, 0.800773, 1.002591], abs=1e-6)


prompts = st.lists(
    st.integers(2, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=7
)


def state(drawn: list[tuple[int, int]]) -> tuple[list[int], list[float]]:
    return [n for n, _ in drawn], [deviation(k, n) for n, k in drawn]


@given(prompts, st.integers(0, 30), st.sampled_from([0.0, 0.02, 0.3]), st.booleans())
def test_sums_to_the_budget_and_is_deterministic(drawn, budget, weight, counted):
    added = allocate(*state(drawn), budget, weight=weight, counted=counted)
    assert added.sum() == budget and (added >= 0).all()
    assert added.tolist() == allocate(*state(drawn), budget, weight=weight, counted=counted).tolist()
    grown = allocate(*state(drawn), budget + 1, weight=weight, counted=counted)
    assert (grown >= added).all(), "one more rollout takes nothing from anybody"


@given(prompts, st.integers(0, 25), st.sampled_from([0.02, 0.3]))
def test_greedy_takes_the_largest_marginal_values_when_total_stands_still(drawn, budget, weight):
    n, std = state(drawn)
    values = []
    for place, (size, spread) in enumerate(zip(n, std, strict=True)):
        for m in range(size, size + budget + 1):
            value = uncertainty_reduction([spread], [m])[0] + exploration_bonus([m], sum(n), weight)[0]
            values.append((-round(value, 12), m, place))
    best = [place for _, _, place in sorted(values)[:budget]]
    expected = [best.count(place) for place in range(len(n))]
    assert allocate(n, std, budget, weight=weight, counted=False).tolist() == expected


@given(prompts, st.integers(0, 20), st.integers(0, 10**6))
@settings(max_examples=25)
def test_permuting_prompts_permutes_the_answer_up_to_ties(drawn, budget, seed):
    order = np.random.default_rng(seed).permutation(len(drawn)).tolist()
    n, std = state(drawn)
    moved_n, moved_std = [n[i] for i in order], [std[i] for i in order]
    # whoever is tied has the same n and deviation, so the sizes in the end are the same ones
    sizes = sorted(zip(np.round(std, 9).tolist(), (n + allocate(n, std, budget)).tolist(), strict=True))
    grown = (moved_n + allocate(moved_n, moved_std, budget)).tolist()
    assert sorted(zip(np.round(moved_std, 9).tolist(), grown, strict=True)) == sizes


@given(st.integers(2, 12), st.integers(0, 12), st.integers(1, 6), st.integers(0, 20))
def test_equal_prompts_share_equally(n, successes, count, budget):
    std = deviation(min(successes, n), n)
    added = allocate([n] * count, [std] * count, budget)
    assert added.max() - added.min() <= 1 and added.tolist() == sorted(added.tolist(), reverse=True)


@given(st.integers(2, 10), st.integers(0, 10))
def test_pass_and_fail_are_symmetric(n, successes):
    successes = min(successes, n)
    one, other = [uncertainty_reduction([deviation(k, n)], [n])[0] for k in (successes, n - successes)]
    assert one == pytest.approx(other) and one >= 0
    assert (one == 0) == (successes in (0, n))


def test_limits_of_the_bonus():
    n, std = [8] * 6, [deviation(k, 8) for k in (0, 1, 2, 4, 7, 8)]
    uniform = allocate(n, std, 20, weight=1e6)
    assert uniform.max() - uniform.min() <= 1
    starved = allocate(n, std, 20, weight=0.0)
    assert starved[0] == starved[-1] == 0 and starved[3] == starved.max()
    assert allocate([8] * 4, [0.0] * 4, 6, weight=0.0).tolist() == [2, 2, 1, 1], "ties: round robin"
    assert allocate(n, std, 0).tolist() == [0] * 6
    assert allocate([], [], 0).tolist() == []


def test_least_and_most():
    assert allocate([4, 8], [0.0, 0.5], 5, weight=0.0, least=8).tolist() == [4, 1]
    assert allocate([4, 4, 4], [0.0, 0.1, 0.5], 9, weight=0.0, most=8).tolist() == [1, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 4], [0.0, 0.1], 3), {}, "needs 2 rollouts before it has a deviation, got n=1"),
        (([4, 4], [0.1, math.nan], 3), {}, "prompt 1: the deviation of its rewards is nan"),
        (([4, 4], [math.inf, 0.1], 3), {}, "prompt 0: the deviation of its rewards is inf"),
        (([4, 4], [0.1, 0.1], 3), {"least": 6}, "cannot bring every prompt to 6 rollouts; smallest: 4"),
        (([4, 4], [0.1, 0.1], 3), {"most": 5}, "2 prompts of at most 5 can take 2"),
        (([4], [0.1], -1), {}, "budget=-1 cannot bring"),
    ],
)
def test_what_cannot_be_handed_out(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        allocate(*arguments, **options)


# the part


def table(
    round_: list[int],
    issued: list[int],
    mean: list[float],
    std: list[float],
    verdicts: list[int] | None = None,
) -> Table:
    exact = {"mean": mean, "std": std}
    columns = {name: torch.tensor(values, dtype=torch.float64) for name, values in exact.items()}
    whole = {"group": list(range(10, 10 + len(issued))), "round": round_, "issued": issued}
    whole["verdicts"] = issued if verdicts is None else verdicts
    return Table({**columns, **{name: torch.tensor(values) for name, values in whole.items()}})


def test_every_phase_brings_its_share():
    part = Allocate(phases=4, base=4, mean_budget=14)
    assert [part._share(phase) for phase in range(4)] == [4, 3, 3, 4]
    fresh = part.more(table([0, 0], [0, 0], [math.nan] * 2, [math.nan] * 2))
    assert fresh.tolist() == [4, 4]
    later = part.more(table([1, 1, 0], [4, 4, 0], [0.25, 0, math.nan], [0.5, 0, math.nan]))
    assert later.tolist() == [6, -1, 4]


def test_nothing_in_this_phase_is_not_the_end():
    part = Allocate(exploration=0.0)
    mixed, failed = (0.5, deviation(4, 8)), (0.0, 0.0)
    mean, std = zip(mixed, failed, strict=True)
    assert part.more(table([1, 1], [8, 8], mean, std)).tolist() == [8, -1]
    assert part.more(table([2, 2], [16, 8], mean, std)).tolist() == [8, 0]


def test_missing_verdicts_are_no_reason_to_ask_more():
    added = Allocate(exploration=0.0).more(table([1, 1], [8, 8], [math.nan, 0.5], [math.nan, 0.5]))
    assert added.tolist() == [-1, 8]
    with pytest.raises(ValueError, match="group 11 has infinite ones"):
        Allocate().more(table([1, 1], [8, 8], [0.5, math.inf], [0.5, math.nan]))


def test_a_failed_judgement_is_no_sample():
    """Two prompts had eight rollouts; of one only four were judged, so its interval is wider."""
    std = deviation(2, 4)
    added = allocate([8, 4], [std, std], 4, weight=0.0, issued=[8, 8])
    assert added.tolist() == [0, 4]
    part = Allocate(exploration=0.0, base=8, mean_budget=12)
    groups = table([1, 1], [8, 8], [0.5, 0.5], [std, std], verdicts=[8, 4])
    assert part.more(groups).tolist() == [-1, 4]


def test_bounds_count_what_was_issued_judged_or_not():
    assert allocate([4, 4], [0.5, 0.5], 4, weight=0.0, issued=[8, 4], most=8).tolist() == [0, 4]
    assert allocate([2, 2], [0.0, 0.0], 4, weight=0.0, issued=[8, 4], least=8).tolist() == [0, 4]
    unjudged = table([1, 1], [8, 8], [math.nan, 0.5], [math.nan, 0.5], verdicts=[0, 8])
    assert Allocate(exploration=0.0).more(unjudged).tolist() == [-1, 8]


def test_solved_prompts_can_be_left_alone():
    mean, std = [1.0, 0.0, 0.5], [0.0, 0.0, 0.5]
    part = Allocate(solved_reward=1.0, exploration=10.0)
    assert part.more(table([2] * 3, [8] * 3, mean, std)).tolist() == [0, 6, 6]
    everyone = Allocate(solved_reward=0.9).more(table([2, 2], [8, 8], [1.0, 1.0], [0.0, 0.0]))
    assert everyone.tolist() == [0, 0], "the budget is returned, not burnt"


def test_bounds_hold_in_the_part():
    least = Allocate(min_per_prompt=10, exploration=0.0)
    assert least.more(table([1] * 3, [8] * 3, [0, 0.5, 0], [0, 0.5, 0])).tolist() == [2, 8, 2]
    most = Allocate(max_per_prompt=16, exploration=0.0)
    assert most.more(table([2, 2], [14, 10], [0.5, 0.5], [0.5, 0.0])).tolist() == [2, 6]
    assert most.more(table([2], [16], [0.5], [0.5])).tolist() == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": 20}, "mean_budget is 16, but the first phase alone takes base = 20; smallest feasible: 20"),
        ({"min_per_prompt": 13}, "min_per_prompt must be at most 12"),
        ({"max_per_prompt": 15}, "max_per_prompt must be at least mean_budget = 16, got 15"),
        ({"base": 1}, "base"),
        ({"phases": 1}, "phases"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValidationError, match=message):
        Allocate(**options)


# in a plan


def plan(**options) -> Plan:
    rows = Rows(rows=[{"prompt": f"{i}+1=", "answer": i + 1} for i in range(200)])
    count = options.pop("count", None) or Allocate(base=4, mean_budget=8, exploration=0.02)
    made = Plan(data=rows, count=count, **{"groups": 6, **options})
    made.begin(11, 50)
    return made


def sizes(batch) -> list[int]:
    return batch.group.unique(return_counts=True)[1].tolist()


def test_the_budget_of_a_phase_is_handed_out_over_the_whole_batch():
    for batch, _ in batches(plan(), FakeSampler(), 4):
        assert len(batch) == 6 * 8
        issued = [int((batch["round"] == phase).sum()) for phase in range(3)]
        assert issued == [24, 12, 12]
        failed = {int(g) for g, key in zip(batch.group, batch.key, strict=True) if key % 3 == 0}
        size = dict(zip(batch.group.unique().tolist(), sizes(batch), strict=True))
        assert max(size.values()) > 8 > min(size.values())
        assert all(size[group] < 8 for group in failed), "nobody solves these: they get the bonus alone"


def test_a_group_without_rollouts_in_the_second_phase_competes_in_the_third():
    made = plan(groups=2, count=Allocate(base=4, mean_budget=6, exploration=0.0), shuffle=False)
    rewards = {1: [1.0, 0, 1, 0], 0: [0.0] * 4}
    # rows 0 (fails) and 1 (mixed): the second phase goes to row 1 whole, whose rewards then become alike
    while (batch := made.batch()) is None:
        asked = made.ask()
        finished, unfinished = FakeSampler()(asked)
        values = [
            rewards[key][i % 4] if first == 0 else 1.0
            for i, (key, first) in enumerate(
                zip(finished.key.tolist(), finished["round"].tolist(), strict=True)
            )
        ]
        made.tell(finished.put(reward=torch.tensor(values, dtype=torch.float64)), unfinished)
    assert sum(sizes(batch)) == 12 and batch["round"].max() == 2


schedules = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 4),
        "surplus": st.integers(0, 4),
        "keep": st.sampled_from([None, KeepMixed()]),
        "limit": st.sampled_from([None, 1, 3]),
        "schedule": st.integers(0, 10**6),
        "exploration": st.sampled_from([0.0, 0.05, 5.0]),
        "mean_budget": st.integers(4, 9),
    }
)


@given(schedules)
@settings(max_examples=12)
def test_over_provisioned_and_interrupted_the_mean_stays_and_nothing_is_lost(made):
    count = Allocate(base=3, mean_budget=made["mean_budget"], exploration=made["exploration"])
    tried = plan(
        count=count,
        groups=made["groups"],
        in_flight=made["groups"] + made["surplus"],
        keep=made["keep"],
        max_refills=1000,
    )
    seen: list[int] = []
    complete = 0
    for batch, dropped in batches(tried, FakeSampler.random(made["schedule"]), 4, made["limit"]):
        pieces = [batch, *dropped]
        seen += [number for piece in pieces for number in piece.id.tolist()]
        complete += sum(len(piece.group.unique()) for piece in pieces)
        assert all(size >= 3 for size in sizes(batch))
        held = [*tried.piles.unfinished, *tried.piles.judged()]
        out = seen + [number for piece in held for number in piece.id.tolist()]
        assert sorted(out) == list(range(tried.piles.next_id))
    # groups that stay open have not brought all their shares yet, so the total is bounded from both sides
    opened = complete + len(tried.piles.ready) + len(tried.piles.groups)
    assert tried.piles.next_id <= made["mean_budget"] * opened
    done = complete + len(tried.piles.ready)
    assert tried.piles.next_id >= 3 * done


def test_restored_between_phases_it_continues_equally(tmp_path):
    made, sampler = plan(in_flight=8), FakeSampler.random(3)
    for _ in range(3):
        finished, unfinished = sampler(made.ask())
        made.tell(judged(finished) if len(finished) else finished, unfinished)
        made.batch()
    storage.write_folder(tmp_path / "s", lambda path: storage.write_state(path, made.state_dict()))
    again = plan(in_flight=8)
    again.load_state_dict(storage.read_state(tmp_path / "s"))
    assert [group.due for group in again.piles.groups.values()] == [
        group.due for group in made.piles.groups.values()
    ]
    both = [batches(each, FakeSampler.random(5), 3) for each in (made, again)]
    for (left, _), (right, _) in zip(*both, strict=True):
        assert same(left, right)
