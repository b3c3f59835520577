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


def cache_root() -> Path:
    """GUERDON_CACHE, or `guerdon` in XDG_CACHE_HOME, or ~/.cache/guerdon."""
    if explicit := os.environ.get("GUERDON_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guerdon"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached_folder(path: Path, build: Callable[[Path], None]) -> Path:
    """Return `path`, after `build(folder)` has filled it once.

    Safe against other processes and against a crash half way: the folder gets its name only when it
    is complete.
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
