"""Prompts from the command line: as a run was trained; a model of others by its chat template."""

import pytest
import yaml

from oneloop.cli.chat import as_message
from oneloop.cli.evaluate import on_what
from oneloop.models.language.small_llama import SmallLlama
from tests.recipe.test_recipe import changed


@pytest.fixture
def model(tmp_path):
    made, tokenizer = SmallLlama(hidden_size=16, layers=1, heads=2).build()
    made.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_of_others_is_spoken_to_by_its_chat_template(model, capsys):
    assert as_message(None, str(model), None)
    assert "written by the model's chat template (--no-chat: plain text)" in capsys.readouterr().out
    assert as_message(True, str(model), None) and not as_message(False, str(model), None)
    (model / "chat_template.jinja").unlink()
    assert not as_message(None, str(model), None)


def test_a_run_is_spoken_to_as_it_was_trained(model, tmp_path):
    for chat in (False, True):
        data = {"reasoning": {"task": "chain_sum", "chat": chat}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": data})))
        assert as_message(None, str(model), tmp_path / "recipe.yaml") is chat
        assert as_message(not chat, str(model), tmp_path / "recipe.yaml") is not chat


def test_data_that_do_not_say_so_are_looked_at(model, tmp_path):
    said = {"text": "hi", "messages": [{"role": "user", "content": "hi"}]}
    for name, prompt in said.items():
        data = {"rows": {"rows": [{"prompt": prompt}]}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": data})))
        assert as_message(None, str(model), tmp_path / "recipe.yaml") is (name == "messages")
    gone = {"hub": {"path": str(tmp_path / "gone.jsonl")}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(plan={"data": gone})))
    assert not as_message(None, str(model), tmp_path / "recipe.yaml")


def test_what_is_measured_on_is_messages_too():
    assert '"chat": true' in on_what("chain_sum", "", "", True)[0]
    assert '"chat": false' in on_what("chain_sum", "", "", False)[0]
    assert '"chat": null' in on_what("", "x.jsonl", "", False)[0]  # messages in the file stay messages
    with pytest.raises(ValueError, match="--chat is of --task or --data"):
        on_what("", "", "", True)


def test_eval_of_a_model_of_others_says_how_it_asks(model, oneloop):
    words = ("--task", "chain_sum", "--size", "2", "-n", "2", "--max-new-tokens", "2")
    code, out, err = oneloop("eval", str(model), *words)
    assert code == 0 and "prompts are a user's messages" in out, err
    code, out, err = oneloop("eval", str(model), *words, "--no-chat")
    assert code == 0 and "prompts are" not in out, err
