"""A language policy that draws: text to pictures, the judge of them, the demonstrations, and a whole run."""

import copy

import numpy as np
import pytest
import torch

from oneloop.core.declared import declared
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.judge.decoded import Decoded
from oneloop.judge.digit import Digit, classifier, probabilities
from oneloop.models.image_tokenizer.as_text import as_text, from_text
from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.data.digits import Digits
from oneloop.sample.data.image_codes import ImageCodes
from tests.support.rounding import room

MODEL = {"tokens": 4, "hidden_size": 16, "heads": 2, "layers": 1, "codebook_size": 32, "patch": 4}


def drawn(texts, rows):
    columns = {
        "text": texts,
        "example": rows,
        "key": torch.arange(len(rows)),
        "last": torch.full((len(rows),), -1),
    }
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}))


def test_text_ends_where_its_codes_do():
    codes = torch.tensor([3, 31, 0])
    assert from_text(as_text(codes), 32, 8).tolist() == [3, 31, 0]
    assert from_text(as_text(codes), 31, 8).tolist() == [3]
    assert from_text(as_text(codes) + "x" + as_text(codes), 32, 8).tolist() == [3, 31, 0]
    assert from_text(as_text(codes), 32, 2).tolist() == [3, 31]
    assert from_text("7", 32, 2).tolist() == []


@torch.no_grad()
def decoded(tokenizer, image, length):
    """What `tokenizer` makes of the first `length` of its own codes of `image`."""
    return tokenizer.decode(tokenizer.encode(image), length)


def test_a_picture_is_decoded_from_the_codes_of_the_text():
    part = Decoded(tokenizer=OneDPiece(**MODEL), judge=Digit())
    data = ImageCodes(data=Digits(), tokenizer=OneDPiece(**MODEL))
    rows = [data[key] for key in range(3)]
    texts = [rows[0]["completion"], rows[1]["completion"][:2], ""]
    judged = part(drawn(texts, rows))
    tokenizer = part.loaded
    for place, length in ((0, 4), (1, 2)):
        image = torch.as_tensor(rows[place]["image"])[None]
        wanted = decoded(tokenizer, image, length)[0]
        gap = room(
            lambda move, image=image, length=length: decoded(move(copy.deepcopy(tokenizer)), image, length)
        )
        torch.testing.assert_close(judged.output[place], wanted, atol=gap, rtol=0)
        chances = classifier().predict_proba(wanted.flatten()[None].double().numpy())[0]
        # a chance p moves by at most half the largest weight of a pixel times what pixels moved in sum
        moved = 0.5 * float(np.abs(classifier().coef_).max()) * 64 * gap
        assert float(judged["reward.digit"][place]) == pytest.approx(chances[rows[place]["label"]], abs=moved)
    assert float(judged["reward.digit"][2]) == float(judged.correct[2]) == 0
    assert set(declared(part, "writes")) == {"reward.digit", "error.digit", "correct", "output"}
    assert declared(part, "reads") == ("text", "example")
    assert (part.name, part.weight) == ("digit", 1.0)


def test_the_classifier_knows_digits_it_has_not_seen():
    held_out = Digits(split="test")
    rows = [held_out[key] for key in range(len(held_out))]
    outputs = torch.stack([torch.as_tensor(row["image"]) for row in rows])
    judged = Digit()(drawn([""] * len(rows), rows).put(output=outputs))
    assert float(judged.correct.mean()) > 0.94
    known = classifier().predict_proba(outputs.flatten(1).double().numpy())
    torch.testing.assert_close(probabilities(outputs), torch.from_numpy(known), atol=1e-12, rtol=0)
    large = outputs.repeat(1, 3, 1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(probabilities(large), torch.from_numpy(known), atol=1e-5, rtol=0)


def test_rows_and_pictures_that_do_not_do():
    with pytest.raises(JudgeError, match="needs the column 'label'; row 0 has none"):
        Digit()(drawn([""], [{}]).put(output=torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ValueError, match="image_codes.tokens: 9, but an image has 4"):
        ImageCodes(data=Digits(), tokenizer=OneDPiece(**MODEL), tokens=9)[0]


def test_the_shipped_recipe_draws_with_a_tokenizer_of_its_own(tmp_path):
    OneDPiece(**MODEL).build().save_pretrained(tmp_path / "checkpoint-3")
    folder = f"{{one_d_piece: {{folder: {tmp_path}}}}}"
    small = [
        "policy.language.model.picture_llama.codes=32",
        "policy.language.model.picture_llama.hidden_size=16",
    ]
    changes = [
        *small,
        "policy.language.max_new_tokens=4",
        f"evaluate.judge=[{{decoded: {{tokenizer: {folder}, judge: digit}}}}]",
        "evaluate.size=8",
        f"phases.warm_start.plan.data.image_codes.tokenizer={folder}",
        f"phases.grpo.judge=[{{decoded: {{tokenizer: {folder}, judge: digit}}}}]",
        "phases.grpo.plan.dress=[{draw_budget: {least: 2, most: 4}}]",
        "phases.warm_start.steps=3",
        "phases.grpo.steps=3",
        "phases.grpo.plan.groups=4",
    ]
    run = Run(load_recipe("one_d_piece_grpo", changes)[0], tmp_path / "run", show=Show(quiet=True))
    run.train()
    first, *_, last = run.history
    assert first["phase"] == "warm_start" and first["nll"] > 0
    assert last["phase"] == "grpo" and 2 <= last["completions/mean_length"] <= 4
    assert last["rewards/digit/mean"] > 0 and last["completions/clipped_ratio"] == 0
