"""Every pair of parts that makes sense runs together, keeps the books and leaves each part its work.

A pair that does not is refused by the recipe with a reason.
"""

import math
from itertools import combinations
from typing import Any

import pytest
import torch

from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.update.learner import Learner
from tests.support.training import JUDGE, ROWS

STEPS = 2


def no_twos(steps: list[str]) -> list[int]:
    """A critic to whom a step with a 2 in it is wrong."""
    return [place for place, step in enumerate(steps) if "2" in step]


BASE: dict[str, Any] = {
    "policy": {
        "language": {
            "model": {
                "small_llama": {"hidden_size": 16, "layers": 1, "heads": 2, "alphabet": "0123456789+=\n"}
            },
            "max_new_tokens": 6,
        }
    },
    "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 2, "count": {"uniform": {"n": 6}}},
    "judge": [JUDGE, {"step_critic": {"path": no_twos, "separator": "\n"}}],
    "credit": ["group_relative"],
    "objective": ["policy_gradient"],
    "steps": STEPS,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "refill (BroRL)": {"plan": {"keep": {"keep_mixed": {"by": "token"}}}},
    "token whitening (BroRL)": {"credit": [{"group_relative": {"scale": "whiten_actions"}}]},
    "planner (XRPO)": {"plan": {"count": {"allocate": {"base": 4, "mean_budget": 6, "exploration": 0.02}}}},
    "seeding (XRPO)": {
        "plan": {
            "count": {"allocate": {"base": 4, "mean_budget": 6, "min_per_prompt": 5}},
            "dress": [{"seed_contexts": {"template": "{question}{solution}\n"}}],
        }
    },
    "sharpening (XRPO)": {"after": ["novelty"]},
    "partial rollouts (APRIL)": {"plan": {"in_flight": 4}},
    "stale tokens masked (APRIL)": {"plan": {"in_flight": 4}, "select": ["stale"]},
    "subset (D3S)": {"select": [{"subset": {"share": {"start": 0.5}}}]},
    "top tokens (D3S)": {"select": [{"top_tokens": {"share": {"start": 0.5}}}]},
    "credit by token (CAPO)": {"credit": ["token_level"]},
    "importance (TIS)": {"objective": [{"policy_gradient": {"importance_cap": 2}}]},
    "sequence ratio (GSPO)": {"objective": [{"policy_gradient": {"ratio": "sequence", "mean": "rollout"}}]},
}
RIVALS = (
    {"token whitening (BroRL)", "credit by token (CAPO)"},  # two baselines for one advantage
    {"importance (TIS)", "sequence ratio (GSPO)"},  # two settings of one objective
)
PAIRS = [pair for pair in combinations(SETTINGS, 2) if set(pair) not in RIVALS]


def combined(*names: str) -> Recipe:
    """The recipe with all these settings: plan slots side by side, lists one after the other."""
    raw = {**BASE, "plan": dict(BASE["plan"]), "select": []}
    after: list[Any] = []
    for name in names:
        setting = SETTINGS[name]
        raw["plan"] |= setting.get("plan", {})
        raw["select"] = [
            *raw["select"],
            *(one for one in setting.get("select", []) if one not in raw["select"]),
        ]
        after += setting.get("after", [])
        raw |= {key: setting[key] for key in ("credit", "objective") if key in setting}
    if "seeding (XRPO)" in names:  # its phases ask failed prompts again
        raw["plan"]["count"] = SETTINGS["seeding (XRPO)"]["plan"]["count"]
    return load_recipe({**raw, "credit": [*raw["credit"], *after]})[0]


def run(recipe: Recipe) -> tuple[Loop, list[Any], list[int]]:
    """(the loop, its batches, the ids that were judged)."""
    phase = recipe.phases["train"]
    torch.manual_seed(0)
    policy = recipe.policy.open()
    judging, judged = Judging(phase.judge), []
    phase.plan.begin(seed=1, steps=STEPS)

    def judge(rollouts: Any) -> Any:
        judged.extend(rollouts.id.tolist())
        return judging(rollouts) if len(rollouts) else rollouts

    learner = Learner(policy, phase.objective, phase.learner, STEPS)
    loop = Loop(phase.plan, policy.sample, judge, [*phase.credit, *phase.select], learner)
    return loop, list(loop.run(STEPS)), judged


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_a_pair_runs_and_nothing_is_lost(pair):
    loop, batches, judged = run(combined(*pair))
    assert len(batches) == STEPS
    plan = loop.plan
    trained = [i for batch in batches for i in batch.id.tolist()]
    held = [i for piece in [*plan.piles.judged(), *plan.piles.refused] for i in piece.id.tolist()]
    assert sorted(judged) == sorted(trained + held)
    assert len(set(judged)) == len(judged)
    for batch in batches:
        assert not batch.actions.advantage[batch.actions.share > 0].isnan().any()
        ready = batch.group.unique()
        assert len(ready) == 2
    assert all(math.isfinite(value) for value in loop.learner.metrics.values())
    left_its_trace(pair, plan, batches)


def left_its_trace(pair: tuple[str, ...], plan: Any, batches: list[Any]) -> None:
    """Each part of the pair did something that only it does."""
    first = batches[0]
    if "planner (XRPO)" in pair or "seeding (XRPO)" in pair:
        assert first["round"].max() >= 1
        assert len(first) == 12 or "partial rollouts (APRIL)" in pair or "stale tokens masked (APRIL)" in pair
    if "sharpening (XRPO)" in pair:
        assert "novelty" in first
    if "partial rollouts (APRIL)" in pair:
        carried_over = (batches[1].actions.version < 1).any()
        held = sum(plan.held()[f"held/{pile}"] for pile in ("waiting", "unfinished", "ready"))
        assert carried_over or held
    if "credit by token (CAPO)" in pair and "top tokens (D3S)" not in pair:
        flawed = first.actions.flaw == 1
        assert flawed.any() and not flawed.all()
    if "subset (D3S)" in pair:
        kept = first.gather(first.actions.share, "sum") > 0
        assert 0 < kept.sum() <= math.ceil(len(first) / 2)
    if "top tokens (D3S)" in pair:
        assert 0 < (first.actions.share > 0).sum() <= math.ceil(len(first.actions) / 2)
    if "importance (TIS)" in pair:
        assert "importance" in first.actions


REFUSED = {
    "a filter by outcome blinds credit by token": (
        {"plan": {**BASE["plan"], "keep": "keep_mixed"}, "credit": ["token_level"]},
        "write by: token",
    ),
    "two baselines for one advantage": ({"credit": ["group_relative", "token_level"]}, "overwrites"),
    "sharpening has nothing to sharpen": ({"credit": ["novelty", "group_relative"]}, "actions.advantage"),
    "credit by token needs a critic": ({"judge": [JUDGE], "credit": ["token_level"]}, "step_critic"),
    "two critics mark the same tokens": (
        {"judge": [*BASE["judge"], {"step_critic": {"path": no_twos, "name": "other"}}]},
        "overwrites 'actions.flaw'",
    ),
    "a subset before there are advantages": ({"credit": [], "select": ["subset"]}, "actions.advantage"),
    "fewer in flight than a batch": ({"plan": {**BASE["plan"], "in_flight": 1}}, "in_flight"),
    "partial rollouts of demonstrations": (
        {"sample": "demonstrations", "judge": [], "credit": [], "objective": ["policy_gradient"]},
        "actions.advantage",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_pair_that_makes_no_sense_is_refused_with_the_reason(why):
    changes, words = REFUSED[why]
    with pytest.raises(RecipeError, match=words):
        load_recipe({**BASE, **changes})
