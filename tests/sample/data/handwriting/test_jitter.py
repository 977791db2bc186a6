import numpy as np
import pytest

from oneloop.sample.data.handwriting.jitter import Jitter, jittered


def stroke(height=64, width=40):
    """An upright stroke on paper."""
    image = np.ones((height, width))
    image[8:-8, 18:22] = 0
    return image


def random(seed=0):
    return np.random.default_rng(seed)


def test_without_jitter_a_word_is_only_cut():
    found = jittered(stroke(), 64, Jitter(), random())
    assert found.shape == (64, 8) and found.dtype == np.float32
    assert (found[8:-8, 2:6] == 0).all() and (found[:, :2] == 1).all() and (found[:, 6:] == 1).all()


def test_small_words_are_means_of_large_ones():
    found = jittered(stroke(), 16, Jitter(), random())
    assert found.shape == (16, 2)
    assert found[8].tolist() == [0.5, 0.5]  # 2 of margin and 2 of ink, in each pixel


def test_shear_leans_by_at_most_so_many_degrees():
    """The ends of a stroke of 48 pixels are up to 47 tan 20 = 17.1 pixels apart."""
    apart = []
    for seed in range(20):
        found = jittered(stroke(), 64, Jitter(shear=20), random(seed))
        ends = [np.average(np.arange(found.shape[1]), weights=1 - found[row]) for row in (8, 55)]
        apart.append(ends[1] - ends[0])
    assert -17.2 < min(apart) < -8 and 8 < max(apart) < 17.2


def test_scale_changes_the_height_of_ink():
    heights = []
    for seed in range(20):
        found = jittered(stroke(), 64, Jitter(scale=0.1), random(seed))
        heights.append((1 - found).max(1).sum())
    assert 43 < min(heights) < 47 and 49 < max(heights) < 53


def test_dilation_adds_up_to_one_pixel_at_each_side():
    area = [float((1 - jittered(stroke(), 64, Jitter(dilation=1), random(seed))).sum()) for seed in range(20)]
    assert 48 * 4 < min(area) < 220 and 260 < max(area) < 50 * 6


@pytest.mark.parametrize("jitter", [Jitter(elastic=0.02), Jitter(texture=0.2), Jitter(noise=0.1)])
def test_each_kind_of_jitter_is_drawn_from_the_generator(jitter):
    one, again, other = (jittered(stroke(), 64, jitter, random(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert one.min() >= 0 and one.max() <= 1


def test_noise_and_texture_have_the_stated_strength():
    paper = np.full((64, 4000), 0.5)
    noisy = jittered(paper, 64, Jitter(noise=0.05), random())[:, 2:-2]
    assert abs(noisy.std() - 0.05) < 0.001  # 256,000 pixels
    shaded = jittered(paper, 64, Jitter(texture=0.2), random())[:, 2:-2]
    assert shaded.min() > 0.4 and abs(shaded.mean() - 0.45) < 0.005
