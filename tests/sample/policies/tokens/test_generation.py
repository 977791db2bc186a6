"""What a model's generation_config.json asks for is said where the recipe samples otherwise."""

import json

import pytest

from oneloop.sample.policies.tokens.generation import unheeded

LAW = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95}, "temperature 0.6, top_p 0.95;"),
        ({"temperature": 0.6}, ""),
        ({"do_sample": True, "eos_token_id": 3}, ""),
        (
            {"repetition_penalty": 1.1, "suppress_tokens": [5, 7], "stop_strings": ["x"]},
            "repetition_penalty 1.1, suppress_tokens [5, 7], stop_strings ['x'];",
        ),
    ],
)
def test_settings_that_differ_are_named(asked, said, tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps(asked))
    sentence = unheeded(str(tmp_path), LAW)
    assert (f"asks for {said}" in sentence) if said else sentence == ""


def test_a_recipe_that_does_as_the_file_says_hears_nothing(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 20}')
    assert unheeded(str(tmp_path), LAW | {"temperature": 0.6, "top_k": 20}) == ""
    assert "asks for top_k 20;" in unheeded(str(tmp_path), LAW | {"temperature": 0.6})


def test_no_file_and_no_folder_ask_for_nothing(tmp_path):
    assert unheeded(str(tmp_path), LAW) == unheeded(object(), LAW) == ""
    (tmp_path / "generation_config.json").write_text("{")
    assert unheeded(str(tmp_path), LAW) == ""
