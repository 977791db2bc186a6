"""meter.py and costs.py: evaluations and FLOPs against torch's own counter; budgets end where they should."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from oneloop.core.costs import METRICS, UNITS, Costs, costs_of, exhausted
from oneloop.core.meter import Meter, multiplied
from oneloop.models.language.small_llama import SmallLlama
from oneloop.recipe.recipe import load_recipe
from oneloop.run.evaluation import held_out
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.data.digits import Digits
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.language import Language
from tests.run.test_flow_run import raw as raw_flow
from tests.support.training import lines, raw_recipe

TOKENS = 24


def products(counter):
    """Operations of matrix products with weights; attention's are of batches."""
    return sum(
        n for op, n in counter.get_flop_counts()["Global"].items() if str(op) in ("aten.mm", "aten.addmm")
    )


def test_flops_are_those_torch_counts():
    model, _ = SmallLlama(hidden_size=64, layers=2).build()
    ids = torch.arange(TOKENS)[None] % 20
    meter = Meter()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meter.add(TOKENS)
        model(input_ids=ids, use_cache=False)
    assert (meter.plain, meter.learned) == (TOKENS, 0)
    assert meter.flops(model) == products(counter)
    with FlopCounterMode(display=False) as counter:
        meter = Meter()
        meter.add(TOKENS)
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert meter.learned == TOKENS and meter.flops(model) == products(counter)


def test_frozen_weights_are_not_trained_and_tables_are_not_multiplied():
    model = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4))
    assert multiplied(model) == (32, 32)
    model[1].weight.requires_grad_(False)
    assert multiplied(model) == (32, 0)
    assert Meter(tokens=3, plain=2, learned=5).flops(model) == 3 * (2 * 32 * 2 + 4 * 32 * 5)
    tied = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 50, bias=False))
    tied[1].weight = tied[0].weight
    assert multiplied(tied) == (400, 400)


def test_sampling_counts_prompts_once_a_group_and_every_token_but_the_last():
    policy = Language(model=SmallLlama(hidden_size=32, layers=1, heads=2), max_new_tokens=5).open()
    start = policy.meter.plain
    finished, _ = policy.sample(held_out(Rows(rows=[{"prompt": "1+1="}, {"prompt": "20+3="}]), 2, 3, 0))
    prompts = sum(len(policy.prompt_ids(finished, row)) for row in (0, 3))
    assert policy.meter.plain - start == prompts + len(finished.actions) - len(finished)
    assert policy.meter.learned <= start


def test_an_evaluation_of_a_flow_policy_is_a_latent():
    policy = Flow(model={"flow_mlp": {"hidden_size": 16, "layers": 1}}, steps=6).open()
    policy.sample(held_out(Digits(split="test"), 2, 2, 0))
    assert policy.meter == Meter(policy.network.tokens, plain=2 * 2 * 6)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "seconds"])
@pytest.mark.parametrize(
    "raw", [raw_recipe(evaluate=None), raw_flow() | {"evaluate": None}], ids=["text", "flow"]
)
def test_a_budget_ends_the_phase_after_the_step_that_spends_it(tmp_path, unit, raw, whole):
    steps = whole(raw)
    last = list(raw["phases"])[-1]
    before = [costs_of(line)[unit] for line in steps if line["phase"] != last][-1]
    spent = [costs_of(line)[unit] - before for line in steps if line["phase"] == last]
    assert spent[0] > 0 and all(a < b for a, b in zip(spent, spent[1:], strict=False))
    limited = {**raw["phases"][last], "budget": {unit: spent[1] - 0.5, "seconds": 1e9}}
    changed = {**raw, "phases": {**raw["phases"], last: limited}}
    Run(load_recipe(changed)[0], tmp_path / "cut", show=Show(quiet=True)).train()
    cut = [line for line in lines(tmp_path / "cut") if line["kind"] == "step" and line["phase"] == last]
    assert [costs_of(line)[unit] - before for line in cut] == spent[:2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The step lines of a recipe's whole run, which is made once."""
    made = {}

    def run(raw):
        key = next(iter(raw["policy"]))
        if key not in made:
            folder = tmp_path_factory.mktemp(key) / "run"
            Run(load_recipe(raw)[0], folder, show=Show(quiet=True)).train()
            made[key] = [line for line in lines(folder) if line["kind"] == "step"]
        return made[key]

    return run


def test_seconds_are_a_budget_too():
    assert exhausted({"seconds": 3}, {"seconds": 5.0}, {"seconds": 1.5})
    assert not exhausted({"seconds": 3}, {"seconds": 5.0}, {"seconds": 2.5})
    assert not exhausted({}, {"seconds": 5.0}, {})


def test_totals_go_to_the_metrics_and_come_back():
    costs = Costs({"flops": 7.0})
    assert set(costs.metrics) == set(METRICS.values())
    assert costs_of({**costs.metrics, "loss": 1.0}) == costs.spent
    assert costs_of({"num_tokens": 3}) == {"sampled_tokens": 3}


def test_what_is_no_budget_is_refused():
    raw = raw_recipe()
    raw["phases"]["reinforce"]["budget"] = {"tokens": 5}
    with pytest.raises(ValueError, match="budget"):
        load_recipe(raw)
