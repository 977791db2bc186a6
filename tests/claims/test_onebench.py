"""claims/onebench.py: its pools are what they say, and a small seed runs through."""

import numpy as np
import pytest
from benchmarks.claims import onebench

from oneloop.measure.ranking import from_matrix, rank
from oneloop.measure.ranking.select import only_models


@pytest.fixture
def small(monkeypatch):
    """The synthetic pool with a tenth of the samples and one draw of everything."""
    sizes = {name: (known, size // 10, easy) for name, (known, size, easy) in onebench.SIZES.items()}
    smaller = {"ENTRIES": (0.0, 0.95), "SUITED": {"0.53": 0.0}}
    for name, value in {"SIZES": sizes, "REPEATS": 1, "SIMULATED": 2, **smaller}.items():
        monkeypatch.setattr(onebench, name, value)
    monkeypatch.delenv(onebench.DATA, raising=False)
    onebench.pool.cache_clear()
    yield onebench.pool()
    onebench.pool.cache_clear()


def test_the_synthetic_pool_is_like_the_real_one(small):
    whole = onebench.synthetic(0)
    assert 57 <= len(whole.models) <= 59 and whole.sources == ("crux", "gsm", "math")
    assert np.bincount(whole.source).tolist() == [80, 131, 72]
    easiness = [whole.value[whole.source[whole.sample] == source].mean() for source in range(3)]
    assert easiness[1] > easiness[0] > easiness[2] and set(np.unique(whole.value)) == {0, 1}
    assert 20 < len(small.models) < 59 and small.count.min() >= 0.6 * len(small.samples)


def test_data_are_read_where_the_environment_says(monkeypatch, tmp_path, small):
    path = tmp_path / "data.csv"
    path.write_text("dataset,model,sample_id,score\nx,a,1,1\nx,b,1,0\n")
    monkeypatch.setenv(onebench.DATA, str(path))
    onebench.pool.cache_clear()
    assert onebench.pool().models == ("a", "b")


def test_suited_measurements_flatter_the_weak(small):
    truth = rank(small, "macro_mean", errors="none")
    part = onebench.suited(small, truth, 0.0, 1)
    strong = np.isin(part.models, truth.models[: len(truth.models) // 2])
    hard, easy = part.sources.index("math"), part.sources.index("gsm")
    for half, (of_hard, of_easy) in ((strong, (0.9, 0.1)), (~strong, (0.1, 0.9))):
        kept, before = only_models(part, half), only_models(small, half)
        for source, share in ((hard, of_hard), (easy, of_easy)):
            known = [np.sum(p.source[p.sample] == source) for p in (kept, before)]
            assert known[0] / known[1] == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("kind", ["orders", "preferences"])
def test_simulated_pools_know_their_scores(kind):
    pool, theta = onebench.simulate(kind, 3)
    again, _ = onebench.simulate(kind, 3)
    assert np.array_equal(pool.value, again.value) and abs(theta.sum()) < 1e-9
    ranking = rank(pool)
    known = [theta[int(name[1:])] for name in ranking.models]
    assert np.corrcoef(known, ranking.scores)[0, 1] > 0.95


def test_generated_models_are_named_by_their_order():
    pool = onebench.generated(False, 0, models=20, samples=200)
    assert list(rank(pool, "mean").models)[0] >= "rank 015" and len(pool.models) == 20


def test_one_seed_runs_and_is_reproducible(small):
    seen = []
    first = onebench.run(1, seen.append)
    assert len(seen) == 2 + 1 + 2 and onebench.CLAIM.units == 4 + 3 + 2
    assert first == onebench.run(1, lambda what: None)
    assert all(-1 <= value <= 1 for row in first.values() for value in row.values())
    assert first["entries 0.00 missing"]["macro mean"] == pytest.approx(1)


def test_every_method_ranks_the_same_cells_at_its_setting(small):
    arms = {arm.name: arm.grid[1] if arm.grid else float("nan") for arm in onebench.CLAIM.arms}
    pool = {name: onebench.train(name, value, 0) for name, value in arms.items() if name[:4] == "pool"}
    assert len({row["work"] for row in pool.values()}) == 1
    assert all(-1 <= row["tau"] <= 1 for row in pool.values())
    rivals = ("Elo", "micro mean", "macro mean", "macro mean, shrunk")
    best = max(pool[f"pool: {name}"]["tau"] for name in rivals)
    assert onebench.headline(pool) == pool["pool: Bradley-Terry"]["tau"] - best


def test_a_shrunk_mean_and_a_mean_place_by_hand():
    values = np.array([[1.0, 0.0, np.nan], [0.0, 0.0, 1.0]])
    pool = from_matrix(values, ["a", "b"], ["s0", "s1", "s2"])
    assert onebench.shrunk(pool, 2.0).tolist() == pytest.approx([(1 + 0.8) / 4, (1 + 0.8) / 5])
    assert onebench.mean_place(pool).tolist() == pytest.approx([(1 + 0.5) / 2, (0 + 0.5 + 0.5) / 3])
