"""Starts chat_server.py as a process of its own, and speaks to it."""

import json
import subprocess
import sys
from pathlib import Path

import httpx


class Server:
    """One process; `url` is what a recipe calls base_url."""

    def __init__(self, model: str = "-", port: int = 0):
        script = Path(__file__).parent / "chat_server.py"
        command = [sys.executable, script, model, str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.root = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.url = f"{self.root}/v1"

    def break_(self, **faults):
        """From now on it has these faults and no others; what it was asked is forgotten."""
        assert httpx.post(f"{self.root}/faults", content=json.dumps(faults)).status_code == 200

    def asked(self):
        """The requests since then: {body, key}."""
        return httpx.get(self.root).json()["asked"]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
