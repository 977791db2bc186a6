"""Metrics of many steps in little memory: a number takes 8 bytes where a dict takes a hundred."""

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

EXACT = 2**53
"""Whole numbers below this size are kept as floating point without loss."""
RECENT = 32
"""Lines that are also kept as they came, since checks read the latest ones again and again."""
Names = tuple[tuple[str, type], ...]


class Lines(Sequence[dict[str, Any]]):
    """A list of mappings {name: value} that only grows; a line is given back equal to what was appended."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()):
        self._numbers, self._starts, self._kinds = array("d"), array("q"), array("q")
        self._known: dict[Names, int] = {}
        """{names and types of a line: number of this kind of line}."""
        self._names: list[Names] = []
        self._pairs: dict[tuple[str, type], tuple[str, type]] = {}
        """Each (name, type) once, however many kinds of line have it."""
        self._others: list[Any] = []
        """Values that are no numbers; a text is kept once."""
        self._texts: dict[str, int] = {}
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        for line in lines:
            self.append(line)

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds a line at the end."""
        pairs = ((name, _kind(value)) for name, value in line.items())
        names = tuple(self._pairs.setdefault(pair, pair) for pair in pairs)
        if names not in self._known:
            self._known[names] = len(self._names)
            self._names.append(names)
        self._kinds.append(self._known[names])
        self._starts.append(len(self._numbers))
        for (_, kind), value in zip(names, line.values(), strict=True):
            self._numbers.append(self._place(value) if kind is object else value)
        self._recent.append(dict(line))

    def _place(self, value: Any) -> int:
        if isinstance(value, str) and value in self._texts:
            return self._texts[value]
        self._others.append(value)
        if isinstance(value, str):
            self._texts[value] = len(self._others) - 1
        return len(self._others) - 1

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        places = range(len(self))[index]
        return self._line(places) if isinstance(places, int) else [self._line(place) for place in places]

    def _line(self, place: int) -> dict[str, Any]:
        if place >= len(self) - len(self._recent):
            return dict(self._recent[place - len(self)])
        names = self._names[self._kinds[place]]
        numbers = self._numbers[self._starts[place] : self._starts[place] + len(names)]
        return {
            name: self._others[int(number)] if kind is object else kind(number)
            for (name, kind), number in zip(names, numbers, strict=True)
        }


def _kind(value: Any) -> type:
    """The type to which a float is turned back; `object` for what is no number, or too large a one."""
    if isinstance(value, int) and abs(value) >= EXACT:
        return object
    return type(value) if type(value) in (bool, int, float) else object
