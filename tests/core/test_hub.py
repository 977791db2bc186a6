"""Without a connection to the hub the cache is looked at, at once, and what is missing is said in words."""

import importlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from oneloop.core import hub
from oneloop.models.flow.diffusion_pipeline import DiffusionPipeline
from oneloop.models.handwriting.autoencoder import open_autoencoder
from oneloop.models.judges.yes_no_vlm import YesNoVlm
from oneloop.models.vision_language.flexible_llava import FlexibleLlava
from oneloop.sample.data.hub import Hub
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.lora import Lora
from oneloop.sample.policies.vision_language import VisionLanguage

NAME = "some/name-that-is-nowhere"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Nothing listens where the hub should be; its cache is an empty folder."""
    for name in {each for names in hub.OFFLINE.values() for each in names}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    hub._no_answer.cache_clear()
    yield constants.ENDPOINT
    hub._no_answer.cache_clear()


class NotFound(BaseHTTPRequestHandler):
    """Answers that there is nothing."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *words) -> None:
        """Says nothing."""


@pytest.fixture
def place(nowhere, monkeypatch):
    """A hub that answers."""
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield
        server.shutdown()


def offline():
    with hub.asked(NAME):
        return constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked_and_its_answer_is_told(place):
    assert not offline() and hub.cut_off() == ""
    assert hub.why(NAME, OSError("404: no such model")) == "404: no such model"


def test_a_hub_that_does_not_is_not_asked(nowhere):
    assert offline() and not constants.HF_HUB_OFFLINE
    assert hub.cut_off().startswith(f"the hub {nowhere} cannot be reached (")


def test_a_folder_of_that_name_is_reason_enough_not_to_look_for_a_hub(nowhere, tmp_path, monkeypatch):
    (tmp_path / NAME).mkdir(parents=True)
    monkeypatch.setattr(hub, "cut_off", lambda: pytest.fail("a connection was tried"))
    assert not offline()
    assert hub.why(NAME, OSError("it has no config.json")) == "it has no config.json"


def test_the_sentence_has_the_reason_and_the_nearest_name(nowhere, tmp_path, monkeypatch):
    said = hub.why("Qwen/Qwen3-0.6B", OSError("no"))
    assert said == (
        f"there is no folder of that name here, it is not in the cache {tmp_path}/cache, and {hub.cut_off()}"
    )
    (tmp_path / "cache" / "models--Qwen--Qwen3-0.7B").mkdir(parents=True)
    assert hub.why("Qwen/Qwen3-0.6B", OSError("no")) == (
        f"{said}; did you mean 'Qwen/Qwen3-0.7B', which is in the cache?"
    )
    (tmp_path / "models" / "Qwen3-0.6B").mkdir(parents=True)
    assert (
        hub.why("Qwen/Qwen3-0.6B", OSError("no")) == f"{said}; did you mean the folder 'models/Qwen3-0.6B'?"
    )
    (tmp_path / "cache" / "models--Qwen--Qwen3-0.6B").mkdir()
    assert "only a part of it is in the cache" in hub.why("Qwen/Qwen3-0.6B", OSError("no"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "and HF_HUB_OFFLINE is set, so the hub is not asked" in hub.why("Qwen/Qwen3-0.6B", OSError("no"))


PLACES = {
    "model": lambda: Language(model=NAME).outline(),
    "model, opened": lambda: Language(model=NAME, lora=Lora()).open(),
    "processor": lambda: VisionLanguage(model=NAME).outline(),
    "flexible": lambda: FlexibleLlava(model=NAME).build(),
    "judge": lambda: YesNoVlm(name=NAME).build(),
    "images": lambda: DiffusionPipeline(name=NAME).build(),
    "images, outlined": lambda: DiffusionPipeline(name=NAME).outline(),
    "autoencoder": lambda: open_autoencoder(NAME),
    "data": lambda: len(Hub(path=NAME)),
}


@pytest.mark.parametrize("where", PLACES)
def test_whoever_names_what_is_nowhere_is_told_so_at_once(nowhere, monkeypatch, where):
    http = importlib.import_module("huggingface_hub.utils._http")
    monkeypatch.setattr(http.time, "sleep", lambda seconds: pytest.fail("it tries again"))
    with pytest.raises(
        ValueError, match=f"cannot (load|find) '?{NAME}.*the hub .* cannot be reached"
    ) as caught:
        PLACES[where]()
    assert "Traceback" not in str(caught.value) and str(caught.value).count("\n") == 0
