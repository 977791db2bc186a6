"""The process that a sandbox starts: loads one function, then answers calls until its parent is gone.

    parent -> worker   {function, setup, adapter, path, memory_mb, ...}, then {calls, seconds}
    worker -> parent   {info, layers} or {error} once, then one {value} or {error} for each call, in order

A function of the user runs in this process itself, where it may keep what it has loaded. One that handles a
model's text (`copies`) runs in copies of this process (oneloop.judge.isolation.forked). Only the standard
library is imported: a worker starts in tens of milliseconds and never loads torch unless its function does.
What the function prints goes where the parent's prints go and cannot be mistaken for an answer.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oneloop.core.text import words_of
from oneloop.judge.isolation.confinement import Access, Confinement
from oneloop.judge.isolation.forked import Copies
from oneloop.judge.isolation.messages import BadMessage, pack, receive, send
from oneloop.judge.isolation.system import PR_SET_DUMPABLE, prctl
from oneloop.judge.isolation.watch import fork_watched


def main(channel_number: int, guard_number: int) -> None:
    """Serves the parent at the other end of the two file descriptors."""
    channel = socket.socket(fileno=channel_number)
    try:
        hello = receive(channel)
    except BadMessage:  # the parent was killed in the middle of it
        hello = None
    if hello is None:
        return
    access = Access(**hello["access"])
    confinement = Confinement(hello["layers"])
    confinement.before_fork(access.network)
    fork_watched(guard_number, hello["folder"])
    try:
        sys.path[:] = hello["path"]
        confinement.after_fork(hello["folder"], access)
        function = load(hello["function"], hello["source"])
        if hello["setup"] is not None:
            function = function(*hello["setup"])
        if hello["adapter"] is not None:
            function = load(hello["adapter"])(function)
        memory = confinement.more_memory(hello["memory_mb"])
        if hello["copies"]:
            with contextlib.suppress(OSError):  # this process cannot be traced, by its copies least of all
                prctl(PR_SET_DUMPABLE, 0)
            function = Copies(function, hello["memory_mb"], memory, "seccomp" in confinement.held)
        elif memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    except BaseException as error:
        send(channel, {"error": describe(error) + hint(error, access)})
        return
    send(channel, {"info": getattr(function, "info", None), "missing": confinement.missing})
    while (asked := receive(channel)) is not None:
        for argument in asked["calls"]:
            if hello["copies"]:
                answer = pack(function(argument, asked["seconds"]))
            else:
                answer = call(function, argument, hello["memory_mb"], access)
            send(channel, answer)
            if answer.get("last"):
                return


def call(function: Callable[[Any], Any], argument: Any, megabytes: int, access: Access) -> dict[str, Any]:
    """{value} or {error}; `last` when the process had better not be used again."""
    try:
        value = pack(function(argument))
        json.dumps(value)
        return {"value": value}
    except MemoryError:
        return {"error": f"out of memory (more than {megabytes} MB)", "last": True}
    # SystemExit too: a function that calls exit() has failed, no more; Ctrl-C never comes here
    except BaseException as error:
        return {"error": describe(error) + hint(error, access)}


def hint(error: BaseException, access: Access) -> str:
    """What limit of the judge to change where the worker's isolation is the likely reason of `error`."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    if isinstance(error, KeyError) and last and last[0].filename in (os.__file__, "<frozen os>"):
        return "; a worker is told no variables but those in limits.environment"
    if not isinstance(error, OSError) or isinstance(error, TimeoutError):
        return ""
    if error.filename is not None:
        return "; a worker reads no files but Python's, those beside its function, and limits.files"
    return "" if access.network else "; a worker has no network without limits.network: true"


def describe(error: BaseException) -> str:
    """`KeyError: 'x' (rewards.py, line 12)`: the kind, the words and the last place in the user's code."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if (name := trace.tb_frame.f_code.co_filename) != __file__ and not name.startswith("<"):
            place = f" ({Path(name).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {words_of(error)[:500]}{place}"


def load(path: str, source: str = "") -> Callable[..., Any]:
    """The function at `package.module.function` or `file.py:function`; `source`: what that file says, else it
    is read. Raises ImportError, AttributeError."""
    if ".py:" in path:
        file, _, name = path.rpartition(":")
        spec = importlib.util.spec_from_file_location("oneloop_sandbox_" + Path(file).stem, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {file}")
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        sys.path.append(str(Path(file).resolve().parent))  # what lies beside the file may be imported
        if source:
            exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
        else:
            spec.loader.exec_module(module)
    else:
        module_name, _, name = path.rpartition(".")
        module = importlib.import_module(module_name)
    return getattr(module, name)  # type: ignore[no-any-return]
