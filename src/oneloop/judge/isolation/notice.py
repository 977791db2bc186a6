"""What workers of judges are not kept from on this system, in a sentence for the user."""

import sys
from functools import cache

from oneloop.judge.isolation.sandbox import Sandbox

GUARDS = {
    "read the files of this user": ("root", "landlock"),
    "open network connections": ("network", "seccomp"),
    "see and signal other processes of this user": ("processes", "seccomp"),
}
"""What code in a worker could do, and the layers each of which alone prevents it."""


@cache
def notice() -> str | None:
    """The sentence, None where nothing is to be said. Starts one worker to find out, and ends it."""
    sandbox = Sandbox("builtins.bool")
    missing = sandbox.missing
    sandbox.close()
    return sentence(missing)


def sentence(missing: dict[str, str]) -> str | None:
    """What can be done without the layers `missing` (layer to reason), None if nothing."""
    possible = [deed for deed, layers in GUARDS.items() if all(layer in missing for layer in layers)]
    if not possible:
        return None
    if sys.platform != "linux":
        why = f"{sys.platform} offers no way to shut them in"
    else:
        needed = {layer for deed in possible for layer in GUARDS[deed]}
        why = ", ".join(f"{layer}: {reason}" for layer, reason in missing.items() if layer in needed)
    return (
        f"not isolated: code that judges run in worker processes could {', '.join(possible)} ({why}). What a "
        "model wrote is evaluated only where it is plain values or a formula (docs/threat_model.md)"
    )
