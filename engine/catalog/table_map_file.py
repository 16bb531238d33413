"""A table map as a file: the maps of ``--table-map`` as a JSON list, for review and version control."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engine.catalog.table_map import TableMap, read_table_map
from engine.errors import Failure, Retry, UsageError

_MAXIMUM_BYTES = 16 * 1024 * 1024
"""A map for each of a hundred thousand tables fits; whatever is larger is another file."""


def load_table_map(path: Path) -> TableMap:
    """Read a saved table map.

    Raises:
        UsageError: The file cannot be read or is something else; the message says where and why.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise _refused(f"{path} cannot be read", error.strerror or str(error)) from None
    if len(content) > _MAXIMUM_BYTES:
        raise _refused(f"{path} is too large for a table map", "")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _refused(f"{path} is not text in UTF-8", f"byte {error.start + 1} is none of it") from None
    return read_table_map(text, str(path))


def save_table_map(path: Path, table_map: TableMap) -> None:
    """Replace a file at once, readable by its owner only.

    Raises:
        UsageError: It cannot be written; what was there before is left.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _refused(f"{path} cannot be written", error.strerror or str(error)) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(table_map.to_text())
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _refused(f"{path} cannot be written", error.strerror or str(error)) from None


def _refused(title: str, why: str) -> UsageError:
    said = f" ({why})" if why else ""
    return UsageError(Failure(f"{title}{said}", hint="Give the path of another file", retry=Retry.NEVER))
