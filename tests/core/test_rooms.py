"""Rooms: a slot takes its own kind, whoever made the part and however it is given."""

import inspect

import pytest
import torch

from oneloop.core.part import part
from oneloop.core.rooms import ROOMS, Misfit, UnknownName, build, find, members, misfit, names, words
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe

ALL = [(room, name) for room in ROOMS for name in names(room)]
SMALL = {"small_llama": {"hidden_size": 16, "layers": 1}}
SLOTS = {
    "data": "plan.data",
    "count": "plan.count",
    "dress": "plan.dress",
    "keep": "plan.keep",
    "policy": "policy",
    "judge": "judge",
    "credit": "credit",
    "select": "select",
    "objective": "objective",
    "language_model": "policy.language.model",
}
IN_A_LIST = ("dress", "judge", "credit", "select", "objective")


def lengths(completions, **columns):
    return [float(len(text)) for text in completions]


NEEDED = {
    "function": {"path": lengths},
    "step_critic": {"path": "oneloop.sample.data.sum_chain.wrong_steps"},
    "language": {"model": SMALL},
    "vision_language": {"model": {"small_llava": {"hidden_size": 16, "heads": 2, "layers": 1}}},
    "flow": {"model": "flow_mlp"},
    "flexible_llava": {"model": {"small_llava": {}}},
    "image_tokenizer": {"model": "one_d_piece"},
    "draw_budget": {"most": 8},
    "weighted": {"probabilities": [1.0]},
    "proxy_codes": {"teacher": "somewhere"},
    "decoded": {"tokenizer": "one_d_piece", "judge": "scene"},
    "image_codes": {"data": {"digits": {}}, "tokenizer": "one_d_piece"},
    "edits": {"of": {"digits": {}}, "task": "fill"},
    "corrupted": {"data": {"sum_chain": {}}},
    "hub": {"path": "somewhere"},
    "iam_words": {"folder": "somewhere"},
    "writer_folders": {"folder": "somewhere"},
    "reader": {"folder": "somewhere"},
    "rows": {"rows": [{"prompt": "1 + 1 ="}]},
    "reward_backprop": {"judge": {"preference": {"model": "pair_mlp", "tasks": {"fill": ["consistency"]}}}},
    "win_rate": {"judge": "scene"},
    "preference": {"model": "pair_mlp", "tasks": {"fill": ["consistency"]}},
    "one_sided": {"judge": "verifier"},
    "mixture": {"sets": [{"data": {"sum_chain": {}}}]},
    "diffusion_pipeline": {"name": "somebody/a-pipeline"},
    "yes_no_vlm": {"name": "somebody/a-model"},
    "fork": {"steps": [1]},
    "window": {"size": 1},
}


def recipe(slot, part_of):
    """A recipe of language with `part_of` in one slot."""
    raw = {
        "policy": {"language": {"model": SMALL, "max_new_tokens": 4}},
        "plan": {"data": {"reasoning": {}}, "groups": 2},
        "judge": ["verifier"],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
    }
    *path, last = SLOTS[slot].split(".")
    place = raw
    for key in path:
        place = place.setdefault(key, {})
    place[last] = [part_of] if slot in IN_A_LIST else part_of
    return raw


def dotted(room, name):
    cls = find(room, name)
    return f"{cls.__module__}.{cls.__qualname__}"


def made(room, name):
    return find(room, name)(**NEEDED.get(name, {}))


@pytest.mark.parametrize("slot", SLOTS)
def test_every_part_of_another_kind_is_refused_in_words_when_the_recipe_is_loaded(slot):
    """By its dotted path and as an object, the two ways in which it could slip past its name."""
    for room, name in ALL:
        if room == slot:
            continue
        for spec in ({dotted(room, name): NEEDED.get(name, {})}, made(room, name)):
            with pytest.raises(RecipeError) as caught:
                load_recipe(recipe(slot, spec))
            told = " ".join(caught.value.faults)
            assert f"is a {words(room)} part" in told and f"stands a {words(slot)} part" in told, (name, told)


@pytest.mark.parametrize(("room", "name"), ALL)
def test_a_part_fits_its_own_room(room, name):
    assert misfit(room, made(room, name)) is None


@pytest.mark.parametrize(("room", "name"), ALL)
def test_a_name_of_another_room_is_an_unknown_name_with_a_hint(room, name):
    for slot in ROOMS:
        if slot != room and name not in names(slot):
            with pytest.raises(UnknownName, match=f"no {words(slot)} part is called '{name}'; it is a"):
                find(slot, name)


@pytest.mark.parametrize("name", ["rows.jsonl", "my.rows.csv", "data/rows", "openai/gsm8k"])
def test_a_file_as_data_is_refused_with_what_to_write(name):
    told = f"no data part is called '{name}', and no module has it; .* is {{hub: {{path: {name}}}}}"
    with pytest.raises(UnknownName, match=told):
        find("data", name)


def test_a_python_file_without_a_name_is_refused_with_what_to_write():
    with pytest.raises(
        UnknownName, match="'near.py' is a file; write near.py:NAME, with the name of its judge"
    ):
        find("judge", "near.py")


@part(writes=("actions.advantage",))
class Credits:
    def __call__(self, rollouts):
        return rollouts


@part(writes=("actions.share",))
class Selects:
    def __call__(self, rollouts):
        return rollouts


@part(writes=("reward.judges",))
class Judges:
    name: str = "judges"

    def __call__(self, rollouts):
        return rollouts


@part()
class Loses:
    def __call__(self, here, rollouts, actions):
        return -here.logprob, {}


@part()
class Keeps:
    def keeps(self, group):
        return True


@part()
class Counts:
    n: int = 2
    rounds: int = 1

    def more(self, groups):
        return torch.where(groups["round"] == 0, self.n, 0)


OWN = {
    "credit": Credits,
    "select": Selects,
    "judge": Judges,
    "objective": Loses,
    "keep": Keeps,
    "count": Counts,
}


@pytest.mark.parametrize("room", OWN)
@pytest.mark.parametrize("slot", [*OWN, "dress", "data", "policy"])
def test_parts_of_ones_own_are_told_apart_by_what_they_write_and_how_they_are_called(room, slot):
    reason = misfit(slot, OWN[room]())
    assert (reason is None) == (room == slot), reason


def test_what_is_missing_is_named():
    with pytest.raises(Misfit, match="a count part has n, rounds, more, and Keeps has not"):
        build("count", Keeps())
    with pytest.raises(Misfit, match=r"objective part is called with \(here, rollouts, actions\)"):
        build("objective", Credits())
    with pytest.raises(Misfit, match="a keep part has keeps, and print has not"):
        build("keep", print)


def test_a_bare_function_is_a_reward_function_unless_it_asks_for_the_table():
    def table(rollouts):
        return rollouts

    assert build("judge", lengths).path is lengths and build("judge", lengths).isolate is False
    assert build("judge", table) is table
    loaded = load_recipe(recipe("judge", lengths))[0]
    assert loaded.phases["train"].judge[0].name == "lengths"


def test_a_protocol_says_what_must_be_there():
    assert members(ROOMS["count"].protocol) == ("n", "rounds", "more")
    assert members(ROOMS["data"].protocol) == ("__len__", "__getitem__")
    for room in ROOMS.values():
        for name in members(room.protocol):
            what = vars(room.protocol).get(name)
            assert what is None or name == "__len__" or inspect.getdoc(what), f"{room.protocol}: {name}"
