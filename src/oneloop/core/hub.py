"""The Hugging Face hub: whether it can be asked, and what to say of a name that is not on this machine.

The libraries that ask it try again for half a minute, for each file, where there is no network. `asked` looks
first whether it answers: if not they look at their cache alone, as with HF_HUB_OFFLINE.
"""

import difflib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, get_session

OFFLINE = {
    "model": ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
    "dataset": ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
}
"""Environment variables that forbid to ask the hub for something."""
YES = ("1", "ON", "YES", "TRUE")
PATIENCE = 15.0
"""Seconds within which a hub answers that anything could be downloaded from."""
MOST = 10_000
"""Folders among which a nearly right name is looked for."""
Kind = Literal["model", "dataset"]


@contextmanager
def asked(name: str) -> Iterator[None]:
    """Meanwhile a library may look for `name`, a folder or a name of the hub.

    A hub that does not answer is not asked: what is in the cache is found at once, all else is
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
    """Why the hub, or the proxy before it, does not answer, in words; "" where it does."""
    return _no_answer(constants.ENDPOINT, int(time.monotonic() // 60))


@lru_cache(8)
def _no_answer(place: str, minute: int) -> str:
    """Why `place` gives no answer, in words, as found in that `minute`; "" where it gives any."""
    try:
        get_session().head(place, timeout=PATIENCE)
    except Exception as error:  # of whichever library the hub's uses to speak HTTP
        return f"the hub {place} cannot be reached ({error})"
    return ""


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
