import asyncio
import decimal
import fractions
import functools
import math

import numpy as np
import pytest
import torch

from oneloop.judge.functions.call import adapted

CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "1+1"}]


def rows(n=2, prompt=None, **columns):
    example = {"answer": "2", **columns}
    return [
        {"prompt": prompt or f"p{i}", "text": f"t{i}", "id": i, "group": 0, "example": {**example, "n": i}}
        for i in range(n)
    ]


def call(function, told, seconds=5.0):
    return adapted(function)(
        {"rows": told, "facts": {"step": 3, "progress": 0.5, "seed": 0}, "seconds": seconds}
    )


def scores(answer):
    assert [error for _, error in answer["values"]] == [None] * len(answer["values"])
    return [score for score, _ in answer["values"]]


def test_trl():
    seen = {}

    def reward(prompts, completions, answer, n, trainer_state, log_extra, log_metric, absent=7, **kwargs):
        seen.update(locals())
        log_extra("halved", [value / 2 for value in n])
        log_metric("share", 0.25)
        return [0.5, None]

    answer = call(reward, rows(level=[1, 2]))
    assert scores(answer) == [0.5, None]
    assert seen["prompts"] == ["p0", "p1"] and seen["completions"] == ["t0", "t1"]
    assert seen["answer"] == ["2", "2"] and seen["n"] == [0, 1] and seen["absent"] == 7
    assert seen["kwargs"] == {"level": [[1, 2], [1, 2]]}
    assert seen["trainer_state"].global_step == 3
    assert answer["columns"] == {"halved": [0.0, 0.5]} and answer["metrics"] == {"share": 0.25}


def test_trl_conversation():
    def reward(completions, prompts):
        assert prompts == [CHAT, CHAT]
        return [len(turns[0]["content"]) for turns in completions if turns[0]["role"] == "assistant"]

    assert scores(call(reward, rows(prompt=CHAT))) == [2, 2]


def test_trl_completion_ids_and_ragged_columns():
    told = [{**row, "tokens": [row["id"]] * 3} for row in rows()]
    del told[1]["example"]["n"]
    assert scores(
        call(lambda completions, completion_ids, n: [sum(completion_ids[1]), n[1] is None], told)
    ) == [3, True]


class ORM:
    """As ms-swift's."""


class Accuracy(ORM):
    def __call__(self, completions, answer, **kwargs):
        return [
            float(text == "t0") + float(label == "2") for text, label in zip(completions, answer, strict=True)
        ]


def test_ms_swift_takes_text_even_of_a_conversation():
    assert scores(call(Accuracy, rows(prompt=CHAT))) == [2.0, 1.0]
    assert scores(call(Accuracy(), rows(prompt=CHAT))) == [2.0, 1.0]


def length(completions, scale=1.0, **columns):
    return [scale * len(turns[0]["content"]) for turns in completions]


class Length:
    def __call__(self, completions, **columns):
        return length(completions)

    def method(self, completions, **columns):
        return length(completions)


@pytest.mark.parametrize("reward", [length, functools.partial(length), Length, Length(), Length().method])
def test_whatever_can_be_called_takes_messages_of_a_conversation(reward):
    assert scores(call(reward, rows(prompt=CHAT))) == [2.0, 2.0]


def test_a_column_of_the_data_does_not_replace_what_partial_holds():
    assert scores(call(functools.partial(length, scale=2.0), rows(prompt=CHAT, scale=9.0))) == [4.0, 4.0]
    assert adapted(functools.partial(length, scale=2.0)).info["names"] == ["completions"]


def test_completions_decide_whatever_the_columns_are_called():
    columns = {"images": "x.png", "queries": "q", "solution_str": "s", "sample": 1, "args": 2}

    def reward(prompts, completions, images, queries, solution_str, sample, args):
        return [float((images[0], queries[0], solution_str[0], args[0]) == ("x.png", "q", "s", 2))] * 2

    assert scores(call(reward, rows(**columns))) == [1.0, 1.0]


def test_token_ids_alone_are_enough():
    told = [{**row, "tokens": [1] * (row["id"] + 1)} for row in rows()]
    assert scores(call(lambda completion_ids, **kwargs: [len(ids) for ids in completion_ids], told)) == [1, 2]
    assert adapted(lambda completion_ids: []).info["tokens"]


def test_a_function_that_names_nothing_is_given_what_trl_gives():
    told = [{**row, "tokens": [7]} for row in rows()]

    def reward(**kwargs):
        assert {"prompts", "completions", "completion_ids", "answer", "trainer_state"} <= set(kwargs)
        return [1.0] * len(kwargs["completions"])

    assert scores(call(reward, told)) == [1.0, 1.0]


def test_parameters_by_place_are_filled_by_place():
    def reward(prompts, completions, /, answer):
        return [float(text == "t0" and right == "2") for text, right in zip(completions, answer, strict=True)]

    assert scores(call(reward, rows())) == [1.0, 0.0]


def test_verifiers_functions_that_look_at_the_completion():
    async def correct(completion, answer, **kwargs):
        return float(completion[-1]["content"] == "t1" and answer == "2")

    assert scores(call(correct, rows(prompt=CHAT))) == [0.0, 1.0]


class Rubric:
    def __init__(self):
        self.funcs, self.weights = [length, Length()], [1.0, 0.5]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            Rubric(),
            "a Rubric of verifiers is no function; .* {path: your_file.py:length, weight: 1} "
            "- function: {path: your_file.py:Length, weight: 0.5}",
        ),
        ([1, 2], r"it is no function but \[1, 2\] \(list\)"),
        (
            type("Needs", (Length,), {"__init__": lambda self, size: None}),
            "it is a class that needs size: make",
        ),
        (lambda max_completion_len, soft_punish_cache: None, "makes a reward function is called in a file"),
        (
            lambda *args: [1.0],
            r"takes \*args alone, and .* by name: write def reward\(completions, \*\*columns",
        ),
        (dict.get, "fit no known convention|cannot be read"),
        (lambda: 1.0, "has no parameters, so that it must make a reward function, but it returned 1.0"),
        (lambda: 1 / 0, r"called to make the function, raised ZeroDivisionError: division by zero"),
        (type("Uncallable", (), {}), "Uncallable is a class whose objects .* cannot be called"),
    ],
)
def test_what_is_no_reward_function_is_refused_with_the_way_to_make_one(function, message):
    with pytest.raises(ValueError, match=message):
        adapted(function)


def test_text_where_messages_are_meant_is_told_the_option():
    with pytest.raises(TypeError, match="the prompts are text, so completions are: .* chat: true"):
        call(length, rows())


def test_one_at_a_time():
    def reward(completion, answer, n):
        return None if n else float(completion == "t0") + len(answer)

    assert adapted(reward).info["one"]
    assert scores(call(reward, rows(1))) == [2.0]


def test_verl():
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        assert (data_source, solution_str, ground_truth, extra_info) == ("gsm", "t0", "2", {"index": 1})
        return {"score": 1.0, "acc": True, "pred": "x"}

    answer = call(compute_score, rows(1, data_source="gsm", extra_info={"index": 1}))
    assert scores(answer) == [1.0]
    assert answer["columns"] == {"acc": [True], "pred": ["x"]}


def test_verl_batch():
    def compute(data_sources, solution_strs, ground_truths, extra_infos):
        assert (data_sources, ground_truths, extra_infos) == (["gsm"] * 2, ["2"] * 2, [None] * 2)
        return [{"score": len(text), "note": text} for text in solution_strs]

    answer = call(compute, rows(2, data_source="gsm"))
    assert scores(answer) == [2, 2] and answer["columns"] == {"note": ["t0", "t1"]}


def test_openrlhf():
    def reward_func(queries, prompts, labels):
        assert queries == ["p0t0", "p1t1"] and prompts == ["p0", "p1"] and labels == ["2", "2"]
        rewards = torch.tensor([0.25, 1.0])
        return {"rewards": rewards, "scores": rewards / 2, "extra_logs": {"length": torch.tensor([3, 4])}}

    answer = call(reward_func, rows())
    assert scores(answer) == [0.25, 1.0]
    assert answer["columns"] == {"scores": [0.125, 0.5], "length": [3, 4]}


def test_slime():
    async def custom_rm(args, sample, **kwargs):
        assert vars(args) == {}
        return float(sample.response == "t1" and sample.label == "2" and sample.metadata == {"k": 1})

    async def batched(args, samples):
        return [sample.index for sample in samples]

    assert scores(call(custom_rm, rows(metadata={"k": 1}))) == [0.0, 1.0]
    assert scores(call(batched, rows())) == [0, 1]


def test_flow_grpo():
    def brightness():
        def _fn(images, prompts, metadata):
            assert images.shape == (2, 4, 4, 3) and prompts == ["p0", "p1"] and metadata == [{}, {}]
            return images.mean((1, 2, 3)), {"more": 1}

        return _fn

    told = [{**row, "image": np.full((4, 4, 3), row["id"], np.uint8)} for row in rows()]
    assert scores(call(brightness, told)) == [0.0, 1.0]


def test_async_for_one_runs_all_at_once_and_fails_alone():
    meeting = []

    async def reward(completion, n):
        meeting.append(n)
        while len(meeting) < 4:  # nobody leaves before everybody is there
            await asyncio.sleep(0.001)
        if n == 1:
            raise KeyError("one")
        if n == 2:
            await asyncio.sleep(60)
        return n

    values = call(reward, rows(4), seconds=0.3)["values"]
    assert values == [
        [0, None],
        [None, "KeyError: 'one'"],
        [None, "TimeoutError: took more than 0.3 s"],
        [3, None],
    ]


def test_async_calls_share_one_loop():
    loops = set()

    async def reward(completions):
        loops.add(id(asyncio.get_running_loop()))
        return [1.0] * len(completions)

    judge = adapted(reward)
    for _ in range(3):
        judge({"rows": rows(), "facts": {}, "seconds": 1.0})
    assert len(loops) == 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1.0], "returned 1 scores for 2 rollouts"),
        ([1.0] * 3, "returned 3 scores for 2 rollouts"),
        (1.0, "returned 1.0 for 2 rollouts"),
        (None, "returned None for 2 rollouts"),
        (["a", "b"], "returned 'a', which is no number"),
        (np.zeros((2, 1)), r"returned scores of shape \[2, 1\], which must be \[2\]: one number a rollout"),
        (torch.zeros(2, 3), r"returned scores of shape \[2, 3\], which must be \[2\]"),
        ({"rewards": torch.zeros(2, 1)}, r"returned scores of shape \[2, 1\], which must be \[2\]"),
        ([torch.zeros(3)] * 2, r"returned values of shape \[3\] for one rollout, which is no number"),
        ([np.zeros(0)] * 2, r"returned values of shape \[0\] for one rollout"),
        (torch.tensor(1.0), "returned 1.0 for 2 rollouts"),
        ([[1.0], [2.0]], r"returned \[1.0\], which is no number"),
        (np.array(["1", "2"]), "returned '1', which is no number"),
        ([10**400, fractions.Fraction(10**400)], r"returned 1000.*, which is too large for a score"),
        ({1.0, 2.0}, r"returned \{1.0, 2.0\} for 2 rollouts"),
        ([{"x": 1}] * 2, r"returned a dict without rewards, reward, score, scores; its keys are \['x'\]"),
    ],
)
def test_wrong_results_are_errors_of_every_rollout(result, message):
    values = call(lambda completions: result, rows())["values"]
    assert [score for score, _ in values] == [None, None]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(values[0][1])


def test_numbers_of_every_kind():
    kinds = [np.float32(0.5), np.int64(2), torch.tensor(0.25), True, math.nan]
    values = scores(call(lambda completions: kinds, rows(5)))
    assert values[:4] == [0.5, 2, 0.25, True] and math.isnan(values[4])
    assert scores(call(lambda completions: np.array([1.0, 2.0]), rows())) == [1.0, 2.0]
    half = torch.tensor([0.5, 1.0], dtype=torch.bfloat16, requires_grad=True)
    assert scores(call(lambda completions: half, rows())) == [0.5, 1.0]
    assert scores(call(lambda completions: [np.ones(1), torch.zeros(1, 1)], rows())) == [1.0, 0.0]
    assert scores(call(lambda completions: map(len, completions), rows())) == [2, 2]
    exact = [decimal.Decimal("0.5"), fractions.Fraction(1, 4)]
    assert scores(call(lambda completions: exact, rows())) == [0.5, 0.25]


def test_scores_may_come_in_a_tuple_or_one_after_the_other():
    assert scores(call(lambda completions: (1.0, 2.0), rows())) == [1.0, 2.0]
    assert scores(call(lambda completions: (np.float32(1.0), torch.tensor(2.0)), rows())) == [1.0, 2.0]
    assert scores(call(lambda completions: (float(len(text)) for text in ("a", "bc")), rows())) == [1.0, 2.0]
    assert scores(call(lambda completions: ([1.0, 2.0], {"about": "them"}), rows())) == [1.0, 2.0]
    assert scores(call(lambda completions: {"a": 1.0, "b": 2.0}.values(), rows())) == [1.0, 2.0]
    assert scores(call(lambda completions: range(2), rows())) == [0, 1]


async def nothing():
    return 1.0


@pytest.mark.filterwarnings("error")
def test_a_coroutine_without_parameters_is_refused_and_closed():
    with pytest.raises(ValueError, match="nothing has no parameters, .* def nothing\\(completions\\)"):
        adapted(nothing)


def test_log_extra_of_a_wrong_length_raises():
    with pytest.raises(ValueError, match=r"log_extra\('x'\): 1 values for 2 rollouts"):
        call(lambda completions, log_extra: log_extra("x", [1]), rows())


def test_unknown_conventions_and_missing_columns_are_named():
    with pytest.raises(
        ValueError, match=r"its parameters \(a, b\) fit no known convention; known by: .*completions"
    ):
        adapted(lambda a, b: 0)
    with pytest.raises(
        TypeError, match="it asks for 'solution', which is no column of the data; there are: answer"
    ):
        call(lambda completions, solution: [], rows())
