"""Checkpoints: whole or not there, the newest kept, the one before never touched."""

import errno
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from oneloop.core import storage
from oneloop.run.checkpoint import checkpoints, locate, reached, read_checkpoint, sound, write_checkpoint
from oneloop.update.not_finite import NotFinite


class Policy:
    """One weight."""

    def __init__(self, weight: float = 1.0):
        self.weight = torch.tensor([weight])

    def save(self, folder):
        (folder / "config.json").write_text(json.dumps({"weight": self.weight.item()}))

    def state_dict(self):
        return {"version": 3}

    def restore(self, folder, state):
        assert state == {"version": 3}
        self.weight = torch.tensor([json.loads((folder / "config.json").read_text())["weight"]])


def write(directory, step: int, weight: float = 1.0, keep: int = 2) -> bool:
    return write_checkpoint(directory, step, Policy(weight), {"step": step, "rows": torch.arange(step)}, keep)


def names(directory) -> list[str]:
    return [path.name for path in checkpoints(directory)]


def test_round_trip(tmp_path):
    assert write(tmp_path, 4, weight=0.5)
    policy = Policy()
    state = read_checkpoint(tmp_path / "checkpoint-4", policy)
    assert state["step"] == 4 and state["rows"].tolist() == [0, 1, 2, 3] and set(state) == {"step", "rows"}
    assert policy.weight.item() == 0.5
    assert json.loads((tmp_path / "checkpoint-4/trainer_state.json").read_text())["global_step"] == 4


def test_the_newest_are_kept_in_order_of_steps(tmp_path):
    for step in (8, 9, 10, 100):
        write(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-100"]
    write(tmp_path, 101, keep=1)
    assert names(tmp_path) == ["checkpoint-101"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-101"]


def test_one_that_is_there_stays(tmp_path):
    write(tmp_path, 4, weight=0.5)
    assert not write(tmp_path, 4, weight=0.75)
    policy = Policy()
    read_checkpoint(tmp_path / "checkpoint-4", policy)
    assert policy.weight.item() == 0.5


def test_another_versions_form_is_refused_in_words(tmp_path):
    write(tmp_path, 4)
    trainer = tmp_path / "checkpoint-4/trainer_state.json"
    for other in ({"form": None}, {"form": 2}, {"form": 4}):
        state = json.loads(trainer.read_text())
        trainer.write_text(json.dumps(state | other))
        with pytest.raises(storage.Damaged, match="checkpoint-4 was saved by another version of oneloop"):
            read_checkpoint(tmp_path / "checkpoint-4", Policy())


def test_what_a_kill_left_behind_is_not_a_checkpoint(tmp_path):
    write(tmp_path, 4)
    for name in (
        ".checkpoint-5.1-ab.writing",
        ".checkpoint-3.1-ab.deleting",
        "checkpoint-6.bak",
        "checkpoint-x",
    ):
        shutil.copytree(tmp_path / "checkpoint-4", tmp_path / name)
    (tmp_path / "checkpoint-6").mkdir()  # somebody else's
    assert names(tmp_path) == ["checkpoint-4"]
    assert write(tmp_path, 5)
    assert names(tmp_path) == ["checkpoint-4", "checkpoint-5"]


@pytest.mark.parametrize("who", ["state", "policy"])
def test_a_full_disk_is_a_sentence_and_leaves_the_others(tmp_path, monkeypatch, who):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path, 4)
    with monkeypatch.context() as patch:
        if who == "state":
            patch.setattr("safetensors.torch.save_file", full)
        else:
            patch.setattr(Policy, "save", full)
        with pytest.raises(
            OSError, match=r"cannot save .*checkpoint-5 .*No space left.*before it is whole.*--resume"
        ):
            write(tmp_path, 5, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4"]
    assert write(tmp_path, 5, keep=1)


def test_other_errors_are_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(TypeError, match="state.thing: cannot store a object"):
        write_checkpoint(tmp_path, 5, Policy(), {"thing": object()}, 2)
    assert list(tmp_path.iterdir()) == []


def test_deleting_is_one_moment(tmp_path, monkeypatch):
    write(tmp_path, 4)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed just after the rename
    storage.delete_folder(tmp_path / "checkpoint-4")
    (left,) = tmp_path.iterdir()
    assert (
        names(tmp_path) == [] and left.name.startswith(".checkpoint-4.") and left.name.endswith(".deleting")
    )
    monkeypatch.undo()
    storage.sweep(tmp_path)
    write(tmp_path, 4)
    storage.delete_folder(tmp_path / "checkpoint-4")
    storage.delete_folder(tmp_path / "checkpoint-4")
    assert list(tmp_path.iterdir()) == []


def damage(directory, step: int) -> None:
    path = directory / f"checkpoint-{step}" / "loop" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_newest_sound_one_is_found_and_the_damaged_are_named(tmp_path):
    assert sound(tmp_path) == (None, [])
    for step in (4, 5, 6):
        write(tmp_path, step, keep=3)
    assert sound(tmp_path) == (tmp_path / "checkpoint-6", [])
    damage(tmp_path, 6)
    damage(tmp_path, 5)
    found, damaged = sound(tmp_path)
    assert found == tmp_path / "checkpoint-4"
    assert [(path.name, str(error)) for path, error in damaged] == [
        (name, f"loop/tensors.safetensors in {name} is not what was written (checksum)")
        for name in ("checkpoint-6", "checkpoint-5")
    ]
    damage(tmp_path, 4)
    with pytest.raises(
        storage.Damaged, match="every checkpoint of .* is damaged: .*checkpoint-6.*checkpoint-4"
    ):
        sound(tmp_path)


def test_a_damaged_checkpoint_is_not_evaluated(tmp_path):
    write(tmp_path, 4)
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "recipe.yaml").write_text("")
    for given in (tmp_path, tmp_path / "checkpoint-4"):
        assert locate(str(given)) == (str(tmp_path / "checkpoint-4"), tmp_path / "recipe.yaml")
    damage(tmp_path, 4)
    for given in (tmp_path, tmp_path / "checkpoint-4"):
        with pytest.raises(storage.Damaged, match="checkpoint-4 is not what was written"):
            locate(str(given))


def test_a_checkpoint_that_was_passed_on_without_what_a_resume_reads_is_a_model(tmp_path, monkeypatch):
    write(tmp_path, 4)
    (tmp_path / "recipe.yaml").write_text("")
    folder = tmp_path / "checkpoint-4"
    monkeypatch.chdir(folder)
    assert locate(".") == (".", tmp_path / "recipe.yaml")
    shutil.rmtree(folder / "loop")
    (folder / "trainer_state.json").unlink()
    assert locate(str(folder))[0] == str(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(storage.Damaged, match=f"; if you changed it, delete {folder}/checksums.json"):
        locate(str(folder))


def test_how_far_a_run_may_fall_back(tmp_path):
    assert reached(tmp_path) == (0, 0)
    for step, state in ((4, {"phase": 0, "asks": 3}), (8, {"phase": 0, "asks": 7}), (9, {"phase": 1})):
        write_checkpoint(tmp_path, step, Policy(), state, keep=2)
        assert reached(tmp_path) == {4: (0, 3), 8: (0, 3), 9: (0, 7)}[step]


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path):
    class Diverged(Policy):
        def save(self, folder):
            save_file(
                {"a": torch.ones(2), "b.weight": torch.tensor([1.0, self.value])},
                folder / "model.safetensors",
            )

    diverged = Diverged()
    for diverged.value, before in (
        (float("nan"), "there is no checkpoint before it"),
        (float("inf"), "is checkpoint-3"),
    ):
        with pytest.raises(NotFinite, match=rf"not finite numbers after step 4 \(b.weight\), so .*{before}"):
            write_checkpoint(tmp_path, 4, diverged, {}, 2)
        assert "checkpoint-4" not in [path.name for path in tmp_path.iterdir()]
        write(tmp_path, 3)
    diverged.value = 1e30
    assert write_checkpoint(tmp_path, 4, diverged, {}, 2)
