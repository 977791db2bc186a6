import functools
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.rooms import build
from oneloop.judge.function import Function
from oneloop.judge.isolation.process import CannotStart
from tests.judge.judge_rollouts import rollouts

FILE = Path(__file__).parent / "rewards_file.py"
QUICK = JudgeLimits(timeout=0.5, memory_mb=256)


def judge(name, **fields):
    return Function(path=f"{FILE}:{name}", **{"limits": QUICK, **fields})


def test_by_file_and_by_module_and_live():
    asked = rollouts(["a", "bbb"])
    for path in (f"{FILE}:length", len_of):
        part = Function(path=path)
        judged = part(asked)
        assert judged[f"reward.{part.name}"].tolist() == [1.0, 3.0]
        assert judged[f"reward.{part.name}"].dtype == torch.float64
        assert judged[f"error.{part.name}"] == [None, None]
    assert build("judge", {"function": {"path": f"{FILE}:length"}}).name == "length"
    assert Function(path=f"{FILE}:length", name="long").name == "long"


def len_of(completions):
    return [len(text) for text in completions]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("raise", "KeyError: 'raise' (rewards_file.py, line "),
        ("hang", "timed out after 0.5 s"),
        ("memory", "out of memory (more than 256 MB)"),
        ("crash", "the process ended (exit code 9)"),
        ("nan", "returned nan (None is how to say that there is no verdict)"),
        ("text", "returned '1', which is no number"),
        ("none", None),
    ],
)
def test_a_bad_rollout_of_a_batch_costs_itself_alone(bad, error):
    judged = judge("picky")(rollouts(["a", bad, "cc", "d"]))
    assert judged["reward.picky"].isnan().tolist() == [False, True, False, False]
    first, told, *rest = judged["error.picky"]
    assert [first, *rest] == [None] * 3
    assert (told or "").startswith(error or "")
    assert (told is None) == (error is None)


@pytest.mark.parametrize("name", ["picky_one", "picky_async"])
@pytest.mark.parametrize("bad", ["raise", "nan", "none"])
def test_one_at_a_time_sync_and_async(name, bad):
    judged = judge(name)(rollouts(["a", bad, "c"]))
    assert judged[f"reward.{name}"].isnan().tolist() == [False, True, False]
    assert (judged[f"error.{name}"][1] is None) == (bad == "none")


def test_a_hang_of_one_at_a_time_is_killed():
    start = time.monotonic()
    judged = judge("picky_one")(rollouts(["a", "hang", "c"]))
    assert judged["reward.picky_one"].tolist()[::2] == [1.0, 1.0]
    assert judged["error.picky_one"] == [None, "timed out after 0.5 s", None]
    assert time.monotonic() - start < 30


def test_without_isolation_the_whole_batch_is_in_error():
    judged = judge("picky", isolate=False)(rollouts(["a", "raise", "c"]))
    assert judged["reward.picky"].isnan().all()
    assert [error[:8] for error in judged["error.picky"]] == ["KeyError"] * 3


def test_a_wrong_length_is_not_mended_by_smaller_batches():
    judged = judge("short")(rollouts(["a", "b", "c"]))
    assert judged["error.short"] == ["returned 2 scores for 3 rollouts"] * 3


def test_what_is_logged_is_kept():
    judged = judge("picky")(rollouts(["a", "bb"]))
    assert judged["extra.picky"] == [{"size": 1}, {"size": 2}]
    assert judged.facts["judge_metrics"] == {"picky/rows": 2.0}
    isolated = judge("picky")(rollouts(["a", "raise", "ccc"]))
    assert isolated["extra.picky"] == [{"size": 1}, {}, {"size": 3}]
    assert isolated.facts["judge_metrics"] == {"picky/rows": 1.0}


def test_columns_and_token_ids_reach_the_worker_and_what_cannot_be_sent_is_said():
    examples = [{"prompt": "p", "answer": str(i), "level": 1, "picture": object()} for i in range(2)]
    with pytest.warns(UserWarning, match="'columns_seen' is not given the column 'picture'.* sent no object"):
        judged = judge("columns_seen")(rollouts(["a", "b"], examples))
    # one token each; beside `answer` there are level, trainer_state, log_extra, log_metric and prompts
    assert judged["reward.columns_seen"].tolist() == [501.0, 511.0]


def test_pictures_of_the_data_reach_the_worker_as_pictures():
    shown = [Image.new("L", (2, 1), 10), Image.new("CMYK", (3, 1))]
    examples = [{"prompt": "p", "image": image, "raw": b"\xff\x00", "images": shown} for image in shown]
    judged = judge("pictured")(rollouts(["a", "b"], examples))
    # width, number of bands, number of the others, first byte
    assert judged["reward.pictured"].tolist() == [1 + 20 + 200 + 255_000, 4 + 30 + 200 + 255_000]


def test_printing_disturbs_nothing_and_torch_is_not_loaded():
    assert judge("noisy")(rollouts(["a"]))["reward.noisy"].tolist() == [1.0]
    assert judge("loaded")(rollouts(["a"]))["reward.loaded"].tolist() == [0.0]


def test_it_works_off_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(judge("picky")(rollouts(["a", "hang", "c"]))))
    thread.start()
    thread.join(60)
    assert results[0]["error.picky"] == [None, "timed out after 0.5 s", None]


def test_a_live_function_sees_this_process_and_is_given_up_on():
    state = {"bonus": 2.0}
    release = threading.Event()

    def closure(completion):
        if completion == "hang":
            release.wait(60)
        return state["bonus"]

    judged = Function(path=closure, limits=JudgeLimits(timeout=0.2))(rollouts(["a", "hang", "c"]))
    release.set()
    assert judged["reward.closure"].tolist()[::2] == [2.0, 2.0]
    assert judged["error.closure"][1].startswith("timed out after 0.2 s")


def test_pictures_reach_a_flow_reward():
    def brightness(images, prompts, metadata):
        return images.mean((1, 2, 3)), {}

    asked = rollouts(["", ""]).put(output=torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 4, 4))
    assert Function(path=brightness)(asked)["reward.brightness"].tolist() == [0.0, 255.0]


def test_no_rollouts():
    judged = judge("picky")(rollouts([]))
    assert len(judged) == 0 and judged["reward.picky"].shape == (0,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": f"{FILE}:lenght"}, "defines no 'lenght'; did you mean 'length'"),
        ({"path": "nowhere.py:f"}, "no such file: nowhere.py (seen from the working directory, /"),
        ({"path": "~/nowhere.py:f"}, "no such file: ~/nowhere.py; ~ is the home folder for a shell alone"),
        ({"path": str(FILE)}, f"say which function of the file: {FILE}:NAME"),
        ({"path": len_of, "limits": {"memory_mb": 99}}, "need a process: give the function by its path"),
        ({"path": lambda a, b: 0}, "fit no known convention"),
        ({"path": f"{FILE}:length", "limits": {"timeout": -1}}, "greater than 0"),
    ],
)
def test_faults_of_the_recipe(fields, message):
    with pytest.raises((ValidationError, ValueError)) as caught:
        Function(**fields)
    inner = str(caught.value) + "".join(
        str(fault.get("ctx")) for fault in getattr(caught.value, "errors", list)()
    )
    assert message in inner


def test_a_convention_is_checked_without_importing_the_function():
    with pytest.raises(ValidationError, match=r"its parameters \(a, b\) fit no known convention"):
        judge("nothing")


def test_what_the_data_lacks_is_said_before_anything_is_sampled():
    def reward(completions, solution, level=0):
        return []

    assert Function(path=reward).lacks(["prompt", "solution"]) == []
    (told,) = Function(path=reward).lacks(["prompt", "answer"])
    assert told.startswith("it asks for 'solution', which is no column of the data; there are: answer, ")
    assert judge("columns_seen").lacks(["prompt", "answer"]) == []


def test_a_right_answer_that_is_asked_for_and_not_there_is_warned_of():
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        return 0.0

    with pytest.warns(
        UserWarning, match="'compute_score' asks for 'ground_truth', which is the data's column"
    ):
        assert Function(path=compute_score).lacks(["prompt", "solution"]) == []


def test_partials_and_objects_are_called_by_the_name_of_what_they_hold():
    assert Function(path=functools.partial(len_of)).name == "len_of"
    assert build("judge", {"function": {"path": Scored()}}).name == "Scored"


class Scored:
    def __call__(self, completions):
        return [1.0] * len(completions)


class Rubric:
    funcs, weights = [len_of], [0.5]


def test_a_rubric_is_refused_with_its_functions_as_judges():
    with pytest.raises(ValidationError, match="a Rubric of verifiers is no function; .*len_of, weight: 0.5"):
        Function(path=Rubric())


def test_what_the_source_does_not_tell_is_checked_when_the_function_is_loaded():
    with pytest.raises(CannotStart, match=r"wrapped'.*its parameters \(a, b\) fit no known convention"):
        judge("wrapped").lacks(["prompt"])
