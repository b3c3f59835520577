"""The user's cache folder, shared by every checkout.

It holds compiled circuits and development keys, addressed by the digest of their content.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ADVICE = "set GUERDON_CACHE to a folder that can be written"


class CacheError(OSError):
    """There is no cache folder. The message says why and what to do."""


def cache_root() -> Path:
    """GUERDON_CACHE, or `guerdon` in XDG_CACHE_HOME, or ~/.cache/guerdon. Raises CacheError."""
    if explicit := os.environ.get("GUERDON_CACHE"):
        return Path(explicit)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guerdon"
    except RuntimeError:
        # A user without an entry in the password file, as in some containers, and no HOME.
        raise CacheError(f"this user has no home folder: {ADVICE}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a")
    except OSError as error:
        raise CacheError(f"{path.parent}: {error.strerror}: {ADVICE}") from None
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached_folder(path: Path, build: Callable[[Path], None]) -> Path:
    """Return `path`, after `build(folder)` has filled it once.

    Safe against other processes and against a crash half way: the folder gets its name only when it
    is complete. Raises CacheError if there can be no folder.
    """
    if path.exists():
        return path
    with _locked(path.with_name(path.name + ".lock")):
        if path.exists():
            return path
        # This process holds the lock, so the process that left a folder behind has ended.
        for leftover in path.parent.glob(f".{path.name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            build(unfinished)
            unfinished.rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return path
