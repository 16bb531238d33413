"""Files that a person may edit: read whole, up to a size, and replaced at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engine.errors import Failure, Retry, UsageError

_MAXIMUM_BYTES = 16 * 1024 * 1024
"""A line for each of a hundred thousand tables fits; whatever is larger is another file."""


def read_text_file(path: Path, what: str) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: The file.
        what: What it should hold, with its article: ``a table map``.

    Raises:
        UsageError: It cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise _refused(f"{path} cannot be read", error.strerror or str(error)) from None
    except ValueError:
        raise _refused("That is no path", "it holds a NUL character") from None
    if len(content) > _MAXIMUM_BYTES:
        raise _refused(f"{path} is too large for {what}", "")
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _refused(f"{path} is not text in UTF-8", f"byte {error.start + 1} is none of it") from None


def replace_text_file(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only.

    Args:
        path: The file; its folder has to exist.
        text: What it holds from now on.

    Raises:
        UsageError: It cannot be written; what was there before is left.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _refused(f"{path} cannot be written", error.strerror or str(error)) from None
    except ValueError:
        raise _refused("That is no path", "it holds a NUL character") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _refused(f"{path} cannot be written", error.strerror or str(error)) from None


def _refused(title: str, why: str) -> UsageError:
    said = f" ({why})" if why else ""
    return UsageError(Failure(f"{title}{said}", hint="Give the path of another file", retry=Retry.NEVER))
