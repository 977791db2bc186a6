"""ONEBench's ranking where measurements are missing, against means and Elo at their best (arXiv 2412.06745).

The pool is binary scores of language models on three reasoning benchmarks, read from ONELOOP_RANKING_DATA (a
long CSV with the columns dataset, model, sample_id, score), or a synthetic one of like structure. Models that
know 60 % of it or more are ranked; the truth is their macro mean on all of it. Seeds draw what goes missing.
    95 %       every method on the same cells, 95 % missing at random, at its best setting: strength of the
               prior, Elo's K, samples' worth of the common mean that a model's mean is shrunk by. Once on the
               pool, once on a made one with scores of heavy tails (below), each tuned by itself
    entries    of each model alone, cells at random            samples    whole samples at random
    suited     the strong half was measured mostly on the hardest source, the weak half on the easiest
    Gaussian   100 models x 1000 samples, half of them made binary: the paper's generator, truth its means
    tails      the same with Student's t of 1.5 degrees of freedom instead of the normal; the truth is the
               order of the middles
    interval   simulated pools with known scores: how often the 95 % interval holds them
`macro mean` on the pool has the form of the truth itself. Rows without a setting run at the defaults.
Not here: AlpacaEval and HELM, whose data are not at hand.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from oneloop.measure.ranking import (
    Ranking,
    SamplePool,
    from_matrix,
    from_preferences,
    informative,
    kendall_tau,
    merged,
    random_samples,
    rank,
    sparsify,
    top_overlap,
)
from oneloop.measure.ranking.elo import elo, shuffled_games
from oneloop.measure.ranking.ranking import Method
from oneloop.measure.ranking.readers import read
from oneloop.measure.ranking.select import keep_cells, only_models

DATA = "ONELOOP_RANKING_DATA"
METHODS: dict[str, Method] = {
    "Bradley-Terry": "bradley_terry",
    "Plackett-Luce": "plackett_luce",
    "micro mean": "mean",
    "macro mean": "macro_mean",
    "Elo": "elo",
}
ENTRIES = (0.0, 0.9, 0.95, 0.99)
SUITED = {"0.53": 0.0, "0.91": 0.8, "0.98": 0.95}
"""Share missing in the end -> share blanked of what is left."""
SIZES = {"crux": (51, 800, 0.4), "gsm": (44, 1319, 1.9), "math": (42, 721, -0.9)}
"""Synthetic sources: models, samples, mean easiness in logits."""
REPEATS = 5
"""Draws of what goes missing a seed, averaged."""
SIMULATED = 60
"""Pools with known scores a seed and kind."""
MISSING = 0.95
PRIORS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
KS, SHARED = (1.0, 3.0, 9.0, 27.0), (0.3, 1.0, 3.0, 9.0)
PEERS: dict[str, tuple[float, ...]] = {
    # method: values of what is tuned
    "Bradley-Terry": PRIORS,
    "Plackett-Luce": PRIORS,
    "Elo": KS,
    "micro mean": (),
    "macro mean": (),
    "macro mean, shrunk": SHARED,
    "mean place": (),
}


@cache
def pool() -> SamplePool:
    """The models that know at least 60 % of the pool, on all of it."""
    path = os.environ.get(DATA)
    whole = read(Path(path)) if path else synthetic(0)
    return only_models(whole, whole.count >= 0.6 * len(whole.samples))


def synthetic(seed: int) -> SamplePool:
    """Abilities, one more for each source, difficulties of samples: 59 models, 2840 samples, binary."""
    draw = np.random.Generator(np.random.Philox(seed))
    models = [f"model {number:02}" for number in range(59)]
    ability = draw.normal(0, 1, 59)
    pieces = []
    for name, (known, size, easiness) in SIZES.items():
        here = np.sort(draw.permutation(59)[:known])
        skill = ability[here] + draw.normal(0, 0.5, known)
        logits = easiness + skill[:, None] - draw.normal(0, 1.6, size)
        scores = (draw.random((known, size)) < expit(logits)).astype(np.float64)
        names = [models[row] for row in here]
        pieces.append(from_matrix(scores, names, [f"{name}/{j}" for j in range(size)], source=name))
    return merged(pieces)


def suited(whole: SamplePool, truth: Ranking, more: float, draw: int) -> SamplePool:
    """Incomplete, not at random: the better half keeps 10 % of the easiest source and 90 % of the hardest.

    The other half keeps 90 % and 10 %, and all keep 50 % of the other sources; `more` of the rest is blanked.
    """
    strong = np.isin(whole.models, truth.models[: len(truth.models) // 2])[whole.model]
    source = whole.source[whole.sample]
    easiness = np.bincount(source, whole.value) / np.bincount(source)
    easy, hard = source == easiness.argmax(), source == easiness.argmin()
    share = np.where(easy, np.where(strong, 0.1, 0.9), np.where(hard, np.where(strong, 0.9, 0.1), 0.5))
    kept = np.random.Generator(np.random.Philox(draw)).random(len(share)) < share
    return sparsify(keep_cells(whole, kept), more, seed=draw)


def generated(tails: bool, seed: int, models: int = 100, samples: int = 1000) -> SamplePool:
    """The paper's generator: means U(0, 1), deviations U(0, 0.1), half of the samples cut in two anywhere.

    Models are called by the order of their means.
    """
    draw = np.random.Generator(np.random.Philox(seed))
    mean, deviation = draw.random((models, 1)), 0.1 * draw.random((models, 1))
    size = (models, samples)
    scores = mean + deviation * (draw.standard_t(1.5, size) if tails else draw.normal(size=size))
    cut = draw.uniform(scores.min(axis=0), scores.max(axis=0))
    scores = np.where(draw.random(samples) < 0.5, (scores > cut).astype(np.float64), scores)
    order = mean.ravel().argsort().argsort()
    return from_matrix(scores, [f"rank {place:03}" for place in order], [f"s{j}" for j in range(samples)])


def agreement(
    truth: Mapping[str, float] | Ranking, measured: Callable[[int], SamplePool], seed: int, *methods: str
) -> dict[str, float]:
    """Kendall's tau of each method's ranking to the truth, averaged over `REPEATS` draws of the pool."""
    taus: dict[str, list[float]] = {name: [] for name in methods or METHODS}
    for repeat in range(seed * REPEATS, (seed + 1) * REPEATS):
        drawn = measured(repeat)
        for name in taus:
            ranking = rank(drawn, METHODS[name], seed=repeat, errors="none")
            taus[name].append(kendall_tau(ranking, truth).tau)
    return {name: float(np.mean(found)) for name, found in taus.items()}


def simulate(
    kind: str, seed: int, models: int = 20, samples: int = 400
) -> tuple[SamplePool, NDArray[np.float64]]:
    """(a pool with half of its cells, the scores [m] it was drawn with): Gumbel utilities, or pairs.

    `orders`: a sample shows all utilities, so its order is Plackett-Luce. `preferences`: 4 verdicts on each
    sample, each a Bradley-Terry game of its own.
    """
    draw = np.random.Generator(np.random.Philox([seed, len(kind)]))
    theta = draw.normal(0, 1, models)
    theta -= theta.mean()
    names = [f"m{number:02}" for number in range(models)]
    if kind == "orders":
        utility = theta[:, None] + draw.gumbel(size=(models, samples))
        utility[draw.random(utility.shape) < 0.5] = np.nan
        return from_matrix(utility, names, [f"s{j}" for j in range(samples)]), theta
    left, right = draw.integers(models, size=(2, 4 * samples))
    right = np.where(left == right, (right + 1) % models, right)
    won = draw.random(4 * samples) < expit(theta[left] - theta[right])
    table = {
        "model_a": [names[a] for a in left],
        "model_b": [names[b] for b in right],
        "winner": np.where(won, "model_a", "model_b").tolist(),
        "sample": [f"s{j // 4}" for j in range(4 * samples)],
    }
    return from_preferences(table, sample="sample"), theta


def coverage(kind: str, method: Method, errors: str, seed: int) -> float:
    """Share of 95 % intervals that hold the score the pool was drawn with, over `SIMULATED` pools."""
    held = []
    for number in range(SIMULATED):
        drawn, theta = simulate(kind, seed * SIMULATED + number)
        ranking = rank(drawn, method, prior_precision=1e-3, errors=errors)  # type: ignore[arg-type]
        known = np.array([theta[int(name[1:])] for name in ranking.models])
        held.append(((ranking.low <= known) & (known <= ranking.high)).mean())
    return float(np.mean(held))


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    whole = pool()
    truth = rank(whole, "macro_mean", errors="none")
    rows: dict[str, dict[str, float]] = {}
    for share in ENTRIES:
        rows[f"entries {share:.2f} missing"] = agreement(
            truth, partial(blanked, whole, share, "entries"), seed
        )
        advance(f"seed {seed}: entries {share}")
    rows["samples 0.95 missing"] = agreement(truth, partial(blanked, whole, 0.95, "samples"), seed)
    for label, more in SUITED.items():
        rows[f"suited {label} missing"] = agreement(truth, partial(suited, whole, truth, more), seed)
        advance(f"seed {seed}: suited {label}")
    for label, tails in (("Gaussian", False), ("tails", True)):
        made = generated(tails, seed)
        order = {name: float(name.split()[1]) for name in made.models}
        for share in (0.0, 0.95):
            drawn = partial(blanked, made, share, "entries")
            rows[f"{label} {share:.2f} missing"] = agreement(
                order, drawn, seed, "Bradley-Terry", "micro mean"
            )
    rows |= against_itself(whole, seed)
    advance(f"seed {seed}: other pools")
    rows |= intervals(seed)
    advance(f"seed {seed}: intervals")
    return rows


def blanked(whole: SamplePool, share: float, mode: Literal["entries", "samples"], draw: int) -> SamplePool:
    """`whole` less `share` of it."""
    return sparsify(whole, share, mode, draw)


def against_itself(whole: SamplePool, seed: int) -> dict[str, dict[str, float]]:
    """Bradley-Terry on part of the pool against Bradley-Terry on all of it, and of their ten best."""
    full, rows = rank(whole, errors="none"), {}
    parts = {
        "entries 0.95 missing": sparsify(whole, 0.95, seed=seed),
        "100 informative samples": informative(whole, 100, seed),
        "100 random samples": random_samples(whole, 100, seed),
    }
    for label, part in parts.items():
        few = rank(part, errors="none")
        rows[f"own full ranking, {label}"] = {
            "Bradley-Terry": kendall_tau(few, full).tau,
            "share of ten best": top_overlap(few, full),
        }
    return rows


def intervals(seed: int) -> dict[str, dict[str, float]]:
    """Coverage of 95 % intervals."""
    rows: dict[str, dict[str, float]] = {}
    for kind in ("orders", "preferences"):
        robust, naive = (
            coverage(kind, "bradley_terry", errors, seed) for errors in ("cluster", "information")
        )
        rows[f"interval, {kind}"] = {"cluster-robust": robust, "pairs independent": naive}
    rows["interval, orders, Plackett-Luce"] = {
        "cluster-robust": coverage("orders", "plackett_luce", "cluster", seed)
    }
    return rows


def scored(method: str, value: float, drawn: SamplePool, seed: int) -> dict[str, float]:
    """{model: score} by one method at its setting."""
    if method == "Elo":
        return dict(
            zip(drawn.models, elo(shuffled_games(drawn, seed), len(drawn.models), value), strict=True)
        )
    if method == "macro mean, shrunk":
        return dict(zip(drawn.models, shrunk(drawn, value), strict=True))
    if method == "mean place":
        return dict(zip(drawn.models, mean_place(drawn), strict=True))
    prior = 0.01 if np.isnan(value) else value
    return rank(drawn, METHODS[method], prior_precision=prior, seed=seed, errors="none").as_dict


def shrunk(drawn: SamplePool, samples: float) -> NDArray[np.float64]:
    """[m], mean over a model's sources of its mean there, with `samples` of all models' mean added."""
    source, sources = drawn.source[drawn.sample], len(drawn.sources)
    place = drawn.model * sources + source
    size = len(drawn.models) * sources
    total = np.bincount(place, drawn.value, size).reshape(-1, sources)
    count = np.bincount(place, minlength=size).reshape(-1, sources)
    middle = np.bincount(source, drawn.value, sources) / np.bincount(source, minlength=sources)
    near = (total + samples * middle) / (count + samples)
    return np.asarray(near.mean(1, where=count > 0))


def mean_place(drawn: SamplePool) -> NDArray[np.float64]:
    """[m], mean over a model's samples of the share of the others there that it beats, a tie half."""
    order = np.argsort(drawn.sample, kind="stable")
    first = np.searchsorted(drawn.sample[order], np.arange(len(drawn.samples) + 1))
    share = np.full(len(order), 0.5)
    for low, high in zip(first, first[1:], strict=False):
        if high - low > 1:
            value = drawn.value[order[low:high]]
            ahead = np.sign(value[:, None] - value).sum(1) / (high - low - 1)
            share[order[low:high]] = (1 + ahead) / 2
    size = len(drawn.models)
    return np.bincount(drawn.model, share, size) / np.bincount(drawn.model, minlength=size)


def train(arm: str, value: float, seed: int) -> Row:
    """tau of one method to the truth with `MISSING` of the entries gone, over `REPEATS` draws."""
    place, method = arm.split(": ")
    taus, work = [], 0.0
    for repeat in range(seed * REPEATS, (seed + 1) * REPEATS):
        if place == "pool":
            whole = pool()
            truth: Mapping[str, float] = rank(whole, "macro_mean", errors="none").as_dict
        else:
            whole = generated(True, repeat)
            truth = {name: float(name.split()[1]) for name in whole.models}
        drawn = sparsify(whole, MISSING, seed=repeat)
        taus.append(kendall_tau(scored(method, value, drawn, repeat), truth).tau)
        work += len(drawn.value) / REPEATS
    return {"tau": float(np.mean(taus)), "work": work}


def headline(rows: Rows) -> float:
    """On the pool, Bradley-Terry's tau less that of the best of Elo and the means."""
    rivals = ("Elo", "micro mean", "macro mean", "macro mean, shrunk")
    return rows["pool: Bradley-Terry"]["tau"] - max(rows[f"pool: {name}"]["tau"] for name in rivals)


CLAIM = Claim(
    paper="arXiv 2412.06745",
    parts=("measure.ranking",),
    recipe="docs/onebench.md",
    says="with 95 % of the entries missing, tau to the average falls from .88 to .84 (HELM), Elo has .70",
    claim="with 95 % of the entries missing, Bradley-Terry's tau to the full macro mean is above that of Elo "
    "and of means, all at their best setting, by",
    target=0.0,
    arms=tuple(Arm(f"{place}: {name}", grid) for place in ("pool", "tails") for name, grid in PEERS.items()),
    at_best={
        f"{place}: {name}": "a mean: it has no setting"
        for place in ("pool", "tails")
        for name in ("micro mean", "macro mean", "mean place")
    },
    train=train,
    tunes="strength of the prior, Elo's K, samples shrunk by",
    score=lambda row: row["tau"],
    work="measurements ranked",
    run=run,
    headline=headline,
    units=len(ENTRIES) + len(SUITED) + 2,
)
