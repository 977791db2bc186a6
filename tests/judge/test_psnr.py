import pytest
import torch

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.judge.psnr import Psnr


def shown(outputs, images):
    columns = {
        "output": torch.stack(outputs),
        "example": [{} if image is None else {"image": image} for image in images],
        "key": torch.arange(len(outputs)),
        "last": torch.full((len(outputs),), -1),
    }
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}))


def test_decibels():
    black, grey = torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.1)
    judged = Psnr()(shown([grey, black, black], [black.numpy(), black.numpy(), 1 - black.numpy()]))
    assert judged["reward.psnr"].tolist() == pytest.approx([20, 60, 0], abs=1e-5)


def test_a_row_without_an_image():
    with pytest.raises(JudgeError, match="needs the column 'image' of data row 0"):
        Psnr()(shown([torch.zeros(1, 2, 2)], [None]))
