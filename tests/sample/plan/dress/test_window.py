"""A window of drawn steps: where it stands, and that it never slides past the last action."""

import pytest
import torch

from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from tests.support.trees import asked, policy


def recipe(steps: int, dress: list, **plan):
    return {
        "policy": {"flow": {"model": {"flow_mlp": {}}, "steps": steps, "noise": "flow"}},
        "plan": {"data": {"shapes": {}}, "groups": 4, "count": {"uniform": {"n": 4}}, "dress": dress, **plan},
        "judge": ["scene"],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        "steps": 3,
    }


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 20),
        ({"size": 4, "last": 20}, 25),
        ({"size": 2, "first": 1, "last": 6, "stride": 2}, 8),
        ({"size": 4, "first": 12, "every": 0}, 17),
    ],
)
def test_steps_needed_are_those_of_the_furthest_window(options, steps):
    window = Window(**options)
    furthest = max(window.begin(step) for step in range(2000)) + window.size
    assert window.steps_needed == furthest + 1 == steps


@pytest.mark.parametrize("step", [0, 25, 60, 399])
def test_every_batch_of_the_shortest_rollout_that_is_allowed_draws_its_whole_window(step):
    part = Window(size=2, last=3, every=1)
    flow = policy(noise="flow", steps=part.steps_needed)
    rollouts, _ = flow.sample(part(asked(2).put_facts(step=step)))
    assert rollouts.gather(rollouts.actions.share, "sum").eq(2).all()


def test_a_window_past_the_last_action_is_refused_before_and_while_sampling():
    message = r"window: reaches up to action 19, but policy.flow.steps is 10, which makes 9 actions"
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe(10, ["window"]))
    load_recipe(recipe(10, [{"window": {"last": 5}}]))
    rows = asked(2).put(window=torch.tensor([[4, 8]] * 4))
    with pytest.raises(
        ValueError, match=r"steps 4..7 are to be drawn, but policy.flow.steps is 6.*at 1 at most"
    ):
        policy(noise="flow", steps=6).sample(rows)


def test_a_fork_past_the_last_action_is_refused():
    assert Fork(steps=(0, 3)).steps_needed == 5
    with pytest.raises(RecipeError, match=r"fork: reaches up to action 4, but policy.flow.steps is 4"):
        load_recipe(recipe(4, [{"fork": {"steps": [0, 3]}}]))


def test_a_flow_policy_is_asked_for_no_more_than_a_batch():
    with pytest.raises(
        RecipeError, match=r"in_flight: 8 is more than groups \(4\), but a flow policy finishes"
    ):
        load_recipe(recipe(20, [], in_flight=8))
    load_recipe(recipe(20, [], in_flight=4))
    load_recipe(recipe(20, [], in_flight=8, keep="keep_mixed"))
