"""`guerdon demo`, `guerdon up` and `guerdon prepare-local`: commands for one machine."""

import contextlib
import itertools
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from backend.cli.app import Commands
from backend.cli.failures import failures
from backend.cli.imports import (
    AddressColumn,
    AmountColumn,
    NumberFormOption,
    SumRepeated,
    UnitOption,
)
from backend.cli.output import (
    Steps,
    batch_table,
    claim_table,
    errors,
    output,
    steps,
    summary_table,
    wants_json,
)
from backend.cli.reward_plan import require_sum_confirmed, show_plan
from backend.client.list_numbers import NumberForm, Unit
from backend.devstack import ROOT
from backend.devstack.signals import signals_held_back, stop_on_signals
from backend.kit.files import write_private
from backend.kit.token import Token

if TYPE_CHECKING:
    from backend.client.reward_list import RewardList
    from backend.devstack.local import Local

DEFAULT_LIST = ROOT / "examples" / "op-superstacks-head.csv"
DATA = ROOT / ".guerdon"


STARTING_PARTS = 10

ApiPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the API; a free one if not given.")
]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="PostgreSQL to use, and to migrate, instead of an embedded one.")
]
RedisUrl = Annotated[str | None, typer.Option(help="Redis to use instead of an embedded one.")]
RpcUrl = Annotated[
    str | None, typer.Option(help="Local chain to use instead of an embedded one (Anvil).")
]

app = Commands()


@contextmanager
def _stack(
    program: str,
    partner: str | None,
    instance: str,
    api_port: int | None,
    servers: tuple[str | None, str | None, str | None],
    show: Steps,
    token_decimals: int,
) -> Iterator["Local"]:
    """A running stack in a folder of its own. Its end leaves no process and no file.

    `servers` are the URLs of database, Redis and node that the user names. GUERDON_KEEP_FILES keeps
    the files.
    """
    from backend.devstack.local import Given, start_local
    from backend.devstack.stack import SERVERS, Stack, require_free_port
    from prover.circuit import instances

    if instance not in instances():
        raise typer.BadParameter(
            f"expected one of {', '.join(instances())}", param_hint="--instance"
        )
    if api_port is not None:
        require_free_port(api_port)
    if exported := [name for name in SERVERS if os.environ.get(name)]:
        show.line(
            f"{', '.join(exported)}: not used. The stack starts its own servers, or takes those of "
            "--database-url, --redis-url and --rpc-url."
        )
    folder = _data_folder(program)
    stack = Stack(folder)
    started = itertools.count(1)

    def progress(what: str) -> None:
        show("Starting the stack", min(next(started), STARTING_PARTS), STARTING_PARTS)
        if what == "proving key" and instance != "dev":
            show.line(
                "The first run of this instance compiles the circuit and makes its key. This takes "
                "some minutes."
            )

    try:
        local = start_local(
            folder,
            program=program,
            partner=partner,
            instance=instance,
            api_port=api_port,
            test_token_decimals=token_decimals,
            progress=progress,
            stack=stack,
            given=Given(*servers),
        )
        show("Starting the stack", STARTING_PARTS, STARTING_PARTS)
        try:
            yield local
        finally:
            local.context.close()
    finally:
        with signals_held_back():
            stack.close()
            if "GUERDON_KEEP_FILES" not in os.environ:
                shutil.rmtree(folder, ignore_errors=True)


def _data_folder(program: str) -> Path:
    """A new folder below .guerdon, or in the temporary folder if this user may not write there."""
    try:
        DATA.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{program}-", dir=DATA))
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"guerdon-{program}-"))


def _wait_for_signal(local: "Local") -> None:
    """Wait until SIGINT, SIGTERM or SIGHUP. Raises StackError if a service ends by itself."""
    try:
        while True:
            local.stack.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        # The terminal may be gone: SIGHUP says so.
        with contextlib.suppress(OSError):
            errors.print("\nStopping.")


def _run_until_signal(local: "Local", *next_lines: str) -> None:
    """Print where everything is, and what to type next, then wait."""
    facts = {
        "API": local.api_url,
        "node": local.rpc_url,
        "program": local.program,
        "Distributor": local.deployment.distributor,
        "token": local.deployment.token,
    }
    if wants_json():
        facts["environment"] = str(local.folder / "environment")
        output.document({name.lower(): value for name, value in facts.items()})
    else:
        for name, value in facts.items():
            output.print(f"{name:<13} {value}" + (f"  (docs at {value}/docs)" * (name == "API")))
        for line in (*next_lines, "Running until Ctrl-C."):
            output.print(line)
    _wait_for_signal(local)


@app.command()
def demo(
    input_file: Annotated[
        Path,
        typer.Option(
            "--input",
            help="CSV with an address and an amount column, Safe's CSV or JSON.",
            show_default="examples/op-superstacks-head.csv",
        ),
    ] = DEFAULT_LIST,
    address_column: AddressColumn = None,
    amount_column: AmountColumn = None,
    unit: UnitOption = None,
    decimals: Annotated[
        int | None,
        typer.Option(
            min=0, max=36, help="Amounts are whole tokens, and the test token has these decimals."
        ),
    ] = None,
    number_form: NumberFormOption = None,
    sum_repeated: SumRepeated = False,
    instance: Annotated[str, typer.Option(help="Circuit: dev, standard or wide.")] = "dev",
    report: Annotated[
        Path | None, typer.Option(help="Write all figures to this JSON file.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stack running at the end, until Ctrl-C.")
    ] = False,
    api_port: ApiPort = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    rpc_url: RpcUrl = None,
) -> None:
    """Run the main job on an embedded stack.

    A reward list goes in. Proven roots and paid claims come out, audited from the chain alone.
    """
    from backend.devstack.demo import Demo

    with failures(), stop_on_signals():
        rewards, token_decimals = _read_list(
            input_file, address_column, amount_column, decimals, unit, number_form, sum_repeated
        )
        if report is not None:
            report.touch()  # a file that cannot be written must fail now, not after the whole run
        start = time.monotonic()
        # A database that outlives the run may hold the programs of earlier ones.
        name = f"demo-{int(time.time())}" if database_url is not None else "demo"
        own = database_url, redis_url, rpc_url
        with (
            steps() as show,
            _stack(name, "adnet", instance, api_port, own, show, token_decimals) as local,
        ):
            run = Demo(local, rewards, show)
            facts = run.report(run.run())
            show.line("")
            if report is not None:
                report.write_text(json.dumps(facts, indent=2) + "\n")
            if wants_json():
                output.document(facts)
            else:
                for table in (
                    batch_table(facts["batches"]),
                    claim_table(facts["claims"]),
                    summary_table(facts, time.monotonic() - start),
                ):
                    output.print(table)
            if keep and wants_json():
                _wait_for_signal(local)
            elif keep:
                _run_until_signal(local)


def _read_list(
    path: Path,
    address_column: str | None,
    amount_column: str | None,
    decimals: int | None,
    unit: Unit | None,
    number_form: NumberForm | None,
    sum_repeated: bool,
) -> tuple["RewardList", int]:
    """The list, shown and agreed, and the decimals of the test token that stands for its token."""
    from backend.chain.deploy import NO_ADDRESS, TEST_TOKEN_DECIMALS, TEST_TOKEN_SYMBOL
    from backend.client.list_units import agreed_decimals, require_clear_unit
    from backend.client.reward_list import read_reward_list

    made = TEST_TOKEN_DECIMALS if decimals is None else decimals
    token = Token(NO_ADDRESS, TEST_TOKEN_SYMBOL, made)
    rewards = read_reward_list(
        path,
        address_column,
        amount_column,
        agreed_decimals(unit, decimals, token),
        unit=unit,
        form=number_form,
        token=token,
        any_token=True,
    )
    if rewards.unit is None:
        require_clear_unit(max(rewards.amounts.values()), rewards.total, token)
    show_plan(path.name, rewards, token)
    require_sum_confirmed(rewards, sum_repeated)
    return rewards, made


@app.command()
def up(
    program: Annotated[str, typer.Option(help="Name of the empty program.")] = "main",
    instance: Annotated[str, typer.Option(help="Circuit: dev, standard or wide.")] = "dev",
    api_port: ApiPort = None,
    token_decimals: Annotated[
        int, typer.Option(min=0, max=36, help="Decimals of the test token.")
    ] = 18,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    rpc_url: RpcUrl = None,
) -> None:
    """Start the stack with an empty program, until Ctrl-C."""
    with (
        failures(),
        stop_on_signals(),
        steps() as show,
        _stack(
            program,
            None,
            instance,
            api_port,
            (database_url, redis_url, rpc_url),
            show,
            token_decimals,
        ) as local,
    ):
        show.line("")
        pins = " ".join(
            f"--pins {shlex.quote(str(path))}"
            for path in sorted(local.folder.glob("attestor-*/partners.json"))
        )
        _run_until_signal(
            local,
            "In another shell:",
            f"  . {shlex.quote(str(local.folder / 'environment'))}",
            f"  guerdon partner add {program} NAME {pins}",
            f"  guerdon program fund {program} AMOUNT",
        )


@app.command()
def prepare_local(
    folder: Annotated[Path, typer.Argument(help="Where keys and configurations go.")],
    attestor_url: Annotated[
        list[str],
        typer.Option(help="Base URL at which an attestor will be reached; several times."),
    ],
    program: Annotated[str, typer.Option(help="Name of the program.")] = "main",
    partner: Annotated[
        str | None,
        typer.Option(help="A first partner; its secret is written to FOLDER/partner-secret."),
    ] = None,
    instance: Annotated[str, typer.Option(help="Circuit: dev, standard or wide.")] = "dev",
) -> None:
    """Deploy on a local chain and write what services start from.

    Docker compose starts the services. The servers are those of DATABASE_URL, REDIS_URL and
    RPC_URL. Does nothing if FOLDER already holds a program.
    """
    from backend.config import settings
    from backend.devstack.local import Plan, Urls, prepare

    if (folder / "environment").exists():
        errors.print(f"{folder} already holds a program.")
        return
    hosts = [("0.0.0.0", urlsplit(url).port or 80) for url in attestor_url]
    with failures():
        config = settings()
        plan = Plan(
            program=program,
            partner=partner,
            instance=instance,
            attestor_urls=attestor_url,
            attestor_hosts=hosts,
            batch_age_max_seconds=5,
            tick_seconds=1.0,
        )
        prepared = prepare(
            folder, Urls(config.database_url, config.redis_url, config.rpc_url), plan
        )
    if prepared.partner_secret is not None:
        write_private(folder / "partner-secret", prepared.partner_secret)
    prepared.context.close()
    output.document({"program": program, "distributor": prepared.deployment.distributor})
