"""The two stages: a teacher's codes first, then the decoder alone; on a made-up teacher of 8x8 pixels."""

import pytest
import torch
from safetensors.torch import save_file

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.models.image_tokenizer.teacher import Teacher, open_teacher
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.update.objective.proxy_codes import ProxyCodes
from tests.sample.policies.image_tokens.test_policy import asked
from tests.support.rounding import reordered

SIZES = {
    "predicts": "codes",
    "channels": 1,
    "patch": 2,
    "proxy_codes": 16,
    "proxy_dims": 4,
    "pixel_channels": 32,
    "pixel_multiples": (1, 2),
    "pixel_blocks": 1,
}
MODEL = {"tokens": 4, "hidden_size": 16, "heads": 2, "layers": 1, "codebook_size": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    teacher = Teacher(TokenizerConfig(**SIZES))
    save_file(
        {name: weight.contiguous() for name, weight in teacher.state_dict().items()},
        path / "model.safetensors",
    )
    return path


def test_the_teacher_is_loaded_and_gives_the_nearest_codes(folder):
    teacher, sizes = open_teacher(folder)
    assert sizes == SIZES and not any(weight.requires_grad for weight in teacher.parameters())
    images = torch.rand(3, 1, 8, 8)
    found = teacher.encode(images)
    assert found.shape == (3, 4, 4)
    vectors = teacher.encoder(images).permute(0, 2, 3, 1)
    assert torch.equal(found, torch.cdist(vectors.flatten(0, 2), teacher.codebook).argmin(1).view(3, 4, 4))
    with pytest.raises(ValueError, match="cannot read the teacher"):
        open_teacher(folder / "nowhere")
    with pytest.raises(ValueError, match="holds no teacher"):
        (folder / "other").mkdir()
        save_file({"a": torch.zeros(1)}, folder / "other" / "model.safetensors")
        open_teacher(folder / "other")


def test_the_loss_is_the_cross_entropy_of_the_teachers_codes(folder):
    policy = ImageTokenizer(model=OneDPiece(**MODEL, teacher=str(folder))).open()
    rollouts, _ = policy.demonstrate(asked())
    actions = torch.arange(12)
    loss, readings = ProxyCodes(teacher=str(folder))(policy.at(rollouts, actions), rollouts, actions)
    teacher = open_teacher(folder)[0]
    codes, _, rounding = policy.model.quantize(policy.model.vectors(rollouts.output))
    chances = policy.model.predict(codes, rollouts.budget).log_softmax(1)
    wanted = teacher.encode(rollouts.output)
    nll = -chances.gather(1, wanted[:, None])[:, 0].flatten(1).mean(1)
    # two ways to the same sums; where codes flip under moved weights there is no room to measure
    close = {"rtol": reordered(policy.model), "atol": 0}
    torch.testing.assert_close(readings["nll"], nll.detach(), **close)
    torch.testing.assert_close(loss, nll + rounding, **close)
    for name, weight in teacher.decoder.state_dict().items():
        assert torch.equal(policy.model.pixel_decoder.state_dict()[name], weight)


def test_a_decoder_of_pixels_predicts_no_codes(folder):
    policy = ImageTokenizer(model=OneDPiece(**MODEL)).open()
    rollouts, _ = policy.demonstrate(asked())
    with pytest.raises(ValueError, match="give one_d_piece a `teacher`"):
        ProxyCodes(teacher=str(folder))(policy.at(rollouts, torch.arange(3)), rollouts, torch.arange(3))


def test_the_second_stage_leaves_encoder_and_codes_as_they_are(folder, tmp_path):
    phase = {
        "sample": "demonstrations",
        "plan": {"data": "digits", "groups": 8, "dress": [{"draw_budget": {"most": 4, "each": "rollout"}}]},
        "learner": {"learning_rate": 3e-3},
    }
    recipe = {
        "policy": {
            "image_tokenizer": {
                "model": {"one_d_piece": {**MODEL, "teacher": str(folder)}},
                "revive_every": 2,
            }
        },
        "phases": {
            "codes": {**phase, "steps": 12, "objective": [{"proxy_codes": {"teacher": str(folder)}}]},
            "pixels": {**phase, "steps": 6, "objective": [{"reconstruction": {"train": "decoder"}}]},
        },
        "save_every": 12,
    }
    run = Run(load_recipe(recipe)[0], tmp_path / "run", show=Show(quiet=True))
    run.train()
    first, second = [[line for line in run.history if line["phase"] == name] for name in ("codes", "pixels")]
    assert first[-1]["nll"] < first[0]["nll"] and second[-1]["nll"] < second[0]["nll"]
    before = OneDPiece(folder=str(tmp_path / "run" / "checkpoint-12")).build().state_dict()
    after = OneDPiece(folder=str(tmp_path / "run")).build().state_dict()
    kept = [name for name in before if torch.equal(before[name], after[name])]
    assert {name.split(".")[0] for name in kept} == {"encoder", "latent_tokens", "quantize"}
    moved = {name.split(".")[0] for name in before if name not in kept}
    assert moved == {"decoder", "pixel_decoder", "pixel_quantize"}
