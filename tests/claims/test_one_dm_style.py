"""claims/one_dm_style.py: what its encoders see, what a lookup counts, and one short run, the same twice."""

import pytest
import torch
from benchmarks.claims import one_dm_style
from benchmarks.claims.one_dm_style import CLAIM, KINDS, Branch, Encoder, Kind, retrieval

from tests.support.fonts import font_folder

WRITERS = 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A few fonts that look alike, in place of those of the registry."""
    folder = font_folder(tmp_path_factory.mktemp("fonts"), ("a", "b", "c", "d"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_dm_style, "folder", lambda: str(folder))
        patch.setattr(one_dm_style, "CHANNELS", (4, 4, 8, 8))
        patch.setattr(one_dm_style, "STEPS", 2)
        patch.setattr(one_dm_style, "UNSEEN", 2)
        patch.setattr(one_dm_style, "WORDS", 4)
        patch.setattr(one_dm_style, "TESTED", 2)
        one_dm_style.rendered.cache_clear()
        yield one_dm_style
        one_dm_style.rendered.cache_clear()


def weights(kind):
    return sum(weight.numel() for weight in Encoder(kind).parameters())


def test_an_arm_has_the_weights_it_is_compared_for():
    one = weights(KINDS["spatial"])
    assert weights(KINDS["spatial twice"]) == weights(KINDS["spatial + Laplacian"]) == 2 * one
    assert weights(KINDS["Laplacian"]) == one
    assert weights(KINDS["spatial, gated"]) == one + 96 + 1
    assert weights(KINDS["spatial, matched"]) == pytest.approx(2 * one, rel=0.03)
    assert weights(KINDS["spatial, doubled"]) == pytest.approx(4 * one, rel=0.03)
    assert [arm.name for arm in CLAIM.arms] == list(KINDS)


@torch.no_grad()
def test_a_branch_sees_what_its_arm_says():
    ink, edges = (torch.rand(2, 1, 32, 96, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    both = Encoder(Kind(("picture", "edges")))
    found, swapped = both(ink, edges), both(ink, ink)
    assert torch.equal(found[0], swapped[0]) and not torch.equal(found[1], swapped[1])
    for each in found:
        torch.testing.assert_close(each.norm(dim=1), torch.ones(2))
    gated = Branch(1.0, gated=True)
    gated.gate.weight.zero_()
    gated.gate.bias.fill_(20.0)  # a gate that is open is none
    plain = Branch(1.0, gated=False)
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if "gate" not in name})
    torch.testing.assert_close(gated(ink), plain(ink), atol=1e-6, rtol=0)


@pytest.mark.parametrize("knows", [True, False])
def test_a_lookup_counts_words_found_by_their_own_writer(monkeypatch, knows):
    """An encoder that knows the writer is always right; one that sees nothing always says the first."""
    who = torch.arange(5.0).view(5, 1, 1, 1, 1).expand(5, 24, 1, 1, 1)
    monkeypatch.setattr(one_dm_style, "rendered", lambda paper: (who, who))

    def encoder(ink, edges):
        code = torch.eye(5)[ink.flatten().long()]
        return [code if knows else torch.ones_like(code)]

    assert retrieval(encoder, "clean", [0, 2, 3, 4], seed=0) == (1.0 if knows else 0.25)


def test_pictures_are_ink_with_its_edges(drawn):
    ink, edges = drawn.rendered("clean")
    assert ink.shape == edges.shape == (WRITERS, 4, 1, 32, 96)
    assert ink.min() == 0 and ink.max() <= 1 and edges.min() >= 0 and edges.max() <= 1
    assert (ink[..., -8:] == 0).float().mean() > 0.5  # short words are padded with paper
    noisy, _ = drawn.rendered("noisy")
    assert (noisy > 0).float().mean() > 1.5 * (ink > 0).float().mean()


def test_one_short_run_is_the_same_twice_and_other_by_another_seed(drawn):
    rows = {name: drawn.train(name, 1e-3, 1) for name in KINDS}
    told = {f"{paper}, {moment}" for paper in ("clean", "noisy") for moment in ("early", "end")}
    for columns in rows.values():
        assert set(columns) == {*told, "work", "parameters"}
        assert columns["work"] == 2 * 2 * 24 * 2  # papers, steps, writers, words of each
        assert all(0 <= columns[name] <= 1 for name in told)
    first, again, other, faster = (
        list(drawn.trained(KINDS["spatial"], "clean", [0, 2, 3], seed, 2, rate))[-1]
        for seed, rate in ((1, 1e-3), (1, 1e-3), (2, 1e-3), (1, 1e-2))
    )
    for a, b, *others in zip(*(each.parameters() for each in (first, again, other, faster)), strict=True):
        assert torch.equal(a, b) and (a.ndim == 1 or not any(torch.equal(a, c) for c in others))


def test_the_headline_is_the_mean_gain_of_both_papers_over_as_many_weights():
    def row(clean, noisy):
        return {"clean, end": clean, "noisy, end": noisy, "clean, early": 1.0}

    rows = {"spatial + Laplacian": row(0.7, 0.5), "spatial, matched": row(0.6, 0.55), "spatial": row(0, 0)}
    assert CLAIM.headline(rows) == pytest.approx((0.1 - 0.05) / 2)
