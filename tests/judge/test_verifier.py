import time

import pytest
import torch
from pydantic import ValidationError

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.verdicts import JudgeError
from oneloop.judge.verifier import Verifier
from oneloop.sample.data.files.text_table import parsed_json
from oneloop.sample.data.reasoning import Reasoning
from tests.judge.judge_rollouts import rollouts


def test_reasoning_gym_rewards_partial_credit_but_is_correct_only_at_one():
    rows = [Reasoning()[i] for i in range(3)]
    texts = [rows[0]["answer"], rows[1]["answer"] + "0", "no number"]
    judged = Verifier()(rollouts(texts, rows))
    score = judged["reward.verifier"]
    digits = len(rows[1]["answer"])
    assert score.tolist() == pytest.approx([1.0, digits / (digits + 1), 0.0])
    assert judged.correct.tolist() == [1.0, 0.0, 0.0]
    assert judged.correct.dtype == score.dtype == torch.float64
    assert judged["error.verifier"] == [None] * 3


def test_exact_with_extraction():
    judged = Verifier(by="exact", extract=r"#### (\S+)")(rollouts(["so #### 1", "1", "#### 2 #### 1"]))
    assert judged.correct.tolist() == [1.0, 0.0, 1.0]


def test_an_expression_that_hangs_math_verify_is_killed():
    rows = [{"prompt": "p", "answer": "72"}] * 4
    texts = [r"\boxed{72}", r"\boxed{5^{5^{5^{5^5}}}}", "5^(5^(5^(5^5)))", "$72$"]
    start = time.monotonic()
    judged = Verifier(by="math", limits=JudgeLimits(timeout=2))(rollouts(texts, rows))
    assert time.monotonic() - start < 60
    assert judged.correct.tolist()[0::3] == [1.0, 1.0]
    assert judged["error.verifier"][0] is None and judged["error.verifier"][3] is None
    assert judged["error.verifier"][1] == "timed out after 2 s"
    assert judged.correct[1].isnan() and judged["reward.verifier"][1].isnan()
    assert judged.correct[2] != 1


def test_a_regular_expression_that_explodes_is_killed():
    judged = Verifier(by="exact", extract=r"(a+)+b", limits=JudgeLimits(timeout=0.5))(
        rollouts(["a" * 50, "aab"])
    )
    assert judged["error.verifier"] == ["timed out after 0.5 s", None]


def test_a_row_without_an_answer_gets_no_verdict():
    judged = Verifier(by="exact")(
        rollouts(["1", "1"], [{"prompt": "p", "answer": None}, {"prompt": "p", "answer": 1}])
    )
    assert judged.correct.isnan().tolist() == [True, False]
    assert judged["error.verifier"] == [None, None]


def test_missing_columns_are_a_fault_of_the_recipe():
    with pytest.raises(
        JudgeError, match=r"by exact needs the column 'answer' of the data; columns there are: prompt, x"
    ):
        Verifier(by="exact")(rollouts(["1"], [{"prompt": "p", "x": 1}]))
    with pytest.raises(
        JudgeError,
        match="by reasoning_gym needs the columns 'question' and 'metadata' of the data.*`by: exact`",
    ):
        Verifier()(rollouts(["1"]))


def test_faults_of_the_recipe():
    with pytest.raises(ValidationError, match="extract is no regular expression: .*got '\\('"):
        Verifier(extract="(")
    with pytest.raises(ValidationError, match="'reasoning_gym', 'math' or 'exact'"):
        Verifier(by="maths")


def test_a_number_is_compared_as_its_file_writes_it():
    rows = [{"prompt": "p", "answer": answer} for answer in parsed_json("[2.50, 1e3, 7, [1, 2.0]]")]
    judged = Verifier(by="exact")(rollouts(["2.50", "1e3", "7", "2.0"], rows))
    assert judged.correct.tolist() == [1.0] * 4


def test_an_answer_that_is_no_text_is_named_for_its_rollout_alone():
    rows = [{"prompt": "p", "answer": {"value": "1"}}, {"prompt": "p", "answer": ["one", "1"]}]
    judged = Verifier(by="exact")(rollouts(["1", "1"], rows))
    assert judged.correct.isnan().tolist() == [True, False] and judged.correct[1] == 1
    assert judged["error.verifier"][0].startswith("ValueError: the right answer is {'value': '1'} (dict)")
