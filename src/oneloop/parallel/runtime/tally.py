"""Who works, and who waits for whom: seconds of each stage, by what it did.

A stage that waits for one that waits itself is counted as waiting for the stage at the end of that chain: an
update that waits for a judge that waits for a sampler waits for the sampler.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Seconds so far, on the clock it was made with."""

    clock: Callable[[], float]
    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """{stage: seconds it worked, all its workers together}."""
    waited: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """{(stage, stage it waited for): seconds}."""
    _since: float | None = None
    _state: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, state: Mapping[str, tuple[int, str]]) -> None:
        """Says what each stage does from now on: (number of acts that run, stage that it waits for if none
        runs, or "")."""
        now = self.clock()
        if self._since is not None:
            passed = now - self._since
            for stage, (running, awaited) in self._state.items():
                if running:
                    self.busy[stage] += passed * running
                elif awaited:
                    self.waited[stage, awaited] += passed
        self._since, self._state = now, dict(state)

    def copy(self) -> "Tally":
        """The seconds as they are now."""
        return Tally(self.clock, self.busy.copy(), self.waited.copy())

    def sentence(self, stage: str, seconds: float) -> str:
        """Such as "learn waited for judge 82 %" of `seconds`: the longest wait; "" where there was none."""
        mine = {awaited: spent for (waiting, awaited), spent in self.waited.items() if waiting == stage}
        if not mine or seconds <= 0:
            return ""
        longest = max(mine, key=lambda awaited: mine[awaited])
        return f"{stage} waited for {longest} {100 * mine[longest] / seconds:.0f} %"
