"""1, 2 and 4 ranks make the same run: the same batches, metrics to 1e-5, and weights to 1e-6."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.support import ranks, training
from tests.support.ranks import assert_same, options

from oneloop.run.checkpoint import checkpoints, sound

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process."""
    folder = tmp_path_factory.mktemp("alone")
    for form in ("full", "lora"):
        training.train(folder / form, **options(form))
    return folder


MIXED = {
    "embed_tokens": "S0",
    "q_proj": "S0",
    "k_proj": "S1",
    "gate_proj": "S0",
    "down_proj": "S1",
    "input_layernorm": "S0",
    "lm_head": "S0",
}
"""On one axis: tables and norms cut, layers cut by rows and by columns, others whole."""
OVER_TWO = {
    "embed_tokens": "S0,S1",
    "q_proj": "S0,S0",
    "k_proj": "R,S1",
    "v_proj": "S1,R",
    "gate_proj": "S1,S0",
    "down_proj": "S0,S1",
    "norm": "S0,R",
    "lm_head": "S0,S0",
}
"""The batch is cut over the first axis, layers over the second."""


@pytest.mark.parametrize(
    ("size", "forms"),
    [
        (2, (("full", "fsdp2"), ("full", "ddp"), ("full", "plan"))),
        # the rank of the adapters is 2 and every other width is odd somewhere: shares are uneven, or empty
        (4, (("lora", "fsdp2"), ("lora", "ddp"), ("lora", "plan"))),
    ],
)
def test_ranks_make_the_run_of_one_process(size, forms, alone, tmp_path):
    ranks.write_plan(tmp_path / "2.json", (2,), "R", MIXED)
    ranks.write_plan(tmp_path / "4.json", (2, 2), "S0,R", OVER_TWO)
    ranks.together(size, ranks.runs, tmp_path / "runs", *forms)
    for form, parallel in forms:
        assert_same(alone / form, tmp_path / "runs" / f"{form}-{parallel}")


def last_part_is_damaged(run: Path) -> None:
    """A bit of what one rank wrote flips, and the checkpoint before is the one to go on from."""
    before, newest = checkpoints(run)
    part = sorted((newest / "optimizer").iterdir())[-1]
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    good, ((folder, error),) = sound(run)
    assert good == before and folder == newest and f"optimizer/{part.name}" in str(error)


def test_a_run_goes_on_on_another_number_of_ranks(tmp_path):
    for steps, size in enumerate((1, 2, 4, 1), start=1):
        more = options("full", steps=steps)
        training.train(tmp_path / "alone", resume=steps > 1, **more)
        if size == 1:
            training.train(tmp_path / "moved", resume=steps > 1, **more)
        else:
            ranks.together(size, partial(ranks.train, tmp_path / "moved", resume=True, **more))
            parts = list((checkpoints(tmp_path / "moved")[-1] / "optimizer").iterdir())
            assert len(parts) == size
        if size == 4:
            newest = shutil.copytree(checkpoints(tmp_path / "moved")[-1].parent, tmp_path / "damaged")
            last_part_is_damaged(newest)
    assert_same(tmp_path / "alone", tmp_path / "moved")
