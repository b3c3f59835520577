"""The client of the Groth16 library's process (`groth16_process`).

The process is started when it is needed and handles one request at a time.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ANSWER_SECONDS_MAX = 3600
"""The longest that one request may take: a standard proof takes a minute or two, and what hangs
would hold its batch for ever."""


class Groth16Error(Exception):
    """The library refused a request or its process ended. The message is the library's."""


class Groth16Process:
    """The library's process, started on the first request and restarted after it ends.

    Requests take turns.
    """

    def __init__(self, seconds_max: int = ANSWER_SECONDS_MAX) -> None:
        self._seconds_max = seconds_max
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def request(self, do: str, **fields: Any) -> Any:
        """Send one request, return the answer. Raises Groth16Error."""
        with self._lock:
            process = self._started()
            timer = threading.Timer(self._seconds_max, process.kill)
            timer.start()
            try:
                line = _exchange(process, json.dumps({"do": do, **fields}))
            except BrokenPipeError:
                line = ""
            except BaseException:
                # An unread answer would be taken for the answer to the next request.
                self.close()
                raise
            finally:
                timer.cancel()
            # A process that ends while it answers leaves half a line.
            if not line.endswith("\n"):
                self.close()
                raise Groth16Error(
                    f"{do}: the Groth16 process ended (killed, out of memory, or "
                    f"{self._seconds_max} s were over)"
                )
        answer = json.loads(line)
        if "error" in answer:
            raise Groth16Error(f"{do}: {answer['error']}")
        return answer["ok"]

    @property
    def running(self) -> subprocess.Popen[str] | None:
        """The current process. Pass it to `is_running` later."""
        return self._process

    def is_running(self, process: subprocess.Popen[str] | None) -> bool:
        """Return whether `process` is still the current process.

        A new process has nothing loaded that an earlier process had.
        """
        return process is not None and process is self._process and process.poll() is None

    def close(self) -> None:
        """End the process; a later request starts a new one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "prover.groth16_process"]
            cwd = Path(__file__).parent.parent
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
            )
        return self._process

    def __enter__(self) -> "Groth16Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _exchange(process: subprocess.Popen[str], request: str) -> str:
    """Write one line, read one line."""
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    process.stdin.write(request + "\n")
    process.stdin.flush()
    return process.stdout.readline()
