"""Functions that misbehave, for the tests of the sandbox. Standard library only."""

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


def behave(what):
    if not isinstance(what, str):
        return what
    if what == "sleep":
        time.sleep(60)
    if what == "hang in C":  # holds the interpreter's lock, no signal handler of Python would run
        return 9**9**9
    if what == "memory":
        return len([0] * 10**9)
    if what == "leak":
        blocks = []
        while True:
            blocks.append(bytes(10**7))
    if what == "crash":
        ctypes.string_at(0)
    if what == "exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "vanish":
        os._exit(4)
    if what == "raise":
        raise KeyError("no such thing")
    if what == "connect":
        socket.create_connection(("127.0.0.1", 9), 1)
    if what == "open":
        return Path("/etc/passwd").read_text()
    if what == "variable":
        return os.environ["SOME_API_KEY"]
    if what == "object":
        return object()
    if what == "print":
        print("{} noise")
        os.write(1, b"\x00\x00\x00\x00\x00\x00\x00\x02{}")
        os.write(2, b"more noise\n")
    if what == "pid":
        return os.getpid()
    if what == "children":
        pause = [sys.executable, "-c", "import time; time.sleep(300)"]
        start = f"import subprocess, time; subprocess.Popen({pause!r}); time.sleep(300)"
        subprocess.Popen([sys.executable, "-c", start])
        subprocess.Popen(pause, start_new_session=True)
    if what == "thread":
        return threading.current_thread() is threading.main_thread()
    if what == "loaded":
        return "torch" in sys.modules
    return what


def times(factor):
    return lambda value: factor * value


def twice(function):
    return lambda value: function(function(value))
