"""part.py: found by file or by name, checked all at once, written back as a recipe."""

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from oneloop.core.declared import declared
from oneloop.core.part import Of, Options, part
from oneloop.core.rooms import UnknownName, build, find, names, part_name
from oneloop.recipe.faults import faults
from oneloop.recipe.fields import FieldContent, content_of
from oneloop.recipe.text import to_recipe

MINE = '''
from typing import Annotated
from pydantic import Field
from oneloop.core.part import part

@part(reads=("reward",), writes=("actions.advantage",))
class Mine:
    """A part of somebody else."""
    boost: Annotated[float, Field(ge=0)] = 2.0
    """How much."""
    def __call__(self, rollouts):
        return rollouts

class NotOne:
    """Not decorated."""
'''


@part(reads=lambda self: ("reward",) if self.scale else (), writes=("reward.inner",), paper="none")
class Inner:
    scale: Annotated[float, Field(ge=0, le=1)] = 0.5
    names: tuple[str, ...] = ()

    def __call__(self, rollouts):
        return rollouts


@part(writes=("actions.advantage",), units=("nats",))
class Outer:
    judge: Annotated[Any, Of("judge")]
    count: Annotated[int, Field(ge=1)] = 2

    def __call__(self, rollouts):
        return rollouts


def fault_list(cls, **options):
    with pytest.raises(ValidationError) as caught:
        cls(**options)
    return faults(caught.value, "credit.outer", cls)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_parts_of_a_room_are_its_files():
    assert "group_relative" in names("credit") and "one_token" in names("objective")
    assert find("credit", "group_relative").__name__ == "GroupRelative"


def test_a_part_by_file(mine):
    made = build("credit", {f"{mine}:Mine": {"boost": 3}})
    assert made.boost == 3.0
    assert build("credit", f"{mine}:Mine").boost == 2.0
    assert type(made) is find("credit", f"{mine}:Mine")
    assert to_recipe(made) == {f"{mine}:Mine": {"boost": 3.0}}
    assert build("credit", to_recipe(made)) == made


def test_a_part_by_dotted_path(mine, monkeypatch):
    monkeypatch.syspath_prepend(mine.parent)
    made = build("credit", {"mine.Mine": {"boost": 3}})
    assert part_name(type(made)) == "mine.Mine" and build("credit", to_recipe(made)) == made


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("group_relativ", "no credit part is called 'group_relativ'; did you mean 'group_relative'"),
        ("mixed_groups", "it is a select part"),
        ("zzz", "known: .*group_relative"),
        ("no.such.Module", "cannot import 'no.such'"),
        ("nowhere.py:Mine", "no such file: nowhere.py"),
        ("FILE:Min", "Min is not a class decorated with @part; did you mean 'Mine'"),
        ("FILE:NotOne", "NotOne is not a class decorated with @part"),
    ],
)
def test_unknown_names_help(mine, name, words):
    with pytest.raises(UnknownName, match=words):
        find("credit", name.replace("FILE", str(mine)))


def test_a_file_that_fails_says_why_and_may_be_mended(mine):
    mine.write_text("import nothing_of_the_sort")
    with pytest.raises(UnknownName, match="mine.py cannot be imported: ModuleNotFoundError"):
        find("credit", f"{mine}:Mine")
    mine.write_text(MINE)
    assert find("credit", f"{mine}:Mine").__name__ == "Mine"


@pytest.mark.parametrize("code", [0, 3, "done"])
def test_a_file_or_a_part_that_calls_exit_ends_nothing(mine, code):
    mine.write_text(f"import sys\nsys.exit({code!r})")
    with pytest.raises(UnknownName, match=rf"mine.py cannot be imported: SystemExit: {code}"):
        find("credit", f"{mine}:Mine")
    exits = f"    def __post_init__(self):\n        raise SystemExit({code!r})\n"
    mine.write_text(MINE + "\n\n@part()\nclass Exits:\n" + exits)
    assert fault_list(Outer, judge=f"{mine}:Exits", count=1) == [
        f"credit.outer.judge: cannot be made: SystemExit: {code}"
    ]


def test_a_function_in_place_of_a_judge_is_told_how_to_write_it(mine):
    mine.write_text("def reward(completions):\n    return [1.0]")
    with pytest.raises(UnknownName, match=r"for a function write \{function: \{path: .*mine.py:reward\}\}"):
        build("judge", f"{mine}:reward")


@pytest.mark.parametrize(
    "spec", [None, 3, True, ["group_relative"], {"a": {}, "b": {}}, {"group_relative": 3}]
)
def test_what_is_not_a_part_is_refused(spec):
    with pytest.raises(UnknownName, match="credit part"):
        build("credit", spec)


def test_all_faults_at_once_with_their_paths(monkeypatch):
    for module in ("part", "rooms"):
        monkeypatch.setattr(f"oneloop.core.{module}.find", lambda room, name: {"inner": Inner}[name])
    sentences = fault_list(Outer, judge={"inner": {"scale": 2, "scal": 1}}, count=0, cout=1)
    assert sorted(sentences) == [
        "credit.outer.count: must be greater than or equal to 1, got 0",
        "credit.outer.cout: no such option; did you mean 'count'?",
        "credit.outer.judge.inner.scal: no such option; did you mean 'scale'?",
        "credit.outer.judge.inner.scale: must be less than or equal to 1, got 2",
    ]


def test_an_unknown_inner_part_is_a_fault_like_the_others():
    sentences = fault_list(Outer, judge="no_such_judge", count=0)
    assert any(s.startswith("credit.outer.judge: no judge part is called 'no_such_judge'") for s in sentences)
    assert any(s.startswith("credit.outer.count") for s in sentences)


def test_a_part_is_frozen_keyword_only_and_says_what_it_needs():
    assert declared(Inner(), "reads") == ("reward",) and declared(Inner(scale=0), "reads") == ()
    assert declared(Outer(judge=Inner()), "units") == ("nats",)
    assert declared(lambda rollouts: rollouts, "reads") == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Inner().scale = 1.0
    with pytest.raises(ValidationError):
        Inner(0.5)
    assert Inner(scale=1) == Inner(scale=1.0) and Inner(names=["a"]).names == ("a",)


def test_to_recipe_keeps_the_class_of_inner_parts():
    recipe = to_recipe(Outer(judge=Inner(names=("a", "b")), count=3))
    assert recipe == {
        "tests.core.test_part.Outer": {
            "judge": {"tests.core.test_part.Inner": {"scale": 0.5, "names": ["a", "b"]}},
            "count": 3,
        }
    }
    assert build("credit", recipe) == Outer(judge=Inner(names=("a", "b")), count=3)


@part()
class Named:
    model: Annotated[Any, Of("language_model", text=True)]
    options: Annotated[Inner, Options(Inner)] = Inner()


def test_a_text_may_stand_for_itself_where_the_field_says_so():
    assert Named(model="somebody/some-model").model == "somebody/some-model"
    assert Named(model={"small_llama": {"layers": 2}}).model.layers == 2
    assert (
        to_recipe(Named(model={"small_llama": {}}))["tests.core.test_part.Named"]["model"]["small_llama"][
            "layers"
        ]
        == 4
    )
    assert fault_list(Named, model={"small_lama": {}}) == [
        "credit.outer.model: no language model part is called 'small_lama'; did you mean 'small_llama'?"
    ]
    for wrong in ("", 3, None, [], {}):
        (sentence,) = fault_list(Named, model=wrong)
        assert sentence.startswith("credit.outer.model: ")


def test_options_are_a_mapping_of_one_class():
    assert Named(model="x", options={"scale": 1}).options == Inner(scale=1)
    assert Named(model="x", options=Inner(scale=0)).options.scale == 0
    assert fault_list(Named, model="x", options=[1]) == [
        "credit.outer.options: must be a mapping of options, got [1]"
    ]
    assert fault_list(Named, model="x", options={"scale": 2}) == [
        "credit.outer.options.scale: must be less than or equal to 1, got 2"
    ]


@part()
class Fields:
    judges: tuple[Annotated[Any, Of("judge")], ...] = ()
    keep: Annotated[Any, Of("plan")] | None = None
    phases: dict[str, Annotated[Inner, Options(Inner)]] = Field(default_factory=dict)
    inner: Inner | None = None
    many: Annotated[tuple[Inner, ...], Field(max_length=3)] = ()
    free: dict[str, Any] = Field(default_factory=dict)
    either: int | str = 0


def test_what_a_field_holds_is_read_from_its_annotation():
    assert content_of(Fields, "judges") == FieldContent(room="judge", shape="list")
    assert content_of(Fields, "keep") == FieldContent(room="plan")
    assert content_of(Fields, "phases") == FieldContent(cls=Inner, shape="names")
    assert content_of(Fields, "inner") == FieldContent(cls=Inner)
    assert content_of(Fields, "many") == FieldContent(cls=Inner, shape="list")
    assert (
        content_of(Fields, "free") == FieldContent(shape="names")
        and content_of(Fields, "either") == FieldContent()
    )
    assert content_of(Fields, "nothing") == FieldContent() and content_of(None, "inner") == FieldContent()


def test_paths_of_faults_follow_lists_mappings_and_unions():
    sentences = fault_list(
        Fields,
        inner={"scal": 1},
        many=[{"scale": 1}, {"scale": 5}],
        either=[1],
        free=3,
        phases={"a": {"x": 1}},
    )
    assert sorted(sentences) == [
        "credit.outer.either: must be a whole number or text, got [1]",
        "credit.outer.free: must be a mapping, got 3",
        "credit.outer.inner.scal: no such option; did you mean 'scale'?",
        "credit.outer.many[1].scale: must be less than or equal to 1, got 5",
        "credit.outer.phases.a.x: no such option; known: scale, names",
    ]


def test_true_is_no_number():
    assert fault_list(Outer, judge=Inner(), count=True) == ["credit.outer.count: must be a number, got True"]
    assert fault_list(Inner, scale=False) == ["credit.outer.scale: must be a number, got False"]


def test_names_are_found_without_importing_the_parts():
    assert "language" in names("policy") and "prompts" not in names("policy")
    assert names("credit") == sorted(names("credit"))


def test_an_option_taken_over_from_another_part_keeps_its_meaning():
    @part()
    class First:
        """A part."""

        scale: Annotated[float, Field(ge=0)] = 0.5
        """Its scale."""
        plain: int = 1
        """A plain number."""

    @part()
    class Second(First):
        """Another part."""

        plain: int = 2
        own: int = 1
        """Its own."""

    meanings = {name: field.description for name, field in Second.__pydantic_fields__.items()}
    assert meanings == {"scale": "Its scale.", "plain": "A plain number.", "own": "Its own."}
