"""The package as a program: `python -m oneloop` is the command."""

import subprocess
import sys

from oneloop import __version__


def test_python_m_oneloop():
    done = subprocess.run([sys.executable, "-m", "oneloop", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"oneloop {__version__}\n")
