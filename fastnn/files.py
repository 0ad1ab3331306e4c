"""Writing files so that nothing is lost: temporary name, sync, rename."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path


def check_path(where: str, path: str | os.PathLike[str]) -> None:
    """Raise ``TypeError`` unless ``path`` is one, ``ValueError`` if it is empty."""
    if not isinstance(path, str | os.PathLike) or path == "":
        kind = ValueError if path == "" else TypeError
        raise kind(f"{where}: path must be the name of a file, got {path!r}")


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path``: either the whole file is there, or what was there before.

    Links are followed, and an existing file keeps its mode. Raises ``OSError``, naming ``path``,
    when the folder is missing or not writable, and for anything but a regular file.
    """
    target = Path(os.path.realpath(path))
    temporary = ""
    try:
        mode = _mode_of(target)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror or str(error), os.fspath(path)) from None
        raise


def _mode_of(target: Path) -> int:
    """The mode of the file that is there, or of a new one."""
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
    if not stat.S_ISREG(found):
        raise OSError(errno.EINVAL, "not a regular file")
    return stat.S_IMODE(found)
