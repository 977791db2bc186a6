"""`oneloop fit`: what it trains, says and refuses."""

import pytest

from oneloop.cli import fit as fit_file
from oneloop.cli.fit import FitError, fit
from oneloop.models.judges.ctc_reader import CtcReader
from oneloop.models.judges.hand_classifier import HandClassifier
from tests.support.fonts import font_folder


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_file, "TESTED", 4)
    return font_folder(tmp_path / "fonts", ("a", "b", "c", "d"))


def test_a_reader_is_trained_measured_and_saved(fonts, tmp_path, capsys):
    fit("reader", tmp_path / "reader", fonts, "seen", "known", 16, 3, 2, 0)
    said = capsys.readouterr().out
    kinds = [f"{who} writers, {words} words" for who in ("seen", "unseen") for words in ("known", "held_out")]
    assert all(kind in said for kind in kinds) and said.count("read wrong") == 4
    assert CtcReader.load(tmp_path / "reader").config.height == 16
    with pytest.raises(FitError, match="holds a model already"):
        fit("hands", tmp_path / "reader", fonts, "seen", "known", 16, 3, 2, 0)


def test_a_classifier_knows_the_writers_it_was_shown(fonts, tmp_path, capsys):
    fit("hands", tmp_path / "hands", fonts, "all", "known", 16, 3, 2, 0)
    assert HandClassifier.load(tmp_path / "hands").config.writers == ("a", "b", "c", "d")
    assert capsys.readouterr().out.count("of the writers recognised") == 2
