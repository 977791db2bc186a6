"""What code in a worker can reach, with every layer and with each of them missing. Linux."""

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from oneloop.judge.isolation.confinement import LAYERS, Access
from oneloop.judge.isolation.notice import sentence
from oneloop.judge.isolation.process import Outcome
from oneloop.judge.isolation.sandbox import Sandbox
from tests.judge.isolation import attacks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
FILE = str(Path(attacks.__file__))
SECRET = "squeamish-ossifrage"
WITHOUT = {layer: tuple(other for other in LAYERS if other != layer) for layer in LAYERS}
WITHOUT["namespaces"] = ("landlock", "seccomp", "privileges")  # as in most containers
WITHOUT["filters"] = ("user", "processes", "network", "root", "privileges")  # as with old kernels
TRACING = ("read_memory_of_parent", "trace_parent", "copy_memory_of_parent")


@pytest.fixture(scope="module")
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        yield listening.getsockname()


def _accept(listening):
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


@pytest.fixture
def targets(tmp_path, monkeypatch, server):
    """(attack, what it is aimed at), and nothing else changed on this system if one gets through."""
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    (tmp_path / "secret").write_text(SECRET)
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        local.listen()
        yield [
            ("read_environment", SECRET),
            ("read_environment_of_others", SECRET),
            ("read_file", str(tmp_path / "secret")),
            ("read_file", "/etc/passwd"),
            ("list_folder", str(tmp_path)),
            ("read_file", str(Path(__file__))),
            ("write_file", str(tmp_path / "written")),
            ("write_file", os.path.join(os.path.dirname(attacks.__file__), "written")),
            ("connect", list(server)),
            ("connect", str(tmp_path / "s")),
            *((name, None) for name in TRACING),
            ("write_to_inherited", None),
            ("escape_namespace", None),
        ]


def copied(function, **options):
    """A sandbox for a function of `attacks`, which is not Python's and so has to be shown to the worker."""
    return Sandbox(f"{FILE}:{function}", copies=True, access=Access(files=(FILE,)), **options)


def outcomes(layers, calls, function="attempt", **options):
    if function == "attempt_as_user":
        sandbox = Sandbox(f"{FILE}:{function}", layers=layers, **options)
    else:
        sandbox = copied(function, layers=layers)
    try:
        found = sandbox.run(calls, 20)
        return found, sandbox._workers[0].missing
    finally:
        sandbox.close()


def through(calls, found):
    return [call for call, outcome in zip(calls, found, strict=True) if outcome.value and outcome.value[0]]


@pytest.mark.parametrize("layers", [LAYERS, *WITHOUT.values()], ids=["all", *WITHOUT])
def test_no_attack_of_a_model_gets_through_whichever_layer_is_missing(layers, targets):
    found, missing = outcomes(layers, targets)
    if told := sentence(missing):
        pytest.skip(told)
    assert [outcome.error for outcome in found] == [None] * len(targets)
    assert through(targets, found) == []


def test_a_model_starts_no_process_and_signals_none(targets):
    calls = [("fork", None), ("run_program", None), ("kill_all", None), ("open_socket", None)]
    found, missing = outcomes(LAYERS, calls)
    if "seccomp" in missing:
        pytest.skip(f"this system has no seccomp: {missing}")
    assert found == [Outcome((0.0, "PermissionError"))] * 2 + [
        Outcome((0.0, None)),
        Outcome((0.0, "PermissionError")),
    ]


def test_the_attacks_are_real(targets):
    """Without a single layer those get through that ordinary processes may do."""
    calls = [target for target in targets if target[0] in ("read_file", "list_folder", "connect")]
    found, _ = outcomes((), calls)
    assert through(calls, found) == calls


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("_exit", "the process ended (exit code 0)"),
        ("exit", "SystemExit: 0"),
        ("crash", "the process ended (signal SIGSEGV)"),
        ("memory", "out of memory (more than 128 MB)"),
        ("hang", "timed out after 1 s"),
        ("hang in C", "timed out after 1 s"),
        ("flood", "no score came back: a message of 1,000,000,000,000 bytes; at most 16,384 are taken"),
        ("no message", "no score came back: no message: JSONDecodeError"),
        ("foreign message", "no score came back: {'value': (1.0, None), 'info': 1}"),
        (float("nan"), "no score came back: the score nan"),
        (True, "no score came back: the score True"),
        ("text", "no score came back: {'value': ('text', None)}"),
        (2.0, "the scorer returned 2, which is not between 0 and 1"),
    ],
)
def test_a_text_that_breaks_its_process_costs_itself_alone(what, error):
    sandbox = copied("end", memory_mb=128)
    before, failed, after = sandbox.run([0.5, what, 0.75], 1)
    sandbox.close()
    assert (before, after) == (Outcome((0.5, None)), Outcome((0.75, None)))
    assert failed.value is None and failed.error.startswith(error)


def test_many_that_hang_are_all_tried_and_harm_no_other():
    sandbox = copied("end")
    found = sandbox.run(["hang"] * 5 + [1.0], 0.3)
    watcher = sandbox._workers[0]
    assert [outcome.error for outcome in found] == ["timed out after 0.3 s"] * 5 + [None]
    assert sandbox.run([0.0], 1) == [Outcome((0.0, None))] and sandbox._workers[0] is watcher
    sandbox.close()


def test_what_is_printed_goes_nowhere_and_remarks_are_bounded(capfd):
    sandbox = copied("end")
    (found,) = sandbox.run(["print"], 20)
    sandbox.close()
    assert found == Outcome((0.5, "r" * 200))
    assert capfd.readouterr() == ("", "")


def test_code_that_replaced_the_scorer_scores_no_other_text():
    found, _ = outcomes(LAYERS, ["a", "patch", "b"], "patch_alone")
    assert found[0] == found[2] == Outcome((0.25, None))


def test_code_of_the_user_is_shut_in_too(targets):
    targets = [
        target for target in targets if target[0] != "write_to_inherited"
    ]  # it may write what it likes
    found, missing = outcomes(LAYERS, targets, "attempt_as_user")
    if told := sentence(missing):
        pytest.skip(told)
    # what lies beside its own file may be read
    beside = [call for call in targets if call[1] and str(call[1]).startswith(os.path.dirname(FILE))]
    got = [call for call, outcome in zip(targets, found, strict=True) if outcome.value]
    assert [outcome.error for outcome in found] == [None] * len(targets)
    assert [call for call in got if call not in beside] == []
    assert ("write_file", os.path.join(os.path.dirname(FILE), "written")) not in got


def test_code_of_the_user_gets_what_it_was_granted(targets, tmp_path, server):
    calls = [
        *(("variable", name) for name in ("SOME_API_KEY", "HOME")),
        ("connect", list(server)),
        ("read_file", str(tmp_path / "secret")),
        ("write_file", str(tmp_path / "secret")),
    ]
    access = Access(network=True, environment=("SOME_API_KEY",), files=(str(tmp_path),))
    found, _ = outcomes(LAYERS, calls, "attempt_as_user", access=access)
    key, home, connected, read, written = (outcome.value for outcome in found)
    assert key == SECRET and home != os.environ["HOME"]
    assert (connected, read, written) == (True, True, False)
