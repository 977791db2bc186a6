"""1, 2 and 4 ranks make the same run: the same batches, and metrics and weights to 1e-5."""

from functools import partial
from pathlib import Path

import pytest
from tests.support import ranks, training
from tests.support.ranks import assert_same, options


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process."""
    folder = tmp_path_factory.mktemp("alone")
    for form in ("full", "lora"):
        training.train(folder / form, **options(form))
    return folder


@pytest.mark.parametrize(
    ("size", "forms"),
    [
        (2, (("full", "fsdp2"), ("full", "ddp"))),
        # the rank of the adapters is 2 and every other width is odd somewhere: shares are uneven, or empty
        (4, (("lora", "fsdp2"), ("lora", "ddp"))),
    ],
)
def test_ranks_make_the_run_of_one_process(size, forms, alone, tmp_path):
    ranks.together(size, ranks.runs, tmp_path, *forms)
    for form, parallel in forms:
        assert_same(alone / form, tmp_path / f"{form}-{parallel}")


def test_a_run_goes_on_on_another_number_of_ranks(tmp_path):
    for steps, size in ((1, 1), (2, 2), (3, 1)):
        more = options("full", steps=steps)
        training.train(tmp_path / "alone", resume=steps > 1, **more)
        if size == 1:
            training.train(tmp_path / "moved", resume=steps > 1, **more)
        else:
            ranks.together(size, partial(ranks.train, tmp_path / "moved", resume=True, **more))
    assert_same(tmp_path / "alone", tmp_path / "moved")
