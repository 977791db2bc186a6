"""What shipped recipes need is said in one list, and it is what their files say."""

import pytest

from oneloop.recipe.needs import NEEDS, Need
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import read, shipped


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (Need("fetch", "smollm2"), "oneloop fetch smollm2"),
        (Need("hub", "a/b"), "a GPU and a/b of the hub"),
        (Need("run", "other"), "the run of other in runs/"),
        (Need("reader", "docs/a.md"), "handwriting fonts and trained readers: docs/a.md"),
    ],
)
def test_a_need_is_said_in_words(need, said):
    assert str(need) == said


def mentioned(value):
    """Every text in a recipe, wherever it stands."""
    if isinstance(value, dict):
        return {text for item in value.items() for text in mentioned(list(item))}
    if isinstance(value, list):
        return {text for item in value for text in mentioned(item)}
    return {value} if isinstance(value, str) else set()


@pytest.mark.parametrize("name", shipped())
def test_the_list_is_what_the_files_say(name):
    """A model named as the hub names it, a folder of runs/ or of readers/, or a model that is fetched."""
    texts = mentioned(read(shipped()[name]))
    policy = load_recipe(name)[0].policy
    found = {Need("run", text.removeprefix("runs/")) for text in texts if text.startswith("runs/")}
    if any(text.startswith("readers/") for text in texts):
        found.add(Need("reader", "docs/handwriting.md"))
    if isinstance(policy.model, str):
        found.add(Need("hub", policy.model))
    if texts & {"smollm2"}:
        found.add(Need("fetch", "smollm2"))
    assert found == ({NEEDS[name]} if name in NEEDS else set())
