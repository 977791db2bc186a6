"""smollm2.py: the folder is used where it is, and a missing one is met with the command that makes it."""

import pytest
import torch

from oneloop.models.language.small_llama import SmallLlama
from oneloop.models.language.smollm2 import FOLDER, NotFetched, Smollm2


def test_a_missing_folder_is_met_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFetched, match="`oneloop fetch smollm2` makes it .*`oneloop train tiny`"):
        Smollm2().build()
    with pytest.raises(NotFetched, match="`oneloop fetch smollm2 --to elsewhere` makes it"):
        Smollm2(folder="elsewhere").build()


def test_the_folder_is_loaded_with_its_template_in_fp32(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small, letters = SmallLlama(hidden_size=32, layers=1).build()
    small.save_pretrained(FOLDER)
    letters.save_pretrained(FOLDER)
    model, tokenizer = Smollm2().build()
    assert model.dtype == torch.float32 and tokenizer.chat_template == letters.chat_template
    for name, weight in small.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    with torch.device("meta"):
        shape, _ = Smollm2().build()
    assert shape.device.type == "meta" and shape.num_parameters() == small.num_parameters()
