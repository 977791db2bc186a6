import sys

import pytest

from oneloop.judge.isolation.confinement import LAYERS
from oneloop.judge.isolation.notice import notice, sentence
from oneloop.judge.isolation.sandbox import Sandbox


def without(*layers):
    return dict.fromkeys(layers, "Operation not permitted")


def test_nothing_is_said_where_one_layer_of_each_guard_holds():
    assert sentence({}) is None
    assert sentence(without("user", "processes", "network", "root")) is None
    assert sentence(without("landlock", "seccomp")) is None


@pytest.mark.parametrize(
    ("missing", "deed", "kept"),
    [
        (("root", "landlock"), "read the files of this user", "network connections"),
        (("network", "seccomp"), "open network connections", "files"),
        (("processes", "seccomp"), "see and signal other processes", "files"),
    ],
)
def test_what_no_layer_prevents_is_said(missing, deed, kept):
    told = sentence(without(*missing))
    assert deed in told and kept not in told
    if sys.platform == "linux":
        assert "Operation not permitted" in told


def test_the_system_is_asked_and_not_guessed():
    bare = Sandbox("builtins.bool", layers=())
    assert bare.missing == dict.fromkeys(LAYERS, "switched off")
    bare.close()
    asked = Sandbox("builtins.bool")
    assert notice() == sentence(asked.missing)
    asked.close()
