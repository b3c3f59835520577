"""How every command starts and ends: `--json`, exit codes, and one line instead of a traceback.

Exit codes: 0 done; 1 not done, or not all; 2 the command line is wrong and nothing was done; 130
interrupted. (`guerdon audit` ends with 1 on findings alone, and with 2 if nothing could be
audited.)
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ParamSpec

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from backend.cli.failures import failures, tell
from backend.cli.output import answer
from backend.kit.terminal import OutputError, errors

P = ParamSpec("P")

FAILED, INTERRUPTED = 1, 130
JSON_OPTION = "as_json"
"""Parameter of a command that reads --json itself."""
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, errors too.")
]


class Commands(typer.Typer):
    """A group of commands. Each gets `--json`, and ends with a reason where it fails."""

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """As `typer.Typer.command`."""
        register = super().command(name, **options)

        def decorate(function: Callable[P, None]) -> Callable[P, None]:
            if JSON_OPTION in inspect.signature(function).parameters:
                register(function)
            else:
                register(_with_json(function))
            return function

        return decorate


def _with_json(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        with answer(kwargs.pop(JSON_OPTION)), failures():
            function(*args, **kwargs)

    signature = inspect.signature(function)
    option = inspect.Parameter(
        JSON_OPTION, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json
    )
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by inspect
        parameters=[*signature.parameters.values(), option]
    )
    run.__annotations__ = {**function.__annotations__, JSON_OPTION: Json}
    return run


class Root(TyperGroup):
    """`guerdon` itself: what no command can look after."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, **extra)
        if not standalone_mode:
            return run()
        words = sys.argv[1:] if args is None else list(args)
        try:
            _open_streams()
            code = run()
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough (`| head`).
            _drop_output()
            code = FAILED
        except (OutputError, OSError) as error:
            _drop_output()
            tell(f"standard output: {getattr(error, 'strerror', error)}", as_json=False)
            code = FAILED
        except TyperException as error:
            code = _usage(error, "--json" in words)
        except typer.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                code = INTERRUPTED
            else:
                tell("standard input ended before there was an answer", "--json" in words)
                code = FAILED
        sys.exit(code if isinstance(code, int) else 0)


def _drop_output() -> None:
    """What is buffered must not fail once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Make the streams safe for what a shell hands over: closed ones, and other encodings."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  # for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        # Before anything is done: a secret that is shown once must not be shown to nobody.
        tell("standard output is closed; send it to /dev/null if nobody reads it", as_json=False)
        sys.exit(FAILED)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _usage(error: TyperException, as_json: bool) -> int:
    """Tell what is wrong with the command line, and where help is."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is not None and message == context.get_help():
        # A group without a command: its help is all there is to say.
        errors.print(message)
        return error.exit_code
    message = " ".join(message.split())
    tell(message, as_json, code="usage")
    if context is not None:
        errors.print(f"See `{context.command_path} --help`.")
    return error.exit_code
