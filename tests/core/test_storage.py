"""storage.py: what goes in comes out, what cannot be stored is named, a crash leaves nothing half done."""

import math
import multiprocessing
import os
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
    storage.write_folder(folder, lambda path: (path / "whole").write_text("x"))
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_replace_file_swaps_whole_files(tmp_path):
    path = tmp_path / "new" / "latest"
    storage.replace_file(path, "1")
    storage.replace_file(path, "2")
    assert path.read_text() == "2" and [found.name for found in path.parent.iterdir()] == ["latest"]
