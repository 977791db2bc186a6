"""What a model's folder may be, and in which words another is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM, T5Config

from oneloop.sample.policies.tokens.loading import open_model, outline

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def opened_error(folder) -> str:
    with pytest.raises(ValueError) as found:
        open_model(str(folder), torch.float32, None)
    assert str(found.value).startswith("policy.language.model: ")
    return str(found.value)


@pytest.fixture
def llama(folders, tmp_path):
    shutil.copytree(folders["llama"], tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_code_of_a_folder_is_never_run_even_if_someone_would_say_yes(llama, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (llama / "own.py").write_text(f"open({str(llama / 'ran')!r}, 'w').close()\nclass C: pass\n")
    edit(llama, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.C"})
    assert "it brings its own code, which is never run" in opened_error(llama)
    with pytest.raises(ValueError, match="it brings its own code, which is never run"):
        outline(str(llama), torch.float32, None)
    assert not (llama / "ran").exists()


def test_another_kind_of_model_is_called_by_its_name(llama):
    T5Config(d_model=8, num_layers=1, vocab_size=10).save_pretrained(llama)
    assert "T5Config is not the configuration of a causal language model" in opened_error(llama)


def test_quantised_weights_are_refused_before_and_while_loading(llama):
    edit(llama, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    said = opened_error(llama)
    assert (
        "are quantised (bitsandbytes); such are not trained here; take the model that they were made of"
        in said
    )
    with pytest.raises(ValueError, match="are quantised"):
        outline(str(llama), torch.float32, None)


def test_weights_that_are_missing_or_not_finite_are_named(llama):
    model = LlamaForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    model.save_pretrained(llama)
    said = opened_error(llama)
    assert "weights that are not finite numbers (model.layers.0.mlp.down_proj.weight)" in said
    edit(llama, num_hidden_layers=model.config.num_hidden_layers + 1)
    assert "has no weights for model.layers" in opened_error(llama)


@pytest.mark.parametrize(
    ("file", "text"),
    [("config.json", "{"), ("config.json", '{"model_type": "never"}'), ("tokenizer.json", "x")],
)
def test_a_damaged_folder_is_a_sentence(llama, file, text):
    (llama / file).write_text(text)
    assert f"cannot load '{llama}'" in opened_error(llama)


def test_a_folder_without_a_tokenizer_is_a_sentence(llama):
    for file in llama.glob("*token*"):
        file.unlink()
    assert "it has no tokenizer that can be read; put tokenizer.json" in opened_error(llama)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.safetensors", None, "model.safetensors is damaged ("),
        ("model.safetensors", "", "model.safetensors is empty"),
        ("model.safetensors", POINTER, "model.safetensors is a pointer of Git LFS; `git lfs pull`"),
        ("config.json", "{", "config.json is not JSON: Expecting"),
        ("tokenizer.json", POINTER, "tokenizer.json is a pointer of Git LFS; `git lfs pull`"),
    ],
)
def test_files_that_are_damaged_empty_or_pointers_are_named(llama, file, content, words):
    whole = (llama / file).read_bytes()
    (llama / file).write_bytes(whole[: len(whole) // 2] if content is None else content.encode())
    assert f"cannot load '{llama}': {words}" in opened_error(llama)


def test_weights_of_another_size_and_those_without_a_place_are_named(llama, capfd):
    held = load_file(llama / "model.safetensors")
    save_file(held | {"mtp.weight": torch.ones(1)}, llama / "model.safetensors", {"format": "pt"})
    with pytest.warns(
        UserWarning, match=r"has weights that LlamaForCausalLM has no place for \(mtp.weight\)"
    ):
        open_model(str(llama), torch.float32, None)
    save_file(held | {"model.norm.weight": torch.ones(1)}, llama / "model.safetensors", {"format": "pt"})
    said = opened_error(llama)
    assert "do not fit its config.json: model.norm.weight is [1] and must be [" in said
    assert capfd.readouterr().err == "", "no table of another library"


def test_a_file_or_an_address_is_no_folder(llama):
    assert "it is a file; give the folder that holds it" in opened_error(llama / "config.json")
    page = opened_error("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main")
    assert "a model of the hub is named without its address, write Qwen/Qwen3-0.6B" in page


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    assert "there is no such folder" in opened_error(tmp_path / "none")
    assert "there is no such folder" in opened_error("./none")


def test_what_is_kept_of_a_model_is_its_outline(folders):
    model, tokenizer = outline(str(folders["llama"]), torch.bfloat16, None)
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert len(tokenizer) == len(AutoTokenizer.from_pretrained(folders["llama"]))
