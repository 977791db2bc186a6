"""An elastic policy: each rollout is sampled, learned from and compared at the subnet that its budget
buys."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from oneloop.core.meter import multiplied
from oneloop.core.part import part
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.models.language.small_llama import character_tokenizer
from oneloop.recipe.recipe import load_recipe
from oneloop.run.run import Run
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.elastic import ElasticOptions
from oneloop.sample.policies.tokens.lora import Lora
from tests.support.rounding import logprob_room, relative, reordered
from tests.support.training import (
    assert_equal,
    cut_and_resumed,
    gap_room,
    lines,
    outcome,
    raw_recipe,
    run_quietly,
)

HERE = "tests.sample.policies.tokens.test_elastic_policy"
ELASTIC = {"layers": [1], "heads": [2], "width": [8, 16]}


@part()
class Grouped:
    """A Llama of two blocks with grouped-query attention."""

    def build(self):
        tokenizer = character_tokenizer("0123456789+=", 32)
        ends = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            **ends,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LlamaForCausalLM(config), tokenizer


def policy(**options):
    return Language(
        model=Grouped(), elastic=ElasticOptions(**ELASTIC), max_new_tokens=6, device="cpu", **options
    ).open()


@pytest.fixture(scope="module")
def opened():
    return policy()


@pytest.fixture(scope="module")
def budgets(opened):
    """FLOPs of four subnets, from the cheapest to the whole model."""
    costs = list(opened.subnets.costs.values())
    return [costs[0], costs[3], costs[-3], costs[-1]]


def asked(budgets, n=4):
    group = torch.arange(len(budgets)).repeat_interleave(n)
    columns = {
        "id": torch.arange(len(group)),
        "group": group,
        "key": group,
        "example": [{"prompt": f"{g}+1="} for g in group.tolist()],
        "context": [((0, f"{g}+1="),) for g in group.tolist()],
        "budget": torch.full((len(group),), -1),
        "flops": torch.tensor(budgets)[group],
        "last": torch.full((len(group),), -1),
        "status": ["pending"] * len(group),
    }
    facts = {"seed": 3, "step": 0, "progress": 0.0}
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), facts)


def logprobs(policy, rollouts, column="logprob", budget=64):
    found = torch.full((len(rollouts.actions),), float("nan"))
    for actions in policy.batches(rollouts, torch.ones(len(rollouts.actions), dtype=torch.bool), budget):
        found[actions] = getattr(policy.at(rollouts, actions), column).detach().float()
    return found


def test_sampler_and_learner_agree_at_every_subnet_and_micro_batches_hold_one(opened, budgets):
    request = asked([budgets[3], budgets[0], budgets[2], budgets[1]])  # not in the order of cost
    rollouts, unfinished = opened.sample(request)
    assert rollouts.id.tolist() == request.id.tolist() and not len(unfinished)
    for width in (opened.forward.width, 0):  # with and without packing
        for made in opened._policies.values():
            made.forward.width = width
        gap = (logprobs(opened, rollouts) - rollouts.actions.logprob).abs().max()
        assert gap <= logprob_room(opened, rollouts)
    wanted = torch.ones(len(rollouts.actions), dtype=torch.bool)
    pieces = list(opened.batches(rollouts, wanted, 10_000))
    assert len(pieces) == 4 and torch.cat(pieces).sort().values.tolist() == list(range(len(wanted)))
    with pytest.raises(ValueError, match="actions of several subnets at once: 1 layers, 2 heads, width 8"):
        opened.at(rollouts, wanted.nonzero().squeeze(1))


def test_a_subnet_is_the_ordinary_policy_of_the_folder_it_is_cut_to(opened, budgets, tmp_path):
    """The same tokens, log-probs and gradients, for each of four budgets of one checkpoint."""
    rollouts = opened.sample(asked(budgets))[0]
    for number, flops in enumerate(budgets):
        size = opened.subnets.within(flops)
        folder = tmp_path / str(number)
        opened.subnets.cut(size).save_pretrained(folder)
        opened.tokenizer.save_pretrained(folder)
        plain = Language(model=str(folder), max_new_tokens=6, device="cpu").open()
        assert type(plain.model) is type(AutoModelForCausalLM.from_pretrained(folder))
        mine = rollouts.take(rollouts.group == number)
        theirs = plain.sample(asked(budgets).without("flops").take(rollouts.group == number))[0]
        assert mine.text == theirs.text
        gap = (mine.actions.logprob - theirs.actions.logprob).abs().max()
        assert gap <= min(1e-6, logprob_room(opened, mine))
        for policy, rows in ((opened, mine), (plain, theirs)):
            policy.model.zero_grad()
            piece = torch.arange(len(rows.actions))
            policy.at(rows, piece).logprob.sum().backward()
        for name, weight in plain.model.named_parameters():
            corner = opened.model.get_parameter(name).grad[tuple(slice(n) for n in weight.shape)]
            assert relative(corner, weight.grad) <= reordered(opened.model), name
    opened.model.zero_grad()


def test_an_update_reaches_every_engine_and_the_reference_is_that_of_the_subnet(budgets):
    made = policy()
    before = made.sample(asked(budgets))[0]
    made.keep_reference()
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    made.updated()
    after = made.sample(asked(budgets))[0]
    assert after.actions.version.unique().tolist() == [1] and after.text != before.text
    assert (logprobs(made, after) - after.actions.logprob).abs().max() <= logprob_room(made, after)
    # the law of before, at each subnet, and it stays when the weights move on
    room = logprob_room(made, before)
    assert (logprobs(made, before, "reference") - before.actions.logprob).abs().max() <= room
    assert (logprobs(made, before) - before.actions.logprob).abs().max() > 100 * room
    apart = made.apart()
    assert apart.sample(asked(budgets))[0].text == after.text
    with made.greedy():
        greedy = made.sample(asked(budgets))[0]
    assert [len(set(greedy.text[start : start + 4])) for start in range(0, 16, 4)] == [1] * 4


def test_a_token_of_a_subnet_counts_as_its_share_of_the_operations(budgets):
    made = policy()
    for flops in budgets:
        before = made.meter.plain
        rollouts = made.sample(asked([flops]))[0]
        tokens = (made.meter.plain - before) * 2 * multiplied(made.model)[0] / flops
        assert tokens == pytest.approx(round(tokens), abs=1e-3) and round(tokens) >= len(rollouts.actions)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"elastic": {"heads": [3]}}, r"policy.language.elastic: heads: got 3, but 2 query heads share"),
        ({"elastic": {"layers": [3]}}, r"policy.language.elastic: layers: got 3, the model has 2"),
        ({"elastic": ELASTIC, "lora": Lora()}, "leave out lora"),
        ({"elastic": ELASTIC, "checkpointing": True}, "leave out checkpointing"),
    ],
)
def test_what_cannot_be_elastic_is_refused_in_words(options, told):
    with pytest.raises(ValueError, match=told):
        Language(model=Grouped(), device="cpu", **options).outline()


def elastic_recipe(**options):
    """Digits learn to add at the budgets of two subnets and of the whole model, drawn by progress."""
    raw = raw_recipe(**options)
    raw["policy"]["language"] |= {"model": {f"{HERE}.Grouped": {}}, "elastic": ELASTIC}
    draw = {"column": "flops", "choices": [15_000, 20_000, 30_000]}
    raw["phases"]["warm"]["plan"]["dress"] = [{"draw_budget": draw}]
    drawn = draw | {"draw": {"progress": {"every": 8}}}
    raw["phases"]["reinforce"]["plan"]["dress"] = [{"draw_budget": drawn}]
    return raw


def test_a_run_of_both_phases_resumes_to_the_bit(tmp_path):
    spec = load_recipe(elastic_recipe(evaluate=None))[0]

    def train(directory, resume=False):
        return run_quietly(load_recipe(elastic_recipe(evaluate=None))[0], directory, resume)

    run = train(tmp_path / "whole")
    whole = outcome(tmp_path / "whole")
    assert_equal(whole, cut_and_resumed(train, tmp_path / "cut", 7))
    steps = [line for line in lines(tmp_path / "whole") if line["kind"] == "step"]
    gaps = [line["sampling/logprob_gap_max"] for line in steps if "sampling/logprob_gap_max" in line]
    assert gaps and max(gaps) <= gap_room(run, "reinforce")
    assert "draw/flops/p_15000" in steps[-1] and spec.policy.elastic is not None


def test_budgets_without_an_elastic_policy_or_below_its_smallest_subnet_are_refused(tmp_path):
    raw = elastic_recipe()
    del raw["policy"]["language"]["elastic"]
    with pytest.raises(
        ValueError, match=r"draw_budget: draws flops, but the policy has no subnets; .*elastic"
    ):
        load_recipe(raw)
    raw = elastic_recipe()
    raw["phases"]["reinforce"]["plan"]["dress"][0]["draw_budget"]["choices"] = [7, 20_000]
    with pytest.raises(
        ValueError, match=r"draw_budget.*no subnet takes at most 7 FLOPs a token; there are: \d+ \(1 l"
    ):
        Run(load_recipe(raw)[0], tmp_path)


def test_a_subnet_that_is_first_needed_late_costs_nothing_to_make():
    # a resumed run makes it at another ask than a run left alone, and records what an ask cost
    made = policy()
    for size in made.subnets.costs:
        made.subnet(size)
    assert made.meter.total == 0
