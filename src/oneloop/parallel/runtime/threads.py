"""A graph whose stages run in threads of this process: a thread for each worker.

    with Running(graph) as running:
        running.put("read", item)       # waits while no register is free
        result = running.get("learn")   # waits for one; its input register is held until the next `get`

Stages without functions are acted by the caller, with `put` (no inputs) and `get`. torch and what waits for a
disk or a network let other threads run. What a stage raises is raised by the next `put` or `get`, as it was.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from oneloop.parallel.runtime.actor import Act
from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.network import Left, Network, Watch, rehearse
from oneloop.parallel.runtime.tally import Tally


class Ended(RuntimeError):
    """`get` after the last result, or `put` after `finish` or `close`."""


class Running:
    """A graph at work, until `close`. Raises GraphError for one that cannot run."""

    def __init__(self, graph: Graph, watch: Watch | None = None):
        rehearse(graph)
        self.tally = Tally(time.perf_counter)
        self.network = Network(graph, self.tally, watch)
        self.began = time.perf_counter()
        self._changed = threading.Condition()
        self._at_caller: dict[str, Act] = {}
        self._threads = [
            threading.Thread(target=self._work, args=(stage.name, run), name=f"{stage.name}-{n}", daemon=True)
            for stage in graph.stages.values()
            for n, run in enumerate(stage.runs)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self, stage: str, run: Callable[..., Any]) -> None:
        network = self.network
        while True:
            with self._changed:
                self._changed.wait_for(lambda: network.ready(stage) or network.over(stage))
                if network.over(stage):
                    return
                act = network.begin(stage)
            try:
                value = run(*act.inputs)
            except BaseException as error:
                with self._changed:
                    network.fail(act, error)
                    self._changed.notify_all()
                return
            with self._changed:
                network.end(act, value)
                self._changed.notify_all()

    def put(self, stage: str, value: Any) -> None:
        """Passes `value` on as `stage`, for which the caller acts; it has no data inputs."""
        with self._changed:
            self._until(lambda: self.network.ready(stage) or self.network.over(stage))
            if self.network.over(stage):
                raise Ended(f"'{stage}' takes nothing more")
            self.network.end(self.network.begin(stage), value)
            self._changed.notify_all()

    def get(self, stage: str) -> Any:
        """The next input of `stage`, for which the caller acts; its act before is over. Raises Ended."""
        with self._changed:
            self._over(stage)
            self._until(lambda: self.network.ready(stage) or self.network.over(stage))
            if self.network.over(stage):
                raise Ended(f"'{stage}' has had its last input")
            act = self._at_caller[stage] = self.network.begin(stage)
            return act.inputs[0] if len(act.inputs) == 1 else act.inputs

    def ready(self, stage: str) -> bool:
        """Whether `put` or `get` for `stage` would not wait."""
        with self._changed:
            self._over(stage)
            self._raise()
            return self.network.ready(stage)

    def finish(self, stage: str) -> None:
        """Says that the caller has put its last value into `stage`."""
        with self._changed:
            self.network.finish(stage)
            self._changed.notify_all()

    def settle(self) -> None:
        """Waits until all that is under way has come as far as it can without the caller."""
        with self._changed:
            self._until(lambda: not self._moving())

    def counted(self) -> Tally:
        """A copy of the tally, brought up to this moment."""
        with self._changed:
            self.network.count()
            return self.tally.copy()

    def close(self) -> list[Left]:
        """Stops: acts that run may end, and what was on its way is handed back."""
        with self._changed:
            for act in self._at_caller.values():
                if not act.ended:
                    self.network.end(act, None)
            self._at_caller.clear()
            self.network.stop()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        left, self.network.left = self.network.left, []
        return left

    def _moving(self) -> bool:
        """Whether a stage that is not the caller's acts, or can."""
        actors = [actor for actor in self.network.actors.values() if actor.stage.runs]
        return any(actor.running or actor.ready for actor in actors)

    def _over(self, stage: str) -> None:
        act = self._at_caller.pop(stage, None)
        if act is not None and not act.ended:
            self.network.end(act, None)
            self._changed.notify_all()

    def _until(self, true: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self.network.failure is not None or true())
        self._raise()

    def _raise(self) -> None:
        if self.network.failure is not None:
            raise self.network.failure.error
