import json

import pytest

from oneloop.cli.train import check_only
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.run.preflight import left_out, preflight
from oneloop.run.row_remarks import RowRemarks
from oneloop.run.run import Run
from oneloop.sample.data.checked import BadRows
from oneloop.sample.data.columns import ColumnOptions

SMALL = {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2, "alphabet": "0123456789+= "}}


def recipe(rows=None, judge=None, on_bad_row="stop", **top):
    data = (
        rows
        if isinstance(rows, dict)
        else {"rows": {"rows": rows or [{"prompt": "1+1=", "answer": "2"}] * 2}}
    )
    made, _ = load_recipe(
        {
            "policy": {"language": {"model": SMALL, "max_new_tokens": 3}},
            "plan": {"data": data, "groups": 2, "count": {"uniform": {"n": 2}}, "on_bad_row": on_bad_row},
            "judge": [judge or {"verifier": {"by": "exact"}}],
            "credit": ["group_relative"],
            "objective": ["policy_gradient"],
            "steps": 2,
            **top,
        }
    )
    return made


def scored(completions, solution):
    return [1.0] * len(completions)


def test_a_good_recipe_has_nothing_to_say():
    assert preflight(recipe()) == []


def test_what_judges_lack_is_said_before_a_model_is_loaded(tmp_path):
    with pytest.raises(RecipeError) as caught:
        Run(recipe(judge={"function": {"path": scored}}), tmp_path / "run")
    (fault,) = caught.value.faults
    assert fault.startswith(
        "recipe.phases.train.judge[0]: 'scored': it asks for 'solution', which is no column"
    )
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        RecipeError, match="judge.0.: 'verifier': by exact needs the column 'answer'; there are: prompt"
    ):
        preflight(recipe(rows=[{"prompt": "1+1="}]))


def test_a_file_that_is_not_there_is_said_with_the_path_in_the_recipe():
    with pytest.raises(RecipeError, match="recipe.phases.train.plan.data: no such file: nowhere.jsonl"):
        preflight(recipe({"hub": {"path": "nowhere.jsonl"}}))


def test_a_data_set_elsewhere_is_not_fetched_for_a_look():
    assert preflight(recipe({"hub": {"path": "nobody/nothing"}}), remote=False) == []


def test_a_dry_run_says_what_a_run_would(tmp_path):
    with pytest.raises(RecipeError, match="no such file: nowhere.jsonl"):
        check_only(recipe({"hub": {"path": "nowhere.jsonl"}}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def mixed(tmp_path):
    rows = [
        {"prompt": "1+1=", "answer": "2"},
        {"prompt": None, "answer": "3"},
        {"prompt": "x²", "answer": "4"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"hub": {"path": str(path)}}


def test_a_bad_row_stops_before_the_model_is_loaded(mixed, tmp_path):
    with pytest.raises(
        RecipeError, match=r"1 of 3 rows cannot be used: .*rows.jsonl line 2: there is no prompt"
    ):
        Run(recipe(mixed), tmp_path / "run")


def test_rows_that_the_policy_cannot_read_stop_before_anything_is_sampled(tmp_path):
    rows = [
        {"prompt": "1+1=", "answer": "2"},
        {"prompt": "x²", "answer": "4"},
        {"prompt": "1" * 9999, "answer": "1"},
    ]
    with pytest.raises(
        BadRows, match=r"2 of 3 rows cannot be used: data row 1: .*'x'.*data row 2 has 9999 tokens"
    ):
        Run(recipe(rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_rows_are_left_out_of_training_and_evaluation_and_said(mixed, tmp_path):
    evaluate = {"data": mixed, "on_bad_row": "skip"}
    run = Run(recipe(mixed, on_bad_row="skip", evaluate=evaluate), tmp_path / "run")
    run.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["n"] for line in lines if line["kind"] == "eval"} == {1}
    assert len([line for line in lines if line["kind"] == "step"]) == 2


def test_rows_without_an_answer_and_messages_written_as_text_are_remarked_on(tmp_path):
    written = json.dumps([{"role": "user", "content": "1+1="}])
    rows = [
        {"prompt": "1+1=", "answer": "2"},
        {"prompt": "1+2=", "answer": None},
        {"prompt": written, "answer": []},
        {"prompt": "[1]", "answer": []},
    ]
    alphabet = {"small_llama": {**SMALL["small_llama"], "alphabet": "".join(sorted({*written, *"123+="}))}}
    asked = recipe(rows, policy={"language": {"model": alphabet, "max_new_tokens": 3}})
    silent, messages = left_out(asked, asked.outline)
    assert silent.startswith(
        "recipe.phases.train.plan.data: 3 of 4 rows have no answer (the first: data row 1): 'verifier' says"
    )
    assert "1 of 4 prompts are JSON of a list of messages as one text (the first: data row 2)" in messages
    assert left_out(recipe(), recipe().outline) == []


def test_turns_that_are_left_out_and_roles_that_templates_do_not_know_are_remarked_on():
    def turns(*roles):
        return [{"role": role, "content": "1+1="} for role in roles]

    seen = RowRemarks(lambda row, where: None, [])
    reading = ColumnOptions()
    for number, roles in enumerate(
        (("user", "assistant"), ("user", "assistant", "user"), ("usr", "assistant"))
    ):
        seen(reading.row({"messages": turns(*roles)}, "x"), f"row {number}")
    seen(reading.row({"prompt": turns("user", "assistant")}, "x"), "row 3")
    beyond, role = seen.sentences()
    assert beyond == (
        "1 of 4 rows have turns after the last one of the assistant (the first: row 1), which are left out"
    )
    assert role == "a message has the role 'usr' (row 2), which few templates know; did you mean 'user'?"
