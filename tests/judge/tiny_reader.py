"""A reader of digits that has learned nothing, in a folder that lasts as long as the process."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig

KEPT = TemporaryDirectory(prefix="oneloop_reader_")


@cache
def folder() -> str:
    made = Path(KEPT.name) / "reader"
    config = ReaderConfig(alphabet="0123456789", height=16, channels=(4, 8), hidden_size=8)
    CtcReader(config).save(made)
    return str(made)
