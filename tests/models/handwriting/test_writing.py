import numpy as np
import pytest
import torch

from oneloop.models.handwriting.glyphs import UnknownCharacter
from oneloop.models.handwriting.writing import (
    as_picture,
    cut,
    open_writer,
    set_lines,
    words_of_text,
    write_word,
)
from tests.models.handwriting.tiny import TinyOneDm, references
from tests.support.fonts import pillow_font

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from oneloop.models.flow.one_dm import OneDm

    folder = tmp_path_factory.mktemp("writer")
    (folder / "font.ttf").write_bytes(pillow_font())
    part = OneDm(
        height=8,
        letter_width=8,
        letters=2,
        hidden_size=16,
        heads=2,
        channels=(8, 16),
        alphabet="abcdef",
        font=str(folder / "font.ttf"),
    )
    part.build().save(folder / "model")
    return open_writer(folder / "model")


def test_a_word_is_the_same_whatever_else_is_written(network):
    picture = references(16)[0].numpy()
    once = write_word(network, picture, "ab", place=1, steps=3)
    np.testing.assert_array_equal(once, write_word(network, picture, "ab", place=1, steps=3))
    others = [
        write_word(network, picture, "ab", place=2, steps=3),
        write_word(network, picture, "ab", 1, 3, 7),
    ]
    for other in others:
        assert other.shape != once.shape or (other != once).any()
    assert once.min() >= 0
    assert once.max() <= 1


def test_the_canvas_is_that_of_the_training_or_wider(network, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "oneloop.models.handwriting.writing.cut", lambda word: seen.append(word.shape) or word
    )
    for word in ("a", "ab", "abcde"):
        write_word(network, references(16)[0].numpy(), word, steps=2)
    assert seen == [(8, 16), (8, 16), (8, 40)]


def test_words_and_lines(network):
    assert words_of_text(network, "ab  cd\n\nfe") == [["ab", "cd"], [], ["fe"]]
    with pytest.warns(UserWarning, match="1 words, such as 'abc', are longer than the 2 characters"):
        words_of_text(network, "ab abc")


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_text_without_words_is_refused(network, text):
    with pytest.raises(ValueError, match="there is no text to write"):
        words_of_text(network, text)


def test_all_characters_that_cannot_be_written_are_named_with_their_places(network):
    with pytest.raises(UnknownCharacter, match=r"é.* at 4, 10; .*ß.* at 7"):
        words_of_text(network, "ab é\ncßa é")
    with pytest.raises(UnknownCharacter, match="z"):
        words_of_text(network, "z z")


def test_a_word_is_cut_to_its_ink():
    word = np.ones((4, 10), dtype=np.float32)
    word[1, 3:6] = 0
    assert cut(word).shape == (4, 5)
    assert cut(np.ones((4, 10))).shape == (4, 10)


def test_words_are_set_in_lines():
    word = np.zeros((8, 5), dtype=np.float32)
    page = set_lines([[word, word], [], [word]], 8)
    space, leading, margin = 3, 2, 2
    assert page.shape == (3 * 8 + 2 * leading + 2 * margin, 2 * 5 + space + 2 * margin)
    assert page.sum() == page.size - 3 * word.size
    assert not page[margin : margin + 8, margin + 5 + space : margin + 10 + space].any()


def test_ink_on_nothing():
    page = np.array([[0.0, 0.5, 1.0]])
    assert as_picture(page).mode == "L"
    assert np.asarray(as_picture(page, transparent=True))[0].tolist() == [
        [0, 0, 0, 255],
        [0, 0, 0, 127],
        [0, 0, 0, 0],
    ]


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no handwriting model"):
        open_writer(tmp_path)


def test_writing_is_sampling_by_the_policy():
    """The words of `write_word` are those of a flow policy's ODE from the same noise."""
    from oneloop.models.handwriting.writing import noise
    from oneloop.sample.policies.flow import Flow

    flow = Flow(model=TinyOneDm(), steps=4, noise="ode", device="cpu").open()
    picture = references(16)[0].numpy()
    told = flow.network.encode([{"prompt": "ab", "reference": picture}])
    with torch.no_grad():
        known = flow.network.context(told)
        x = noise(flow.network, "ab", 0, 0) * np.hypot(flow.sigmas[0], 1 - flow.sigmas[0])
        for i, move in enumerate(flow._ode):
            v = flow.velocity(x, torch.tensor([flow.sigmas[i]]), known)
            x = move.of_latent * x + move.of_velocity * v
        v = flow.velocity(x, torch.tensor([flow.sigmas[-2]]), known)
        wanted = flow.network.decode(x - flow.sigmas[-2] * v)[0, 0].numpy()
    made = write_word(flow.network, picture, "ab", steps=4)
    np.testing.assert_allclose(made, cut(wanted), atol=2e-3)
