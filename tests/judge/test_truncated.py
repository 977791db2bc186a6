from oneloop.judge.truncated import Truncated
from tests.judge.judge_rollouts import rollouts


def test_only_the_cut_off_pay():
    judged = Truncated(penalty=0.5)(rollouts(["a", "b", "c"], status=["stop", "length", "failed"]))
    assert judged["reward.truncated"].tolist() == [0.0, -0.5, 0.0]
    assert judged["error.truncated"] == [None] * 3
