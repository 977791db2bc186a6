import math

import pytest
import torch

from oneloop.models.handwriting.sup_con import sup_con

VIEWS = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [-0.6, 0.8]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("writers", "temperature", "wanted"),
    [((0, 1), 0.07, 0.9018710814), ((0, 1), 1.0, 0.8005876379), ((0, 0), 0.07, 6.4256805)],
)
def test_worked_examples(writers, temperature, wanted):
    loss = sup_con(VIEWS, torch.tensor(writers), temperature).mean()
    assert float(loss) == pytest.approx(wanted, abs=1e-6)


def test_orthogonal_writers_with_equal_views():
    views = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)
    loss = float(sup_con(views, torch.tensor([0, 1])).mean())
    assert loss == pytest.approx(1.2497491e-06, abs=1e-12)
    assert loss == pytest.approx(math.log1p(2 * math.exp(-1 / 0.07)), abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_vectors_of_different_writers(count):
    views = torch.ones(count, 2, 1, dtype=torch.float64)
    loss = sup_con(views, torch.arange(count))
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2 * count - 1)))


def test_one_writer_with_two_views_is_zero():
    assert float(sup_con(VIEWS[:1], torch.tensor([5]))) == 0.0


def test_rotation_and_order_change_nothing():
    generator = torch.Generator().manual_seed(0)
    views = torch.nn.functional.normalize(
        torch.randn(4, 2, 3, dtype=torch.float64, generator=generator), dim=2
    )
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    writers, order = torch.tensor([0, 1, 0, 2]), torch.tensor([2, 0, 3, 1])
    loss = sup_con(views, writers)
    torch.testing.assert_close(sup_con(views @ turn, writers), loss)
    torch.testing.assert_close(sup_con(views[order], writers[order]), loss[order])
