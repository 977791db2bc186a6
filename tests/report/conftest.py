"""One made-up run directory for all tests of the report, and a browser to open pages with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.made_up_run import write_run

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Read only: tests that change a run directory make their own with `write_run`."""
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart-seed0")


@pytest.fixture
def browse_page(tmp_path):
    """The same for any report."""

    def render(report, address: str = "", script: str = "") -> str:
        page = tmp_path / "report.html"
        extra = f"<script>Promise.resolve((() => {{ {script} }})() ?? null).then((result) => {{"
        extra += "const said = document.createElement('output'); said.id = 'result';"
        extra += "said.textContent = JSON.stringify(result); document.body.append(said); });</script></body>"
        page.write_text(report.read_text().replace("</body>", extra))
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
        )
        flags += (
            " --disable-sync --no-first-run --window-size=1400,1000 --virtual-time-budget=2000 --dump-dom"
        )
        command = [
            CHROMIUM,
            *flags.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            page.as_uri() + address,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return render
