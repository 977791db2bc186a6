"""What a command prints on: an encoding of few characters, a stream that is closed, warnings."""

import io
import runpy
import sys
import warnings

from oneloop.cli import terminal
from oneloop.cli.streams import readable
from oneloop.core import named


def test_a_character_that_the_encoding_lacks_ends_nothing(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)
    with readable():
        print("x² is Größe", flush=True)
    assert out.buffer.getvalue() == rb"x\xb2 is Gr\xf6\xdfe" + b"\n"


def test_a_closed_output_has_a_console(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert runpy.run_path(str(terminal.__file__))["console"].width == 120


def test_warnings_of_oneloop_are_sentences_and_those_of_others_name_their_line():
    before = warnings.formatwarning
    with readable():
        ours = warnings.formatwarning(UserWarning("a b"), UserWarning, named.__file__, 3, "code")
        theirs = warnings.formatwarning(UserWarning("a b"), UserWarning, "/other.py", 3, "code")
    assert ours == "warning: a b\n" and theirs == "/other.py:3: UserWarning: a b\n  code\n"
    assert warnings.formatwarning is before
