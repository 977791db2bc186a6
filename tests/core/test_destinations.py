"""A place that cannot be written is named, with what is in the way, before anything is done for it."""

import os
from pathlib import Path

import pytest

from oneloop.core.destinations import Unwritable, check_apart, check_file, check_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize("place", ["new", "folder/new", "a/b/new", "file", "../new"])
def test_what_can_be_written_is_given_back_and_not_made(here, place):
    assert check_file(Path(place)) == Path(place)
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder", "loop"]


@pytest.mark.parametrize("place", ["folder", "new", "folder/a/b", "."])
def test_folders_too(here, place):
    assert check_folder(Path(place)) == Path(place)
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder", "loop"]


@pytest.mark.parametrize(
    ("check", "place", "said"),
    [
        (check_file, "folder", "cannot write the file folder: it is a folder"),
        (check_folder, "file", "cannot write to file: it is a file, not a folder"),
        (check_folder, "file/run", "cannot write to file/run: file is a file, not a folder"),
        (check_file, "file/a/b.json", "cannot write to file/a/b.json: file is a file, not a folder"),
        (check_file, "n" * 300, ".*: file name too long"),
        (check_folder, f"{'n' * 300}/run", ".*: file name too long"),
        (check_file, "zero\0byte", ".*: .*null (byte|character)"),
        (check_folder, "loop/run", "cannot write to .*loop"),
    ],
)
def test_what_is_in_the_way_is_named(here, check, place, said):
    with pytest.raises(Unwritable, match=said):
        check(Path(place))


def test_the_home_folder_of_a_shell_is_written_out(here, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    with pytest.raises(Unwritable, match="to ~/run: ~ is the home folder .* alone, write /home/ada/run$"):
        check_folder(Path("~/run"))
    assert check_file(Path("~draft.json")) == Path("~draft.json"), "no user is called draft.json"
    Path("~").mkdir()
    assert check_folder(Path("~/run")) == Path("~/run")


@pytest.mark.parametrize("check", [check_file, check_folder])
def test_a_folder_without_permission_is_named(here, check, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(
        Unwritable, match="cannot write to folder/new: there is no permission to write to folder"
    ):
        check(Path("folder/new"))


@pytest.mark.parametrize("place", ["file", "folder/../file", "link"])
def test_a_file_that_is_read_is_not_replaced(here, place):
    Path("link").symlink_to("file")
    with pytest.raises(Unwritable, match="it is a file that is read, and would be replaced"):
        check_apart(Path(place), Path("other"), Path("file"))
    check_apart(Path("new"), Path("file"))
