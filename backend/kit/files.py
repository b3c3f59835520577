"""Files that hold secrets: only their owner may read a new one, and none is ever half written."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def private_folder(path: Path) -> Path:
    """Make `path` and the folders above it that do not exist yet, for their owner alone."""
    for folder in reversed([path, *path.parents]):
        # Another process may make the same folder meanwhile.
        with suppress(FileExistsError):
            if not folder.exists():
                folder.mkdir(PRIVATE_FOLDER)
    if not path.is_dir():
        raise NotADirectoryError(20, "expected a folder", str(path))
    return path


def write_private(path: Path, text: str, *, new: bool = False) -> None:
    """Write `text` to `path` in one step.

    A new file has mode 0600. A file that exists keeps its owner, group, mode and attributes, and a
    symbolic link still leads to it: what it leads to is replaced. With `new`, a file is never
    replaced.

    Raises:
        FileExistsError: `new`, and something is there.
        PermissionError: the owner or the group cannot be kept. Nothing is changed then.
    """
    target = path if new else Path(os.path.realpath(path))
    private_folder(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if not new and target.exists():
                _take_over(target, unfinished)
            os.fsync(file.fileno())
        if new:
            os.link(unfinished, target)
        else:
            unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(target.parent)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Inside, no other process that asks the same reads files of `folder` and writes them again.

    Waits for the others.
    """
    handle = os.open(private_folder(folder), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Make an empty file of mode 0600 at `path`. From a file that exists, others lose their rights;
    its owner's and its group's stay. Raises OSError."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        # Another user's file is that user's matter.
        with suppress(PermissionError):
            if mode & stat.S_IRWXO:
                path.chmod(mode & ~stat.S_IRWXO)


def _take_over(source: Path, target: Path) -> None:
    """Give `target` the owner, mode and attributes of `source`."""
    wanted, made = source.stat(), target.stat()
    if (wanted.st_uid, wanted.st_gid) != (made.st_uid, made.st_gid):
        try:
            os.chown(target, wanted.st_uid, wanted.st_gid)
        except PermissionError:
            reason = (
                f"belongs to user {wanted.st_uid} and group {wanted.st_gid}, and would not any "
                "more: write it as that user"
            )
            raise PermissionError(1, reason, str(source)) from None
    shutil.copystat(source, target)
    # The times alone are not taken over: the file changes now.
    os.utime(target)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
