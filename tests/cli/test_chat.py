"""Prompts from the command line: as a run was trained; a model of others by its chat template."""

import pytest
import yaml

from oneloop.cli.chat import manner
from oneloop.cli.evaluate import on_what
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.columns import ColumnOptions
from tests.recipe.test_recipe import changed


@pytest.fixture
def model(tmp_path):
    made, tokenizer = SmallLlama(hidden_size=16, layers=1, heads=2).build()
    made.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_of_others_is_spoken_to_by_its_chat_template(model, capsys):
    assert manner(None, None, str(model), None).chat
    assert "written by the model's chat template (--no-chat: plain text)" in capsys.readouterr().out
    assert manner(True, None, str(model), None).chat and not manner(False, None, str(model), None).chat
    (model / "chat_template.jinja").unlink()
    assert not manner(None, None, str(model), None).chat


def test_a_run_is_spoken_to_as_it_was_trained(model, tmp_path):
    for chat in (False, True):
        data = {"reasoning": {"task": "chain_sum", "chat": chat}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": data})))
        assert manner(None, None, str(model), tmp_path / "recipe.yaml").chat is chat
        assert manner(not chat, None, str(model), tmp_path / "recipe.yaml").chat is not chat


def test_data_that_do_not_say_so_are_looked_at(model, tmp_path):
    said = {"text": "hi", "messages": [{"role": "user", "content": "hi"}]}
    for name, prompt in said.items():
        data = {"rows": {"rows": [{"prompt": prompt}]}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": data})))
        assert manner(None, None, str(model), tmp_path / "recipe.yaml").chat is (name == "messages")
    gone = {"hub": {"path": str(tmp_path / "gone.jsonl")}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": gone})))
    assert not manner(None, None, str(model), tmp_path / "recipe.yaml").chat


def test_the_system_message_of_the_training_data_is_kept(model, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"

    def trained_on(data):
        recipe.write_text(yaml.safe_dump(changed(plan={"data": data})))

    trained_on({"reasoning": {"task": "chain_sum", "system": "Be brief."}})
    asked = manner(None, None, str(model), recipe)
    assert asked.prompt("1+1", "") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1"},
    ]
    assert "the system message of the training data" in capsys.readouterr().out
    assert manner(None, "", str(model), recipe) == ColumnOptions(chat=True)
    assert manner(None, "Be long.", str(model), recipe) == ColumnOptions(chat=True, system="Be long.")
    assert manner(False, None, str(model), recipe).prompt("1+1", "") == "1+1"
    with pytest.raises(ValueError, match="leave out --system, or --no-chat"):
        manner(False, "Be long.", str(model), recipe)
    own = [[{"role": "system", "content": word}, {"role": "user", "content": "hi"}] for word in "aab"]
    trained_on({"rows": {"rows": [{"prompt": prompt} for prompt in own[:2]]}})
    assert manner(None, None, str(model), recipe) == ColumnOptions(chat=True, system="a")
    trained_on({"rows": {"rows": [{"prompt": prompt} for prompt in own]}})
    assert manner(None, None, str(model), recipe) == ColumnOptions(chat=True)  # its rows differ


def test_a_system_message_before_what_is_measured_on():
    assert (
        '"system": "Be brief."'
        in on_what("chain_sum", "", "", ColumnOptions(chat=True, system="Be brief."))[0]
    )
    assert (
        '"system": "Be brief."' in on_what("", "x.jsonl", "", ColumnOptions(chat=True, system="Be brief."))[0]
    )
    with pytest.raises(ValueError, match="--system is of --task or --data"):
        on_what("", "", "", ColumnOptions(system="Be brief."))


def test_what_is_measured_on_is_messages_too():
    assert '"chat": true' in on_what("chain_sum", "", "", ColumnOptions(chat=True))[0]
    assert '"chat": false' in on_what("chain_sum", "", "", ColumnOptions(chat=False))[0]
    # messages in the file stay messages
    assert '"chat": null' in on_what("", "x.jsonl", "", ColumnOptions(chat=False))[0]
    with pytest.raises(ValueError, match="--chat is of --task or --data"):
        on_what("", "", "", ColumnOptions(chat=True))


def test_eval_of_a_model_of_others_says_how_it_asks(model, oneloop):
    words = ("--task", "chain_sum", "--size", "2", "-n", "2", "--max-new-tokens", "2")
    code, out, err = oneloop("eval", str(model), *words)
    assert code == 0 and "prompts are a user's messages" in out, err
    code, out, err = oneloop("eval", str(model), *words, "--no-chat")
    assert code == 0 and "prompts are" not in out, err
