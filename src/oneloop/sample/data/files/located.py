"""Choose the reader of a path: a file by its ending, a folder or a hub name by what `datasets` finds there.

JSON and CSV files of a folder or the hub are read by this package too, because `datasets` guesses types.
"""

import glob
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from oneloop.core import hub, shell
from oneloop.core.pointers import is_pointer
from oneloop.sample.data.files import delimited, json_rows
from oneloop.sample.data.files.described import NAMES, Described
from oneloop.sample.data.files.text_table import Row
from oneloop.sample.data.files.typed_table import TypedTable

TEXT = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
TYPED = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
SAVED = ("state.json", "dataset_dict.json")
"""Files of a folder that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` of `datasets` have written."""
HUB_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/datasets/([\w.-]+(?:/[\w.-]+)?)")
KNOWN = (*TEXT, *(f"{ending}.gz" for ending in TEXT), *TYPED)


class DataTable(Protocol):
    """Rows of data files, by number."""

    columns: list[str]
    """Names of all columns."""
    light: bool
    """Whether reading a row decodes no pictures, so that reading all rows is cheap."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> Row:
        """Row number `key`. Raises ValueError, naming its place, when it cannot be read."""

    def place(self, key: int) -> str:
        """Where row number `key` is, in words."""


class Pieces:
    """Ranges of rows of several tables, concatenated."""

    def __init__(self, pieces: Sequence[tuple[DataTable, range]]):
        self._rows = [(table, key) for table, keys in pieces for key in keys]
        self.columns = list(dict.fromkeys(name for table, _ in pieces for name in table.columns))
        self.light = all(table.light for table, _ in pieces)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int) -> Row:
        table, place = self._rows[key]
        row = table[place]
        return {column: row.get(column) for column in self.columns}

    def place(self, key: int) -> str:
        """Where row number `key` is, in words, as its table says it."""
        table, place = self._rows[key]
        return table.place(place)


def load(path: str, split: str, name: str | None = None, revision: str | None = None) -> DataTable:
    """The rows of `split` of `path`. Raises ValueError, with what exists, for a wrong path, split or name."""
    if "://" in path:
        page = HUB_PAGE.match(path)
        told = f"write {page[1]}" if page else "nothing else is fetched from the network: download it first"
        raise ValueError(f"{path}: data are a file, a folder or a name of the hub; {told}")
    files = (
        sorted(glob.glob(re.sub(r"[\[?]", r"[\g<0>]", path)))
        if "*" in path
        else [path]
        if Path(path).is_file()
        else []
    )
    ending = ending_of(path)
    if not files and (ending in KNOWN or "*" in path):
        begins = "" if Path(path).is_absolute() else f" (seen from the working directory, {Path.cwd()})"
        raise ValueError(f"no such file: {path}{shell.hint(path) or begins}")
    if not files:
        return _found(path, split, name, revision)
    endings = dict.fromkeys(map(ending_of, files))
    if unknown := [one for one in endings if one not in KNOWN]:
        kind = f"'{unknown[0]}' files" if unknown[0] else "a file whose name has no ending"
        raise ValueError(f"{path}: cannot read {kind}; known: {', '.join(KNOWN)}")
    if len(endings) > 1:
        raise ValueError(f"{path} finds files of several kinds ({', '.join(endings)}); name one kind")
    (ending,) = endings
    if pointers := [file for file in files if is_pointer(Path(file))]:
        raise ValueError(f"{pointers[0]} is a pointer of Git LFS; `git lfs pull` fetches the file itself")
    if ending in TYPED:
        return TypedTable(
            path, _datasets(path, split, path=TYPED[ending], data_files=[*map(glob.escape, files)])
        )
    tables = {"train": _text(ending.removesuffix(".gz"), [(file, Path(file)) for file in files])}
    return _part(tables, path, split)


def ending_of(path: str) -> str:
    """The lower-case ending that says how to read `path`, such as `.jsonl` or `.csv.gz`."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _text(ending: str, files: Sequence[tuple[str, Path]], separator: str = "") -> DataTable:
    if ending in (".csv", ".tsv"):
        return delimited.read(files, separator or {".csv": ",", ".tsv": "\t"}[ending])
    return json_rows.read(files)


def _part(tables: Mapping[str, DataTable], path: str, split: str) -> DataTable:
    """The rows that `split`, such as `train[:10%]+test`, names; `tables` maps split names to tables."""
    import datasets

    if split in tables:
        return tables[split]
    try:
        sizes = {name: len(table) for name, table in tables.items()}
        pieces = datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise ValueError(f"cannot load {path} [{split}]: {error}") from None
    return Pieces([(tables[piece.splitname], range(piece.from_, piece.to)) for piece in pieces])


def _found(path: str, split: str, name: str | None, revision: str | None) -> DataTable:
    """The rows of a folder or of a data set of the hub."""
    import datasets

    if any((Path(path) / file).is_file() for file in SAVED):
        saved = _guarded(path, split, partial(datasets.load_from_disk, path))
        parts = saved if isinstance(saved, dict) else {"train": saved}
        return _part({str(part): TypedTable(path, table) for part, table in parts.items()}, path, split)
    if glob.has_magic(path) and Path(path).is_dir():  # which `datasets` takes for a pattern
        raise ValueError(
            f"{path}: a folder with *, ? or [ in its name is not searched; name its files: {path}/*.jsonl"
        )
    builder = _guarded(path, split, lambda: datasets.load_dataset_builder(path, name=name, revision=revision))
    texts, named = {"json": ".jsonl", "csv": ".csv"}, [one.partition("[")[0] for one in split.split("+")]
    files = builder.config.data_files or {}
    given = {str(file) for part in named for file in files.get(part, ()) if Path(str(file)).name in NAMES}
    if builder.name == "imagefolder" and given and not _declared(builder):
        table = _datasets(path, split, path=path, name=name, revision=revision)
        return Described(path, table, _local(path, split, sorted(given)))
    if builder.name not in texts or _declared(builder) or not {*named} <= {*files}:
        return TypedTable(path, _datasets(path, split, path=path, name=name, revision=revision))
    tables = {}
    for part in named:
        pairs = _local(path, split, [str(file) for file in files[part]])
        separator = builder.config.sep if builder.name == "csv" else ""
        tables[part] = _text(texts[builder.name], pairs, separator)
    return _part(tables, path, split)


def _local(path: str, split: str, files: list[str]) -> list[tuple[str, Path]]:
    """(name, path on this machine) of files that `datasets` has found."""
    import datasets

    local = _guarded(path, split, partial(datasets.DownloadManager().download_and_extract, files))
    return [(file, Path(str(where))) for file, where in zip(files, local, strict=True)]


def _declared(builder: Any) -> bool:
    """Whether the data set's card declares the column types, so that no types are guessed."""
    return bool(builder.info.features or builder.config.features or getattr(builder.config, "field", None))


def _datasets(where: str, split: str, **arguments: Any) -> Any:
    import datasets

    return _guarded(where, split, lambda: datasets.load_dataset(split=split, **arguments))


def _guarded(path: str, split: str, load: Callable[[], Any]) -> Any:
    """The result of `load()`; errors of `datasets` become a ValueError about `path` in plain words."""
    import datasets

    try:
        with _quiet(), hub.asked(path):
            return load()
    except StopIteration:  # what `datasets` says of a file without a line
        raise ValueError(f"{path} is empty") from None
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        # an unknown split or configuration is a ValueError of `datasets` that lists the known ones
        here = Path(path).exists() or "*" in path
        said = _said(error) if here else hub.why(path, error, "dataset")
        raise ValueError(f"cannot load {path} [{split}]: {said}") from error


def _said(error: Exception) -> str:
    """What is wrong, from an error of `datasets` and its cause, which speak of what they did."""
    import datasets

    cause = str(error.__cause__ or "")
    if twice := re.match(r"Multiple matches for FieldRef\.Name\((.*?)\) in ", cause):
        return f"two columns are called {twice[1]!r}"
    if cause.startswith("BatchSize must be greater than 0"):
        return "it has no rows"
    if isinstance(error, OSError) and error.filename and Path(str(error.filename)).is_absolute():
        kept = datasets.config.HF_DATASETS_CACHE
        return f"{error}; `datasets` keeps copies in {kept}: HF_HOME names another folder for them"
    return f"{error} ({cause})" if cause else str(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps `datasets` from logging what it raises too, and from drawing bars where nobody sees them move."""
    import datasets

    level, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not (sys.stderr and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
