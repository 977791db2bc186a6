"""What a rank writes it reads back, to the bit, from files that other libraries open."""

import pytest
import torch
from safetensors.torch import load_file

from oneloop.parallel.ranks.stored import read_parts, write_parts

# one rank, as in a run without torchrun, is what is meant here
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

TENSORS = {
    "moment": torch.arange(6, dtype=torch.float32).view(2, 3) / 7,
    "half": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    "steps": torch.tensor(3),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("parts of ü")
    write_parts(made, TENSORS, None)
    return made


def test_tensors_come_back_to_the_bit(folder):
    found = {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()}
    read_parts(folder, found)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_a_part_of_them_can_be_read_alone(folder):
    found = {"half": torch.zeros(2, dtype=torch.bfloat16)}
    read_parts(folder, found)
    assert found["half"].tolist() == [1.5, -2.25]


def test_the_files_are_safetensors(folder):
    (file,) = sorted(folder.glob("shard-00001-model-*.safetensors"))
    assert {name: value.tolist() for name, value in load_file(file).items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }


def test_nothing_is_written_before_the_first_step(tmp_path):
    write_parts(tmp_path, {}, None)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_an_oserror_with_the_rank(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="rank 0 cannot write its part: "):
        write_parts(tmp_path / "taken", TENSORS, None)
