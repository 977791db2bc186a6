import shutil
import stat

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.judge.tesseract import Tesseract, written
from oneloop.update.objective.reward_backprop import RewardBackprop

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="the program tesseract is not installed (tesseract-ocr)"
)


def printed(text):
    """[1, 32, 140] of a word in print."""
    image = Image.new("L", (140, 32), 255)
    ImageDraw.Draw(image).text((8, 2), text, fill=0, font=ImageFont.load_default(24))
    return torch.from_numpy(np.array(image, dtype=np.float32))[None] / 255


def shown(written, texts):
    columns = {
        "output": torch.stack([printed(each) for each in written]),
        "example": [{} if text is None else {"prompt": text} for text in texts],
        "key": torch.arange(len(texts)),
        "last": torch.full((len(texts),), -1),
    }
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}))


def stand_in(folder, monkeypatch, script):
    """A program called tesseract that runs `script` instead."""
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))


@needs_tesseract
def test_it_reads_print():
    """It may see a quotation mark where there is none, so only the order of scores is sure."""
    judged = Tesseract(seconds=60)(shown(["window", "garden", "garden"], ["window", "garden", "window"]))
    right, also, wrong = judged["reward.tesseract"].tolist()
    assert min(right, also) > 0.6 and wrong < 0.4
    assert "window" in judged["extra.tesseract"][0]["text"]


def test_pages_are_told_apart(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, r"printf 'one\n\f\ft w o\n'")
    judged = Tesseract()(shown(["a", "b", "c"], ["one", "one", "two"]))
    assert judged["reward.tesseract"].tolist() == [1, 0, 1]
    assert [each["cer"] for each in judged["extra.tesseract"]] == [0, 1, 0]


def test_a_slow_program_is_an_error_of_the_judge(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 30")
    judged = Tesseract(seconds=0.2)(shown(["a"], ["a"]))
    assert judged["reward.tesseract"].isnan().all() and judged.correct.isnan().all()
    assert judged["error.tesseract"] == ["tesseract took more than 0.2 s a picture"]


def test_capitals_may_count_as_small_letters(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "printf 'money'")
    scores = [Tesseract(ignore_case=same)(shown(["a"], ["Money"])) for same in (False, True)]
    assert [float(each["reward.tesseract"]) for each in scores] == pytest.approx([0.8, 1])


def test_what_it_says_when_it_fails_is_passed_on(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, 'echo "Error opening data file xyz.traineddata" >&2; exit 1')
    with pytest.raises(JudgeError, match="failed with code 1 on 1 pictures: Error opening data file xyz"):
        Tesseract(language="xyz")(shown(["a"], ["a"]))
    stand_in(tmp_path, monkeypatch, "printf 'one'")
    with pytest.raises(JudgeError, match="failed with code 0 on 2 pictures: it says nothing"):
        Tesseract()(shown(["a", "b"], ["a", "b"]))


def test_without_the_program_or_a_text(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(JudgeError, match="needs the program tesseract: install .* tesseract-ocr"):
        Tesseract()(shown(["a"], ["a"]))
    with pytest.raises(JudgeError, match="needs a text in the column 'prompt' of data row 0"):
        Tesseract()(shown(["a"], [None]))
    with pytest.raises(ValueError, match="cannot be differentiated"):
        RewardBackprop(judge=Tesseract())


def test_one_call_reads_as_many_pictures_as_asked_in_their_order(tmp_path, monkeypatch):
    """The program is told the files in a list, to take each for one word, and the language."""
    log = tmp_path / "log"
    script = f'echo "$(wc -l < "$1") $2 $3 $4 $5 $6 $OMP_THREAD_LIMIT" >> {log}\n'
    # what is read is the number of the file
    script += r"""sed 's#.*/##; s#\.png##' "$1" | awk 'NR > 1 { printf "\f" } { print }'"""
    stand_in(tmp_path, monkeypatch, script)
    judged = Tesseract(pictures_per_call=2, language="eng+deu")(
        shown(list("abcde"), ["0", "1", "0", "0", "0"])
    )
    assert judged["reward.tesseract"].tolist() == [1, 1, 1, 0, 1]
    assert [each["text"] for each in judged["extra.tesseract"]] == ["0", "1", "0", "1", "0"]
    calls = [" ".join(line.split()) for line in log.read_text().splitlines()]
    assert calls == [f"{count} stdout --psm 8 -l eng+deu 1" for count in (2, 2, 1)]
    assert Tesseract().read([]) == [] and len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("height", "size"), [(16, (24 * 4 + 32, 96)), (64, (24 + 32, 96)), (80, (24 + 32, 112))]
)
def test_small_words_are_scaled_up_and_have_paper_around(height, size):
    image = torch.zeros(3, height, 24)
    image[0], image[1] = 0.9, 1.2  # a mean of 0.7; what is out of range counts, its mean does not
    made = np.asarray(written(image))
    assert made.shape == size[::-1]
    assert (made[:16] == 255).all() and (made[:, -16:] == 255).all()
    assert (made[16:-16, 16:-16] == round(0.7 * 255)).all()
