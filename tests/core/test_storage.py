"""storage.py: what goes in comes out, what cannot be stored is named, a crash leaves nothing half done."""

import math
import multiprocessing
import os
import pathlib
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core import storage

keys = st.one_of(st.text(max_size=4), st.integers(-5, 5), st.booleans())
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.text(max_size=5), st.floats(allow_nan=False)
)
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def round_trip(folder, state):
    storage.write_folder(folder, lambda path: storage.write_state(path, state))
    return storage.read_state(folder)


@given(states)
def test_any_nesting_comes_back_equal(tmp_path_factory, state):
    back = round_trip(tmp_path_factory.mktemp("state") / "x", state)
    assert back == state and repr(back) == repr(state)  # repr tells True from 1 and (1,) from [1]


@pytest.mark.parametrize("key", ["$tensor", "$float", "$tuple", "$dict", "$"])
def test_keys_that_look_like_marks_are_only_keys(tmp_path, key):
    assert round_trip(tmp_path / "x", {"a": {key: "0"}}) == {"a": {key: "0"}}


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float64, torch.int8]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_tensors_keep_type_and_shape(tmp_path, dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    back = round_trip(tmp_path / "x", {"a": [tensor]})["a"][0]
    assert back.dtype == dtype and torch.equal(back, tensor)


def test_shared_tensors_stay_shared_and_views_are_stored_apart(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3)
    back = round_trip(tmp_path / "x", {"a": tensor, "b": [tensor], "row": tensor[1], "turned": tensor.T})
    assert back["a"] is back["b"][0]
    assert torch.equal(back["row"], tensor[1]) and torch.equal(back["turned"], tensor.T)


def test_numbers_that_are_not_finite(tmp_path):
    back = round_trip(tmp_path / "x", [math.nan, math.inf, -math.inf])
    assert math.isnan(back[0]) and back[1:] == [math.inf, -math.inf]


def test_what_cannot_be_stored_is_named_with_its_place(tmp_path):
    with pytest.raises(TypeError, match=r"state\.a\[1\]\.b: cannot store a set"):
        storage.write_state(tmp_path, {"a": [0, {"b": {1, 2}}]})


@pytest.fixture
def happened(tmp_path, monkeypatch):
    """What is flushed and renamed, in order: names, with temporary ones as "new"."""
    seen = []

    def name(path):
        path = pathlib.Path(path)
        if path.name.startswith("."):
            return "new"
        return f"new/{path.name}" if path.parent.name.startswith(".") else path.name

    def moved(path, to):
        seen.append(f"{name(to)} is there")
        os.replace(path, to)

    monkeypatch.setattr(pathlib.Path, "rename", moved)
    monkeypatch.setattr(pathlib.Path, "replace", moved)
    monkeypatch.setattr(storage, "flush", lambda path: seen.append(f"flush {name(path)}"))
    return seen


def test_flushing_asks_the_system_to_write_this_very_file_or_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append(os.fstat(descriptor).st_ino))
    (tmp_path / "a").write_text("x")
    storage.flush(tmp_path / "a"), storage.flush(tmp_path)
    assert asked == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, happened):
    storage.write_folder(tmp_path / "all" / "made", lambda folder: (folder / "a").write_text("x"))
    assert sorted(happened[:2]) == ["flush new/a", "flush new/checksums.json"]
    assert happened[2:] == ["flush new", "made is there", "flush all"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, happened):
    storage.replace_file(tmp_path / "all" / "made", "x")
    storage.write_entry(tmp_path / "all" / "entry", [1])
    assert happened == ["flush new", "made is there", "flush all", "flush new", "entry is there", "flush all"]


def test_a_folder_is_never_overwritten_nor_left_half_done(tmp_path):
    folder = tmp_path / "deep" / "checkpoint"

    def fail(path):
        (path / "half").write_text("x")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.write_folder(folder, fail)
    assert list(folder.parent.iterdir()) == []
    storage.write_folder(folder, lambda path: (path / "whole").write_text("first"))
    with pytest.raises(FileExistsError, match="never overwritten"):
        storage.write_folder(folder, lambda path: (path / "whole").write_text("second"))
    assert (folder / "whole").read_text() == "first"


def die_while_writing(folder, instant):
    def write(path):
        for i in range(4):
            if i == instant:
                os.kill(os.getpid(), signal.SIGKILL)
            (path / f"{i}").write_text("x" * 1000)

    storage.write_folder(folder, write)


@pytest.mark.parametrize("instant", [0, 2, 3])
def test_a_killed_writer_leaves_no_folder_and_the_next_succeeds(tmp_path, instant):
    folder = tmp_path / "checkpoint"
    child = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(folder, instant))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and not folder.exists()
    assert len(list(tmp_path.iterdir())) == 1, "what it had written"
    storage.write_folder(folder, lambda path: (path / "whole").write_text("x"))
    assert sorted(path.name for path in folder.iterdir()) == ["checksums.json", "whole"]
    storage.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_replace_file_swaps_whole_files(tmp_path):
    path = tmp_path / "new" / "latest"
    storage.replace_file(path, "1")
    storage.replace_file(path, "2")
    assert path.read_text() == "2" and [found.name for found in path.parent.iterdir()] == ["latest"]


@given(states)
def test_an_entry_comes_back_equal(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "x"
    storage.write_entry(path, state)
    back = storage.read_entry(path)
    assert back == state and repr(back) == repr(state)


def test_every_flipped_bit_of_an_entry_is_seen(tmp_path):
    path = tmp_path / "x"
    storage.write_entry(path, {"a": torch.arange(3), "b": "text"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(storage.Damaged, match=r"x is not what was written \(checksum\)"):
            storage.read_entry(path)
        path.write_bytes(whole[:place])
        with pytest.raises(storage.Damaged):
            storage.read_entry(path)


def test_a_folder_is_checked_file_by_file(tmp_path):
    def write(path):
        (path / "loop").mkdir()
        (path / "loop" / "state").write_text("state")
        (path / "weights").write_bytes(b"weights")

    def damaged(words):
        with pytest.raises(storage.Damaged, match=words):
            storage.check_folder(folder)

    folder = tmp_path / "x"
    storage.write_folder(folder, write)
    (folder / "notes").write_text("somebody else's")
    storage.check_folder(folder)
    (folder / "weights").write_bytes(b"weightz")
    damaged(r"weights in x is not what was written \(checksum\)")
    (folder / "weights").write_bytes(b"weight")
    damaged("weights in x has 6 bytes instead of 7")
    (folder / "weights").write_bytes(b"weights")
    (folder / "loop" / "state").unlink()
    damaged("loop/state in x is missing")
    (folder / "checksums.json").write_text("[]")
    damaged("checksums.json in x is unreadable")
    (folder / "checksums.json").unlink()
    damaged("x has no checksums.json")


def test_two_writers_have_temporary_names_of_their_own(tmp_path):
    path = tmp_path / "x"

    def write(inner):
        storage.write_folder(path, lambda _: None)  # while the other is at work
        (inner / "mine").write_text("x")

    with pytest.raises(OSError):  # the name is taken
        storage.write_folder(path, write)
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_only_leftovers_are_swept(tmp_path):
    gone = 2**22 + 1  # beyond the largest process number of Linux
    kept = [f".x.{os.getppid()}-ab.writing", ".x.writing", ".hidden", "x.1-ab.writing", ".x.me-ab.deleting"]
    swept = [f".x.{gone}-ab.writing", f"deep/.x.{gone}-ab.deleting", f".y.{os.getpid()}-ab.writing"]
    for name in [*kept, *swept]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "inside").write_text("x")
    (tmp_path / f".file.{gone}-ab.writing").write_text("x")
    storage.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "deep"}
    assert list((tmp_path / "deep").iterdir()) == []


def test_only_names_of_the_pattern_are_numbered(tmp_path):
    mine = ["checkpoint-6.bak", "checkpoint-", "checkpoint-x", "checkpoint-07", "checkpoint-\u0663", "ask-1"]
    for name in [
        *mine,
        "checkpoint-10",
        "checkpoint-9",
        "checkpoint-0",
        "step-000012.parquet",
        "step-12.parquet",
    ]:
        (tmp_path / name).mkdir()
    assert list(storage.numbered(tmp_path, "checkpoint-{}")) == [0, 9, 10]
    assert storage.numbered(tmp_path, "step-{:06d}.parquet") == {12: tmp_path / "step-000012.parquet"}
    assert storage.numbered(tmp_path / "nowhere", "checkpoint-{}") == {}


def test_what_is_set_aside_keeps_its_content_and_no_name_is_taken_twice(tmp_path):
    for content in ("1", "2", "3"):
        (tmp_path / "x").write_text(content)
        storage.set_aside(tmp_path / "x")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x.damaged": "1",
        "x.damaged-2": "2",
        "x.damaged-3": "3",
    }


def test_half_a_surrogate_in_a_file_is_a_question_mark(tmp_path):
    storage.replace_file(tmp_path / "x", "a\ud800b")
    assert (tmp_path / "x").read_text() == "a?b"
