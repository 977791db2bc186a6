"""The Hugging Face hub: whether it can be asked, and what to say of a name that is not on this machine.

The libraries that ask it try again for half a minute, for each file, where there is no network. `asked` tries
a connection first: without one they look at their cache alone, as with HF_HUB_OFFLINE.
"""

import difflib
import os
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

OFFLINE = {
    "model": ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
    "dataset": ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
}
"""Environment variables that forbid to ask the hub for something."""
YES = ("1", "ON", "YES", "TRUE")
PATIENCE = 15.0
"""Seconds within which a hub answers that anything could be downloaded from."""
AGAIN = 3
"""How often a name server is asked that has failed for a moment."""
MOST = 10_000
"""Folders among which a nearly right name is looked for."""
Kind = Literal["model", "dataset"]


@contextmanager
def asked(name: str) -> Iterator[None]:
    """Meanwhile a library may look for `name`, a folder or a name of the hub.

    A hub to which there is no connection is not asked: what is in the cache is found at once, all else is
    missing at once.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or (not Path(name).exists() and bool(cut_off()))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def why(name: str, error: Exception, kind: Kind = "model") -> str:
    """What is wrong with `name`, for which a library raised `error`: its words, or why the hub gave none."""
    if Path(name).exists() or not (reason := forbidden(kind) or cut_off()):
        hint = "" if Path(name).exists() else _nearest(name, kind)
        return f"{error or type(error).__name__}{hint}"
    held = "only a part of it is" if _cached(name, kind).is_dir() else "it is not"
    here = "folder" if kind == "model" else "file or folder"
    return (
        f"there is no {here} of that name here, {held} in the cache {constants.HF_HUB_CACHE}, and {reason}"
        f"{_nearest(name, kind)}"
    )


def forbidden(kind: Kind) -> str:
    """Why the hub must not be asked, in words; "" where nothing forbids it."""
    found = next((each for each in OFFLINE[kind] if os.environ.get(each, "").upper() in YES), "")
    return f"{found} is set, so the hub is not asked" if found else ""


def cut_off() -> str:
    """Why no connection to the hub, or to the proxy before it, can be made, in words; "" where one can."""
    hub = urlsplit(constants.ENDPOINT)
    proxies, host = getproxies(), hub.hostname or ""
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    goal = urlsplit(proxy) if proxy and not proxy_bypass(host) else hub
    port = goal.port or (80 if goal.scheme == "http" else 443)
    return _no_connection(goal.hostname or "", port, int(time.monotonic() // 60))


@lru_cache(8)
def _no_connection(host: str, port: int, minute: int) -> str:
    """Why no connection can be made, in words, as found in that `minute`; "" where one can."""
    if not host:  # a proxy in a form that only the libraries know
        return ""
    try:
        places = _addresses(host, port)
    except OSError as error:
        return f"the hub cannot be reached ({host}: {error.strerror})"
    return "" if _answers(places) else f"the hub cannot be reached ({host}: no connection)"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    for tried in range(AGAIN):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN or tried + 1 == AGAIN:
                raise
            time.sleep(1)
    raise AssertionError


def _answers(places: list[tuple[socket.AddressFamily, tuple[str, int]]]) -> bool:
    """Whether one of several addresses takes a connection; all are tried at once, as one may be silent."""
    with ExitStack() as held, selectors.DefaultSelector() as waiting:
        for family, address in places:
            try:
                line = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
                line.setblocking(False)
                line.connect_ex(address)
                waiting.register(line, selectors.EVENT_WRITE)
            except OSError:  # an address of a kind that this machine has not
                continue
        end = time.monotonic() + PATIENCE
        while waiting.get_map() and (rest := end - time.monotonic()) > 0:
            for key, _ in waiting.select(rest):
                waiting.unregister(key.fileobj)
                if not key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # type: ignore[union-attr]
                    return True
    return False


def _cached(name: str, kind: Kind) -> Path:
    return Path(constants.HF_HUB_CACHE) / "--".join([f"{kind}s", *name.split("/")])


def _nearest(name: str, kind: Kind) -> str:
    """ "; did you mean ...?": a folder or a name in the cache that is nearly, or at its end, `name`."""
    marks = _cached("", kind).name
    cached = [path.name.removeprefix(marks) for path in _cached("", kind).parent.glob(f"{marks}*/")]
    names = {
        each.replace("--", "/"): f"'{each.replace('--', '/')}', which is in the cache" for each in cached
    }
    names |= {
        str(path): f"the folder '{path}'" for path in islice(chain(*map(Path().glob, ("*/", "*/*/"))), MOST)
    }
    same = [each for each in names if each.rpartition("/")[2] == name.rpartition("/")[2] and each != name]
    close = same or difflib.get_close_matches(name, [each for each in names if each != name], 1, 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""
