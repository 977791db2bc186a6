"""Bradley-Terry from a million comparisons against choix, evalica, arena-rank; a pool of 25 million cells.

All start from the same data frame with the columns model_a, model_b, winner (strings), turns taken, a ratio
within each repeat; evalica's and choix's own input formats are made beforehand and cost them nothing. jax
compiles in a round that is not counted. `choix_over_ours_fit` starts both from their own formats in memory.
Then a pool of 500 models x 1,000,000 samples with 95 % missing, half of the samples binary, is read from
Parquet and ranked by a process of its own, whose peak memory is printed.
    pip install -e ".[peers]"; python benchmarks/ranking.py [--repeats 5] [--samples 1000000]"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oneloop.measure.ranking import SamplePool, from_preferences, rank
from oneloop.measure.ranking.readers import read

GAMES, MODELS = 1_000_000, 100
BIG = 500
NAMES = {
    "fastest_peer_over_ours": "fastest",
    "choix_over_ours": "choix",
    "choix_over_ours_fit": "choix_fit",
}


def battles(seed: int, tie_rate: float) -> pd.DataFrame:
    """`GAMES` games of `MODELS` models by Bradley-Terry, a share of them tied."""
    draw = np.random.Generator(np.random.Philox(seed))
    theta = draw.normal(0, 1, MODELS)
    left, right = draw.integers(MODELS, size=(2, GAMES))
    right = np.where(left == right, (right + 1) % MODELS, right)
    won = draw.random(GAMES) < 1 / (1 + np.exp(theta[right] - theta[left]))
    outcome = np.where(draw.random(GAMES) < tie_rate, 2, np.where(won, 0, 1))
    names = np.array([f"model-{number:03}" for number in range(MODELS)])
    labels = np.array(["model_a", "model_b", "tie"])
    return pd.DataFrame({"model_a": names[left], "model_b": names[right], "winner": labels[outcome]})


def ours(frame: pd.DataFrame, errors: str = "none") -> dict[str, float]:
    return fitted(from_preferences(frame), errors)


def fitted(pool: SamplePool, errors: str = "none") -> dict[str, float]:
    ranking = rank(pool, tie_weight=0.5, prior_precision=0, errors=errors)  # type: ignore[arg-type]
    return ranking.as_dict


def peers(frame: pd.DataFrame) -> dict[str, Callable[..., dict[str, float]]]:
    """Each peer's shortest way from the frame to scores; `tight` asks for the maximum to many digits."""
    import choix
    import evalica
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    words = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    winners = [words[word] for word in frame.winner]
    number = {name: place for place, name in enumerate(sorted({*frame.model_a, *frame.model_b}))}
    pairs = [
        (number[a], number[b]) if word == "model_a" else (number[b], number[a])
        for a, b, word in zip(frame.model_a, frame.model_b, frame.winner, strict=True)
    ]

    def of_evalica(tight: bool = False) -> dict[str, float]:
        limits = {"tolerance": 1e-13, "limit": 10_000} if tight else {}
        found = evalica.bradley_terry(frame.model_a, frame.model_b, winners, **limits)
        return dict(np.log(found.scores))

    def of_arena_rank(tight: bool = False) -> dict[str, float]:
        limits = {"gtol": 1e-13, "ftol": 1e-16} if tight else {}
        model = BradleyTerry(MODELS, **limits).fit(data := PairDataset.from_pandas(frame))
        return dict(zip(data.competitors, np.asarray(model.params["ratings"]), strict=True))

    def of_choix(tight: bool = False) -> dict[str, float]:
        return dict(
            zip(number, choix.ilsr_pairwise(MODELS, pairs, tol=1e-12 if tight else 1e-8), strict=True)
        )

    return {"evalica": of_evalica, "arena-rank": of_arena_rank, "choix": of_choix}


def seconds(run: Callable[[], object]) -> float:
    """Of wall time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def difference(first: dict[str, float], second: dict[str, float]) -> float:
    """Largest difference in score, both with sum 0."""
    a, b = (np.array([scores[name] for name in sorted(first)]) for scores in (first, second))
    return float(np.abs((a - a.mean()) - (b - b.mean())).max())


def compare(repeats: int) -> dict[str, object]:
    """Times and solutions at a million games without ties (choix knows none)."""
    frame = battles(0, 0.0)
    others = peers(frame)
    mine = ours(frame)
    solutions = {name: difference(mine, run(tight=True)) for name, run in others.items()}
    for name in ("arena-rank", "evalica"):
        others[name]()  # compiles
    times: dict[str, list[float]] = {name: [] for name in ("ours", "our fit", "ours with errors", *others)}
    pool = from_preferences(frame)
    for repeat in range(repeats):
        times["ours"].append(seconds(lambda: ours(frame)))
        times["our fit"].append(seconds(lambda: fitted(pool)))
        times["ours with errors"].append(seconds(lambda: ours(frame, "cluster")))
        for name, run in others.items():
            if name != "choix" or repeat < 2:
                times[name].append(seconds(run))
    fastest = [min(times["evalica"][r], times["arena-rank"][r]) / times["ours"][r] for r in range(repeats)]
    slow, fit = (
        [theirs / own for theirs, own in zip(times["choix"], times[name], strict=False)]
        for name in ("ours", "our fit")
    )
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {"seconds": medians, "fastest": spread(fastest), "choix": spread(slow)} | {
        "choix_fit": spread(fit),
        "difference": solutions,
    }


def spread(ratios: list[float]) -> dict[str, float]:
    """Median, lowest, highest, how many."""
    return {
        "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "repeats": len(ratios)
    }  # fmt: skip


def write_pool(path: Path, samples: int) -> None:
    """`BIG` models x `samples`, 5 % known, long form; even samples binary, odd ones numeric."""
    draw = np.random.Generator(np.random.Philox(0))
    ability = draw.normal(0, 1, BIG)
    models = pa.array([f"model-{number:03}" for number in range(BIG)])
    writer = None
    for begin in range(0, samples, 20_000):
        size = min(20_000, samples - begin)
        row, model = np.nonzero(draw.random((size, BIG), dtype=np.float32) < 0.05)
        utility = ability[model] - draw.normal(0, 1, size)[row] + draw.gumbel(size=len(row))
        score = np.where(row % 2, utility.round(3), utility > 0)
        names = pa.array([f"sample-{begin + place}" for place in range(size)])
        table = pa.table(
            {
                "model": pa.DictionaryArray.from_arrays(pa.array(model.astype(np.int32)), models),
                "sample_id": pa.DictionaryArray.from_arrays(pa.array(row.astype(np.int32)), names),
                "score": score,
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def rank_pool(path: Path) -> dict[str, float]:
    """Seconds to read and to rank with errors, and peak memory of this process."""
    start = time.perf_counter()
    pool = read(path)
    middle = time.perf_counter()
    ranking = rank(pool)
    end = time.perf_counter()
    assert ranking.converged
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = {"models": len(pool.models), "samples": len(pool.samples), "cells": len(pool.value)}
    return size | {"read_seconds": middle - start, "rank_seconds": end - middle, "peak_gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--pool", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.pool:
        return print(json.dumps(rank_pool(given.pool)))
    result = {"games": GAMES, "models": MODELS} | compare(given.repeats)
    for name, value in result["seconds"].items():  # type: ignore[attr-defined]
        print(f"{name}: {value:.3f} s for {GAMES:,} games")
    print("largest difference to the peers' solutions:", result["difference"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.parquet"
        write_pool(path, given.samples)
        command = [sys.executable, __file__, "--pool", str(path)]
        result["pool"] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
    print("pool:", result["pool"])
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    (folder / "ranking.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, key in NAMES.items():
        ratio = result[key]
        line = f"{ratio['ratio']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"  # type: ignore[index]
        print(f"ranking_{name}: {line} over {ratio['repeats']}")  # type: ignore[index]


if __name__ == "__main__":
    main()
