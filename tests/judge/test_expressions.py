"""What may be evaluated: the answers of reasoning-gym's tasks, and nothing that a payload needs."""

import ast
import os
from pathlib import Path

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS, create_dataset

from oneloop.judge import expressions
from oneloop.judge.expressions import (
    EVALUATORS,
    HARMLESS,
    ROWS,
    TASKS,
    NotPlain,
    check_arithmetic,
    check_bits,
    check_formula,
    check_list,
    evaluates,
)
from oneloop.judge.scorers import reasoning_gym as scored
from oneloop.judge.verifier import Verifier
from oneloop.sample.data.reasoning import Reasoning
from tests.judge.judge_rollouts import rollouts

PACKAGE = Path(reasoning_gym.__file__).parent
PAYLOADS = [
    "__import__('os').system('echo $SOME_API_KEY > {file}')",
    "open('{file}', 'w').write('was here')",
    "[open('{file}', 'w').write(c) for c in 'x']",
    "[].__class__.__base__.__subclasses__()",
    "(lambda: __import__('os').kill(1, 9))()",
    "exec('import os; os.remove(\\'{file}\\')')",
    "sin(\"__import__('os').system('touch {file}')\")",
    "sympify(\"__import__('os').getpid()\")",
    "S('1+1')",
    "[*__import__('sys').modules]",
    "f'{{__import__(\"os\").getpid()}}'",
    "getattr(1, '__class__')",
    "x.__class__",
    "x[0]",
    "1 if exit() else 2",
    "(y := 3)",
    "__import__('numpy').__dict__.update(isclose=lambda *a, **k: True)",
    "__import__('reasoning_gym').games.countdown.CountdownDataset.__dict__",
    "__builtins__.__dict__.__setitem__('eval', lambda text: [])",
    "9**9**9**9",
    "(9**9999)**9999",
    "quit()",
    "Integer(1)",
    "lambda: 1",
    "1 and exit()",
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("check", [check_list, check_arithmetic, check_formula, check_bits])
def test_no_payload_is_plain(check, payload):
    with pytest.raises(NotPlain):
        check(payload)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_payload_is_wrong_and_touches_nothing(task, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "squeamish-ossifrage")
    row = Reasoning(task=task, size=1)[0]
    file = tmp_path / "reached"
    texts = [payload.format(file=file) for payload in PAYLOADS]
    judged = Verifier()(rollouts([*texts, row["answer"]], [row] * (len(texts) + 1)))
    *wrong, right = judged["reward.verifier"].tolist()
    assert judged["error.verifier"] == [None] * (len(texts) + 1)
    assert right == 1.0 and max(wrong) <= 0.01
    assert all(extra["remark"].startswith("not evaluated: ") for extra in judged["extra.verifier"][:-1])
    assert list(tmp_path.iterdir()) == [] and judged["extra.verifier"][-1] == {}


@pytest.mark.parametrize("task", sorted(TASKS.keys() | ROWS.keys()))
def test_own_answers_are_plain_and_right(task):
    for row in Reasoning(task=task, size=20):
        if "Integral(" not in row["answer"]:
            assert scored(row["answer"], row, alone=True) == (1.0, None)


def test_an_integral_that_was_not_solved_is_no_answer():
    """reasoning-gym itself gives full marks for `Integral(<the question>, x)`."""
    row = Reasoning(task="simple_integration", size=1)[0]
    told = row["metadata"]
    text = f"Integral({told['integrand']}, {told['variable']})"
    score, remark = scored(text, row, alone=True)
    assert score == 0.0 and remark.startswith(
        "not evaluated: a call of anything but a function of mathematics"
    )


@pytest.mark.parametrize(
    ("task", "score", "listed"),
    [
        (
            "binary_matrix",
            0.1,
            lambda text: str([[int(n) for n in line.split()] for line in text.split("\n")]),
        ),
        ("n_queens", 0.5, lambda text: str([line.split() for line in text.split("\n")])),
        ("spiral_matrix", 0.1, lambda text: str(text.split())),
        ("string_insertion", 0.1, lambda text: str(list(text))),
    ],
)
def test_an_answer_written_as_a_list_keeps_its_partial_credit(task, score, listed):
    row = Reasoning(task=task, size=1)[0]
    assert scored(listed(row["answer"]), row, alone=True) == (score, None)


def test_a_right_formula_written_otherwise_is_right():
    row = Reasoning(task="simple_integration", size=1)[0]
    assert scored(f"({row['answer']}) + 3 - 1", row, alone=True)[0] == 1.0
    row = {**Reasoning(task="countdown", size=1)[0], "answer": "?"}
    numbers = row["metadata"]["expression"]
    assert scored(f" ( {numbers} ) ", row, alone=True)[0] == 1.0


@pytest.mark.parametrize("text", ["x**(1/2) - pi*exp(2*x)", "-(3.5/x)", "sqrt(x + 1)*log(x)", "3"])
def test_formulas_of_calculus_are_plain(text):
    assert check_formula(text)


@pytest.mark.parametrize("text", ["ABCDE", "", "1 2 3", "_ Q\nQ _", "5", "'x'", "exit"])
def test_what_cannot_become_a_list_is_scored_without_a_process_of_its_own(text):
    assert check_list(text) is False


def test_a_very_long_or_deep_text_is_not_parsed():
    for text in ("[" * 5000, "(" * 5000 + ")" * 5000, "1+" * 9000 + "1"):
        for check in (check_arithmetic, check_formula):
            with pytest.raises(NotPlain):
                check(text)
        assert _refused_or_inert(text)


def _refused_or_inert(text):
    try:
        return check_list(text) is False
    except NotPlain:
        return True


def test_code_in_a_data_row_is_not_evaluated_either():
    row = Reasoning(task="bitwise_arithmetic", size=1)[0]
    bad = {**row, "metadata": {**row["metadata"], "problem": "__import__('os').getpid()"}}
    with pytest.raises(ValueError, match="the row has what bitwise_arithmetic must not evaluate"):
        scored("0x1", bad, alone=True)


def evaluating_files():
    """The files of the installed reasoning-gym that evaluate text."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "contrib" not in path.parts and evaluates(path.read_text())
    }


def test_every_evaluating_file_of_this_version_is_known():
    """A new version that evaluates anywhere else has to be looked at, then listed in `expressions`."""
    makers = {  # make puzzles with it, score without
        *(
            "algorithmic/number_sorting.py",
            "arithmetic/basic_arithmetic.py",
            "arithmetic/bitwise_arithmetic.py",
        ),
        *("arithmetic/gsm_symbolic/generators_00_49.py", "arithmetic/gsm_symbolic/generators_50_99.py"),
        *("code/codeio.py", "logic/propositional_logic.py"),
    }
    scorers = {
        *("algorithmic/binary_matrix.py", "algorithmic/spiral_matrix.py", "algorithmic/string_insertion.py"),
        *("games/n_queens.py", "games/countdown.py", "games/puzzle24.py"),
        *("algebra/simple_integration.py", "algebra/intermediate_integration.py"),
        "algebra/polynomial_multiplication.py",
    }
    assert evaluating_files() == makers | scorers


def test_every_evaluating_task_of_this_version_is_known():
    known = TASKS.keys() | ROWS.keys() | HARMLESS
    found = {}
    for name, (task, _) in DATASETS.items():
        source = Path(os.fspath(__import__("sys").modules[task.__module__].__file__)).read_text()
        if evaluates(source):
            found[name] = task
    assert set(found) == known


def test_no_scorer_of_a_task_evaluates_by_another_name():
    """Every call of a scorer's own module that could run text as code goes by a name of EVALUATORS."""
    suspicious = {
        "compile",
        "__import__",
        "import_module",
        "run_path",
        "system",
        "popen",
        "Popen",
        "lambdify",
    }
    for name, (task, _) in DATASETS.items():
        source = Path(__import__("sys").modules[task.__module__].__file__).read_text()
        calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not names & (suspicious - EVALUATORS), name


def test_an_unknown_task_that_evaluates_is_refused(monkeypatch):
    from oneloop.judge import scorers

    row = Reasoning(task="countdown", size=1)[0]
    monkeypatch.setattr(scorers, "TASKS", {})
    monkeypatch.setattr(scorers, "_TASKS", {})
    with pytest.raises(
        ValueError, match="the task countdown of this version of reasoning-gym evaluates text"
    ):
        scored(row["answer"], row, alone=True)


def test_the_checks_are_of_what_the_scorers_see():
    """The tasks' own scorers would run a payload: without the check it would have got through."""
    ran = []
    task = create_dataset("string_insertion", seed=0, size=1)
    entry = task[0]
    expressions.ran = ran
    task.score_answer("[__import__('oneloop.judge.expressions').judge.expressions.ran.append(1)]", entry)
    del expressions.ran
    assert ran == [1]
