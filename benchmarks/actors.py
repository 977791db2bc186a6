"""Stages beside one another: the formula of the period, registers, staleness, and GRPO with a slow judge.

python -m benchmarks.actors [--only formula registers staleness kills training judges learning] [--kills 100]

formula     period against formula, random chains in virtual time and sleeping stages in wall time
registers   stages of 80, 50 and 60 ms: registers 1, 2, 4, and one stage after the other
staleness   heavy-tailed rollouts in virtual time: age of tokens and throughput by order
training    GRPO with a judge of 50 ms a rollout: wall time and held-out accuracy, ahead 0, 1, 2, interleaved
judges      the same, ahead 0 and 1, the latter with two samplers and two judges as workers of Ray
kills       samplers and judges of a local Ray cluster killed with SIGKILL: rollouts lost and doubled
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.judge.verifier import Verifier
from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.period import chain, period
from oneloop.parallel.runtime.simulate import simulate
from oneloop.parallel.runtime.threads import Ended, Running
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run

RESULTS = Path(__file__).parent / "results" / "actors.json"
JUDGE_SECONDS = 0.05
"""Of each rollout, what a remote judge may take."""


VERIFIER = Verifier(by="exact", name="slow")


@part(writes=("reward.slow", "correct"))
class Slow:
    """The verifier, and a wait for each rollout as for a remote judge."""

    name: str = "slow"

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        time.sleep(JUDGE_SECONDS * len(rollouts))
        return VERIFIER(rollouts)


# formula


def formula() -> dict[str, Any]:
    draw, virtual = random.Random(0), []
    for _ in range(200):
        names = [f"s{n}" for n in range(draw.randint(2, 6))]
        durations = [draw.uniform(0.1, 5.0) for _ in names]
        registers = [draw.randint(1, 4) for _ in names[1:]]
        trace = simulate(chain(names, registers), dict(zip(names, durations, strict=True)), 600)
        virtual.append(abs(trace.period(names[-1]) / period(durations, registers) - 1))
    wall = []
    cases = [((80, 50, 60), (1, 1)), ((80, 50, 60), (2, 2)), ((80, 50, 60), (4, 4))]
    cases += [((20, 60, 30), (3, 3)), ((20, 60, 30), (1, 2)), ((40, 40, 40), (1, 1)), ((40, 40, 40), (2, 2))]
    for durations, registers in cases:
        measured = slept(durations, registers)["period"]
        expected = period(durations, registers)
        wall.append({"ms": durations, "registers": registers, "measured": measured, "formula": expected})
    off = [abs(case["measured"] / case["formula"] - 1) for case in wall]
    return {
        "virtual_worst_error": max(virtual),
        "virtual_cases": 200,
        "wall": wall,
        "wall_worst_error": max(off),
    }


def slept(durations: tuple[int, ...], registers: tuple[int, ...], items: int = 40) -> dict[str, Any]:
    """Milliseconds from item to item of a chain of stages that sleep, over its second half."""
    graph = Graph()
    graph.stage("in")
    names = [f"s{n}" for n in range(len(durations))]
    for name, ms in zip(names, durations, strict=True):
        graph.stage(name, lambda x, ms=ms: (time.sleep(ms / 1000), x)[1])
    graph.stage("out")
    graph.edge("in", names[0], registers=1)
    for first, second, count in zip(names[:-1], names[1:], registers, strict=True):
        graph.edge(first, second, registers=count)
    graph.edge(names[-1], "out", registers=2)
    times, got = through(graph, range(items))
    assert got == list(range(items))
    half = items // 2
    return {"period": 1000 * (times[-1] - times[half]) / (items - 1 - half)}


def through(graph: Graph, items: Any) -> tuple[list[float], list[Any]]:
    """(moments at which items came out, the items) of a graph from "in" to "out"."""
    times, got = [], []
    with Running(graph) as running:

        def feed() -> None:
            for item in items:
                running.put("in", item)
            running.finish("in")

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            while True:
                got.append(running.get("out"))
                times.append(time.perf_counter())
        except Ended:
            feeder.join()
    return times, got


# registers


def registers() -> dict[str, Any]:
    durations = (80, 50, 60)
    found = {count: slept(durations, (count, count), 60)["period"] for count in (1, 2, 4)}
    start = time.perf_counter()
    for _ in range(10):
        for ms in durations:
            time.sleep(ms / 1000)
    alone = 100 * (time.perf_counter() - start)
    return {
        "stages_ms": durations,
        "period_ms": found,
        "sequential_ms": alone,
        "two_over_one": found[1] / found[2],
        "two_over_sequential": alone / found[2],
        "held_of_fast_producer": {"2 registers": held(2), "10000 registers": held(10_000)},
    }


def held(count: int) -> int:
    """Most registers full at a time, of 300 items that are made three times as fast as they are used."""
    trace = simulate(chain(["rollout", "update"], [count]), {"rollout": 1.0, "update": 3.0}, 300)
    return trace.max_held["rollout -> update"]


# staleness


def staleness() -> dict[str, Any]:
    found = {}
    for ahead in (1, 4):
        for order in ("strict", "completion", "abort and resume"):
            found[f"ahead {ahead}, {order}"] = aged(ahead, order)
    return found


def aged(ahead: int, order: str, batch: int = 8, updates: int = 600, update: float = 1.0) -> dict[str, Any]:
    """Groups per unit of time, and ages of their tokens in updates; lengths are log-normal, sigma 1.5.

    strict: batches take the groups asked first; completion: those done first; abort and resume: completion,
    and at every update what runs goes on with the new weights, which costs a twentieth of an update (its
    prefix). A token is as old as the weights it was sampled with; groups wait until the learner is free.
    """
    draw, now, version, done, free_at = random.Random(7), 0.0, 0, 0, 0.0
    running: list[dict[str, Any]] = []
    ages: Counter[int] = Counter()
    number = 0
    while done < updates:
        while len(running) < (ahead + 1) * batch:
            length = draw.lognormvariate(0, 1.5)
            running.append({"n": number, "end": now + length, "parts": [(version, length)], "since": now})
            number += 1
        order_key: Callable[[Any], float] = (lambda g: g["n"]) if order == "strict" else (lambda g: g["end"])
        taken = sorted(running, key=order_key)[:batch]
        now = max(free_at, max(group["end"] for group in taken))
        running = [group for group in running if group not in taken]
        for group in taken:
            for at, amount in group["parts"]:
                ages[version - at] += amount
        done += 1
        free_at = now + update
        # the weights change when the update ends; whatever still runs then may go on with them
        version += 1
        now = free_at
        for group in running if order == "abort and resume" else ():
            left = group["end"] - now
            if left > 0:
                sampled = sum(amount for _, amount in group["parts"]) - left
                before = group["parts"][:-1]
                last = sampled - sum(amount for _, amount in before)
                group["parts"] = [*before, (group["parts"][-1][0], last), (version, left)]
                group["end"] += update / 20
    total = sum(ages.values())
    share = {age: amount / total for age, amount in sorted(ages.items())}
    return {
        "throughput": done * batch / now,
        "mean_age": sum(age * part for age, part in share.items()),
        "max_age": max(ages),
        # with `select: [stale]` older tokens are left out of the update, and the bound is kept
        "throughput_within_ahead": done * batch / now * sum(p for age, p in share.items() if age <= ahead),
        "older_than_ahead": sum(part for age, part in share.items() if age > ahead),
        "histogram": {str(age): round(part, 4) for age, part in share.items() if age <= 8},
    }


# training


ALPHABET = {"alphabet": "0123456789+=", "max_positions": 32}
MODEL = {"small_llama": {"hidden_size": 256, "layers": 4, "heads": 4, **ALPHABET}}
SMALLER = {"small_llama": {"hidden_size": 96, "layers": 2, "heads": 4, **ALPHABET}}
STEPS = 50
"""Of runs that are compared by accuracy alone."""
SUMS = {
    "rows": {
        "rows": [
            {"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)}
            for a in range(1, 10)
            for b in range(1, 10)
        ]
    }
}


def recipe_of(model: str, steps: int, ahead: int, seed: int) -> dict[str, Any]:
    exact = {"verifier": {"by": "exact"}}
    return {
        "name": f"ahead-{ahead}",
        "seed": seed,
        "policy": {"language": {"model": model, "max_new_tokens": 8}},
        "runtime": {"ahead": ahead, "sampler_threads": 1} if ahead else {},
        "evaluate": {"data": SUMS, "size": 81, "samples": 4, "judge": [exact]},
        "steps": steps,
        "plan": {"data": SUMS, "groups": 4, "count": {"uniform": {"n": 4}}},
        "judge": [{f"{Path(__file__).resolve()}:Slow": {}}],
        "credit": ["group_relative"],
        "objective": [{"policy_gradient": {"importance_cap": 2.0}} if ahead else "policy_gradient"],
        "learner": {"learning_rate": 2.0e-4, "warmup": 5, "betas": [0.9, 0.99]},
    }


def warm(folder: Path, model: dict[str, Any]) -> str:
    """A small model that has seen each of the 81 sums of two digits a few times."""
    folder = folder / f"width-{model['small_llama']['hidden_size']}"
    target = folder / "warm-start"
    if not target.exists():
        recipe = {
            "name": "warm",
            "policy": {"language": {"model": model, "max_new_tokens": 8}},
            "sample": "demonstrations",
            "steps": 60,
            "plan": {"data": SUMS, "groups": 27},
            "objective": ["supervised"],
            "learner": {"learning_rate": 1.0e-3, "warmup": 10},
        }
        run = Run(load_recipe(recipe)[0], folder / "warm", show=Show(quiet=True))
        run.train()
        run.policy.save(target)
    return str(target)


def trained(recipe: dict[str, Any], directory: Path) -> dict[str, Any]:
    """What a run of `recipe` took and learned."""
    Run(load_recipe(recipe)[0], directory, show=Show(quiet=True)).train()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    ends = {l["mode"]: l["accuracy"] for l in lines if l["kind"] == "eval" and l["when"] == "after"}
    took = [l for l in lines if l["kind"] == "step"]
    seconds = {n: statistics.mean(l[n] for l in took) for n in ("sample_time", "judge_time", "update_time")}
    return {
        "seconds": sum(l["step_time"] for l in took),
        "seconds_after_first": sum(l["step_time"] for l in took[1:]),
        **{f"accuracy_{mode}": value for mode, value in ends.items()},
        **{name: round(value, 3) for name, value in seconds.items()},
        "staleness_mean": statistics.mean(l.get("staleness/mean", 0.0) for l in took),
        "staleness_max": max(l.get("staleness/max", 0.0) for l in took),
        "waits_judge": statistics.mean(l.get("runtime/waits/judge", 0.0) for l in took),
        "period_over_formula": statistics.median(
            l["step_time"] / l["runtime/period"] if "runtime/period" in l else 1.0 for l in took
        ),
    }


def training(seeds: int, steps: int, folder: Path) -> dict[str, Any]:
    model = warm(folder, MODEL)
    rows: dict[int, list[dict[str, Any]]] = {0: [], 1: [], 2: []}
    for seed in range(seeds):
        for ahead, found in rows.items():
            found.append(trained(recipe_of(model, steps, ahead, seed), folder / f"{ahead}-{seed}"))
            print(f"seed {seed} ahead {ahead}: {found[-1]}", flush=True)
    return {
        "steps": steps,
        "rollouts_a_step": 16,
        "judge_ms_a_rollout": 1000 * JUDGE_SECONDS,
        "runs": {str(ahead): found for ahead, found in rows.items()},
        "speedup": {
            str(a): interval([s["seconds"] / o["seconds"] for s, o in zip(rows[0], rows[a], strict=True)])
            for a in (1, 2)
        },
        "accuracy_difference": {
            f"{a}, {mode}": interval(
                [o[f"accuracy_{mode}"] - s[f"accuracy_{mode}"] for s, o in zip(rows[0], rows[a], strict=True)]
            )
            for a in (1, 2)
            for mode in ("greedy", "sampled")
        },
    }


def judges(seeds: int, steps: int, folder: Path) -> dict[str, Any]:
    """Two samplers and two judges on Ray, 1 ahead, over one stage after the other; without the first step,
    in which Ray's workers start."""
    model, rows = warm(folder, MODEL), list[tuple[dict[str, Any], dict[str, Any]]]()
    beside = {"ahead": 1, "backend": "ray", "samplers": 2, "judges": 2, "sampler_threads": 1}
    for seed in range(seeds):
        alone = trained(recipe_of(model, steps, 0, seed), folder / f"judges-0-{seed}")
        recipe = recipe_of(model, steps, 1, seed) | {"runtime": beside}
        rows.append((alone, trained(recipe, folder / f"judges-1-{seed}")))
        print(f"seed {seed}: {rows[-1]}", flush=True)
    speedups = [alone["seconds_after_first"] / ahead["seconds_after_first"] for alone, ahead in rows]
    modes = {
        mode: interval([ahead[f"accuracy_{mode}"] - alone[f"accuracy_{mode}"] for alone, ahead in rows])
        for mode in ("greedy", "sampled")
    }
    return {
        "steps": steps,
        "runtime": beside,
        "runs": rows,
        "speedup": interval(speedups),
        "accuracy_difference": modes,
    }


def learning(seeds: int, folder: Path) -> dict[str, Any]:
    """Held-out accuracy after `STEPS` steps of 64 rollouts, ahead 0 and 1."""
    model, found = warm(folder, SMALLER), list[dict[str, Any]]()
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        for ahead in (0, 1):
            recipe = recipe_of(model, STEPS, ahead, seed) | {"judge": [{"verifier": {"by": "exact"}}]}
            recipe["plan"] |= {"groups": 8, "count": {"uniform": {"n": 8}}}
            directory = folder / f"learning-{ahead}-{seed}"
            Run(load_recipe(recipe)[0], directory, show=Show(quiet=True)).train()
            for line in (directory / "metrics.jsonl").read_text().splitlines():
                values = json.loads(line)
                if values["kind"] == "eval":
                    row[f"ahead {ahead}, {values['when']}, {values['mode']}"] = values["accuracy"]
        found.append(row)
        print(row, flush=True)
    difference = {
        mode: interval([row[f"ahead 1, after, {mode}"] - row[f"ahead 0, after, {mode}"] for row in found])
        for mode in ("greedy", "sampled")
    }
    return {"steps": STEPS, "rollouts_a_step": 64, "runs": found, "accuracy_difference": difference}


def interval(values: list[float]) -> list[float]:
    """[mean, low, high]: a paired 95 % t-interval."""
    from scipy import stats

    mean = statistics.mean(values)
    if len(values) < 2:
        return [mean, float("-inf"), float("inf")]
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return [mean, mean - half, mean + half]


# kills


def noting(folder: str) -> Callable[[int], int]:
    def run(x: int) -> int:
        time.sleep(0.02)
        with open(f"{folder}/{x}", "a") as file:
            file.write("done\n")
        return x

    return run


def kills(wanted: int, minutes: float, items: int = 60) -> dict[str, Any]:
    """Two samplers and two judges, killed at random moments, at work or idle, until `wanted` are killed."""
    import ray

    from oneloop.parallel.runtime.cluster import Cluster

    draw, until = random.Random(0), time.monotonic() + 60 * minutes
    found: Counter[str] = Counter()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, logging_level="ERROR")
    try:
        with Cluster(says=lambda text: None) as cluster:
            while found["killed"] < wanted and time.monotonic() < until:
                with tempfile.TemporaryDirectory() as notes:
                    found.update(killed_round(cluster, draw, items, wanted - found["killed"], notes))
                print(dict(found), flush=True)
    finally:
        ray.shutdown()
    return {"items a round": items, "workers": 4, **found}


def killed_round(cluster: Any, draw: random.Random, items: int, most: int, notes: str) -> Counter[str]:
    """`items` through samplers and judges, while up to `most` workers are killed."""
    import ray

    workers = [cluster.worker(f"{kind} {n}", noting, notes, cpus=0.25) for kind in "sj" for n in range(2)]
    graph = Graph()
    graph.stage("in")
    graph.stage("sample", *workers[:2])
    graph.stage("judge", *workers[2:])
    graph.stage("out")
    for first, second in (("in", "sample"), ("sample", "judge"), ("judge", "out")):
        graph.edge(first, second, registers=4)
    over, killed = threading.Event(), Counter[str]()

    def kill() -> None:
        while killed["killed"] < most and not over.wait(draw.uniform(0.0, 0.4)):
            with suppress(ray.exceptions.RayActorError):  # dead, and not yet started again
                os.kill(draw.choice(workers).process(), signal.SIGKILL)
                killed["killed"] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    _, got = through(graph, range(items))
    over.set()
    killer.join()
    out = [ray.get(x) for x in got]
    done = [path.read_text().count("done") for path in Path(notes).iterdir()]
    deaths = sum(worker.deaths for worker in workers)
    for worker in workers:
        worker.close()
    # an act that ends as its worker dies is done again; its rollout still comes out once
    again = sum(max(0, count - 2) for count in done)
    counted = {"rounds": 1, "items": items, "lost": items - len(set(out)), "acts done again": again}
    counted |= {"doubled": len(out) - len(set(out)), "out of order": int(out != list(range(items)))}
    killed.update(counted | {"deaths made good": deaths})
    return killed


def main() -> None:
    sections = ("formula", "registers", "staleness", "kills", "training", "judges", "learning")
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--only", nargs="+", choices=sections, default=sections)
    asked.add_argument("--seeds", type=int, default=4)
    asked.add_argument("--steps", type=int, default=40)
    asked.add_argument("--kills", type=int, default=100, help="workers to kill")
    asked.add_argument("--minutes", type=float, default=7.0, help="after so many no more rounds of kills")
    asked.add_argument("--folder", type=Path, default=Path("runs/actors"))
    options = asked.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    does: dict[str, Callable[[], dict[str, Any]]] = {
        "formula": formula,
        "registers": registers,
        "staleness": staleness,
        "kills": lambda: kills(options.kills, options.minutes),
        "learning": lambda: learning(options.seeds, options.folder),
        "training": lambda: training(options.seeds, options.steps, options.folder),
        "judges": lambda: judges(options.seeds, options.steps, options.folder),
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only:
        results[name] = does[name]()
        print(name, json.dumps(results[name], indent=1), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
