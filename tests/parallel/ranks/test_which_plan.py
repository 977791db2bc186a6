"""Which plan a learner takes: one from a file must be of this model and number of ranks, the same on all."""

import dataclasses

import pytest
from tests.support import ranks, training

from oneloop.models.language.small_llama import SmallLlama
from oneloop.parallel.placement.fault import Infeasible, PlacementError
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.ranks.planned import data_axes, plain
from oneloop.parallel.ranks.which_plan import solved, which_plan
from oneloop.parallel.ranks.world import Alone, RanksDiffer
from oneloop.recipe import text
from oneloop.recipe.reading import RecipeError
from oneloop.run.resuming import same_run


class Two(Alone):
    """Two ranks, of which the other always says the same of its plan."""

    size = 2

    def __init__(self, other: str | None = None):
        self.other = other

    def agree(self, what, said):
        if self.other not in (None, said):
            raise RanksDiffer(f"the ranks differ in {what}: rank 0: {said}, rank 1: {self.other}")


@pytest.fixture(scope="module")
def model():
    return training.recipe(**ranks.options("full")).policy.model.build()[0]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "2.json"
    ranks.write_plan(path, (2,), "R", {"q_proj": "S0"})
    return path


def test_a_plan_of_this_model_is_read(model, file):
    found = which_plan(model, str(file), None, 64, Two())
    assert found.parameters["model.layers.0.self_attn.q_proj.weight"] == "S0"
    assert data_axes(found) == (False,) and data_axes(dataclasses.replace(found, inputs={})) == (False,)
    assert data_axes(dataclasses.replace(found, mesh=(2, 2), inputs={"input_ids": "S0,R"})) == (True, False)


def test_a_name_with_adapters_around_it_is_the_plans():
    given = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"
    assert plain(given) == "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"mesh": (2, 2)},
            r"the plan is for 4 ranks \(mesh 2x2\), this run has 2; make another, or take fsdp2",
        ),
        ({"parameters": {"wte": "S0"}}, "the plan is for a by hand with wte, which this model has not"),
        ({"shapes": {"lm_head.weight": (7, 32)}}, r"whose lm_head.weight is \(7, 32\); here it is"),
    ],
)
def test_another_plan_is_refused(change, said, model, file, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(dataclasses.replace(ShardingPlan.read(file), **change).to_json())
    with pytest.raises(PlacementError, match=f"learner.plan: .*{said}"):
        which_plan(model, str(other), None, 64, Two())


def test_a_file_that_is_none_is_refused(model, tmp_path):
    with pytest.raises(PlacementError, match=r"learner.plan: there is no plan .*x.json; `oneloop plan MODEL"):
        which_plan(model, str(tmp_path / "x.json"), None, 64, Two())
    (tmp_path / "y.json").write_text("{}")
    with pytest.raises(PlacementError, match="learner.plan: no sharding plan"):
        which_plan(model, str(tmp_path / "y.json"), None, 64, Two())


def test_ranks_with_different_plans_stop_with_both_hashes(model, file):
    own = ShardingPlan.read(file).digest
    with pytest.raises(RanksDiffer, match=rf"the ranks differ in learner.plan: rank 0: {own}, rank 1: 0123"):
        which_plan(model, str(file), None, 64, Two("0123"))


def test_a_mesh_of_other_ranks_is_refused(model):
    with pytest.raises(PlacementError, match=r"the plan is for 6 ranks \(mesh 2x3\), this run has 2"):
        which_plan(model, None, (2, 3), 64, Two())


def test_a_plan_is_solved_for_with_even_shares_or_the_evenest_there_are(monkeypatch):
    small, _ = SmallLlama(hidden_size=8, layers=1, heads=2, alphabet="01", max_positions=16).build()
    asked = []

    def plan(model, mesh, inputs, wishes):
        asked.append((mesh, inputs["input_ids"].shape, wishes.budget.parameters))
        assert {weight.device.type for weight in model.parameters()} == {"meta"}
        if len(asked) == 1:
            raise Infeasible("norms cannot be cut", 1800)
        return "the plan"

    monkeypatch.setattr("oneloop.parallel.ranks.which_plan.plan", plan)
    held = sum(weight.numel() * weight.element_size() for weight in small.parameters())
    assert solved(small, (2, 2), 100) == "the plan"
    assert asked == [((2, 2), (4, 16), held / 4), ((2, 2), (4, 16), 1800)]


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        ({"plan": "p.json"}, "plan: only with parallel: plan, got parallel: None"),
        ({"mesh": [2], "parallel": "ddp"}, "mesh: only with parallel: plan, got parallel: ddp"),
        ({"mesh": [2], "plan": "p.json", "parallel": "plan"}, "plan and mesh: .* give one of them"),
    ],
)
def test_options_of_a_plan_need_one(learner, said):
    raw = training.raw_recipe()
    raw["phases"]["warm"]["learner"] |= learner
    with pytest.raises(RecipeError, match=said):
        training.recipe(phases=raw["phases"])


def test_where_weights_lie_may_change_on_resume():
    before = text.options(training.recipe(**ranks.options("full")))
    changed = ranks.options("full", "plan", plan="p.json")
    assert same_run(before, training.recipe(**changed))
    changed["phases"]["warm"]["learner"]["learning_rate"] = 0.5
    assert not same_run(before, training.recipe(**changed))
