"""`guerdon program`: a program's life, from its contracts to its halts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.chain.finality import FINALITY_EXPECTED
from backend.cli.app import Commands
from backend.cli.context import ProgramName, halt_text, load_program, open_context
from backend.cli.output import errors, output, show_facts, show_list

if TYPE_CHECKING:
    from backend.program.models import Program

app = Commands(help="Programs: deploy, register, list, show, fund, resume.", no_args_is_help=True)

Finality = Annotated[str, typer.Option(help=f"What counts as done: {FINALITY_EXPECTED}.")]
INTEGER_MAX = 2**31 - 1
"""Of a column of the database."""
ChainId = Annotated[
    int | None,
    typer.Option(min=1, help="The chain that you mean: refused if the node is on another."),
]
BatchAge = Annotated[
    int,
    typer.Option(
        min=0,
        max=INTEGER_MAX,
        help="Close a batch when its oldest interaction has this age in seconds.",
    ),
]
BatchItems = Annotated[
    int,
    typer.Option(
        min=1, help="Close a batch at this number of items; the instance's M is the limit."
    ),
]
NewName = Annotated[str, typer.Argument(help="Name of the new program.")]
AttestorUrls = Annotated[list[str], typer.Option(help="Base URL of an attestor; several times.")]
KeyFolder = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="Folder of the proving key; by default the newest one of this machine that fits.",
    ),
]
Token = Annotated[
    str | None, typer.Option(help="The reward token; a test token on a local chain if not given.")
]
Owner = Annotated[
    str | None,
    typer.Option(
        help="Owner of the Distributor: a timelock or multisig; the deploying key by default."
    ),
]
DailyLimit = Annotated[
    str | None,
    typer.Option(
        help="Most that batches may commit in a day, in whole tokens, even with stolen keys; "
        "no limit if not given. Raising it takes the owner 7 days."
    ),
]
Accounts = Annotated[
    int | None,
    typer.Option(min=1, help="How many accounts you expect: chooses the families by it."),
]
Families = Annotated[
    int | None,
    typer.Option(
        help="Groups of accounts that are opened side by side, a power of two; 16 if neither this "
        "nor --accounts is given. The owner can raise it later."
    ),
]
AllowSinglePartyKey = Annotated[
    bool,
    typer.Option(
        "--i-know-this-key-can-steal-everything",
        help="Take a key that one party can forge proofs under anywhere.",
    ),
]


@app.command()
def deploy(
    name: NewName,
    attestor: Annotated[list[str], typer.Option(help="Address of an attestor; several times.")],
    attestor_url: AttestorUrls,
    threshold: Annotated[int, typer.Option(min=1, help="How many attestors must sign.")],
    token: Token = None,
    instance: Annotated[str, typer.Option(help="Size of the circuit.")] = "standard",
    accounts: Accounts = None,
    families: Families = None,
    owner: Owner = None,
    guardian: Annotated[
        str | None,
        typer.Option(help="Who may pause; nobody until the owner names one, by default."),
    ] = None,
    daily_limit: DailyLimit = None,
    finality: Finality = "finalized",
    chain_id: ChainId = None,
    batch_age: BatchAge = 60,
    batch_items: BatchItems = 10**6,
    key_folder: KeyFolder = None,
    allow_single_party_key: AllowSinglePartyKey = False,
) -> None:
    """Deploy with the owner's key, and register the program. Checks come before transactions."""
    from backend.chain.deploy import deploy_program
    from backend.chain.distributor import Distributor
    from backend.cli import preparing
    from backend.program import service as program_service
    from backend.program.families import checked_families
    from prover.circuit import load_instance

    with open_context() as context:
        config, size = context.settings, load_instance(instance)
        with context.database.transaction() as session:
            program_service.require_free(session, name)
        urls = program_service.checked_urls(attestor_url, threshold)
        count = checked_families(families, accounts, size.slots)
        preparing.require_chain_id(context, chain_id)
        given = {"owner": owner, "guardian": guardian, "token": token}
        deployer, parties = preparing.ready_to_deploy(
            context, name, finality, size, attestor, threshold, **given
        )
        per_day = preparing.daily_limit(context, parties.token, daily_limit)
        allow = allow_single_party_key or config.allow_single_party_key_that_can_forge_everything
        key = preparing.proving_key(context, size, key_folder, allow)
        deployed = deploy_program(
            deployer,
            key,
            size,
            parties.attestors,
            threshold,
            owner=parties.owner,
            guardian=parties.guardian,
            families=count,
            daily_limit=per_day,
            token=parties.token,
            allow_single_party_key=allow,
        )
        preparing.say_deployed(name, deployed)
        contract = Distributor(context.node, deployed.distributor)
        settings: dict[str, Any] = {
            "finality": finality,
            "batch_items_max": batch_items,
            "batch_age_max_seconds": batch_age,
        }
        with context.database.transaction() as session:
            program_service.register(
                session, contract, name, deployed.block, key.verifying_key, urls, **settings
            )
    names = ("token", "distributor", "verifier", "block")
    output.document({"name": name} | {key: getattr(deployed, key) for key in names})


@app.command()
def register(
    name: NewName,
    distributor: Annotated[
        str, typer.Argument(help="Address of a Distributor that is deployed already.")
    ],
    attestor_url: AttestorUrls,
    first_block: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="A block at or before the Distributor's deployment; searched for if not given, "
            "which takes a node that holds old state.",
        ),
    ] = None,
    finality: Finality = "finalized",
    chain_id: ChainId = None,
    batch_age: BatchAge = 60,
    batch_items: BatchItems = 10**6,
    key_folder: KeyFolder = None,
    allow_single_party_key: AllowSinglePartyKey = False,
) -> None:
    """Register a Distributor that is deployed already.

    It was deployed elsewhere, or before something failed. Its code and key are checked first.
    """
    from backend.chain.deploy import deployed_key
    from backend.chain.distributor import Distributor
    from backend.chain.finality import require_served
    from backend.cli import preparing
    from backend.kit.address import checked_address
    from backend.program import service as program_service
    from prover.key_store import key_with

    with open_context() as context:
        with context.database.transaction() as session:
            program_service.require_free(session, name)
        config, address = context.settings, checked_address(distributor, "distributor")
        preparing.require_chain_id(context, chain_id)
        require_served(context.node, finality)
        contract = Distributor(context.node, address)
        info = contract.info()
        allow = allow_single_party_key or config.allow_single_party_key_that_can_forge_everything
        instance = program_service.instance_of(info)
        key = key_with(
            deployed_key(context.node, info.verifier), instance, key_folder or config.key
        )
        key.require_allowed_on(info.chain_id, allow)
        _, threshold, _ = contract.attestors("latest")
        urls = program_service.checked_urls(attestor_url, threshold)
        block = preparing.first_block_of(contract, first_block)
        with context.database.transaction() as session:
            program_service.register(
                session,
                contract,
                name,
                block,
                key.verifying_key,
                urls,
                finality=finality,
                batch_items_max=batch_items,
                batch_age_max_seconds=batch_age,
            )
    output.document({"name": name, "distributor": contract.address, "block": block})


@app.command()
def fund(
    program: ProgramName,
    amount: Annotated[str, typer.Argument(help="How much, in base units.")],
    mint: Annotated[
        bool | None,
        typer.Option(help="Mint test tokens first; by default on local chains, and only there."),
    ] = None,
) -> None:
    """Move reward tokens into the Distributor.

    The owner's key pays. On a local chain the tokens are minted first.
    """
    from backend.cli import preparing
    from backend.ledger import service as ledger
    from backend.settlement.indexer import index

    if not amount.isascii() or not amount.isdigit() or not int(amount):
        raise typer.BadParameter("expected an integer in base units, above 0", param_hint="AMOUNT")
    with open_context() as context:
        row = load_program(context, program)
        deployer, calls = preparing.funding_calls(context, row, int(amount), mint)
        for what, data in calls.items():
            deployer.send(what, row.token, data)
        index(context, row.id)
        with context.database.transaction() as session:
            available = ledger.available_budget(session, row.id)
    errors.print(
        f"{row.reward_token.text(max(available, 0))} are available for rewards (as far as the "
        "chain is final)."
    )
    facts = {"amount": amount, "token": row.token, "available_budget": str(max(available, 0))}
    output.document({"program": row.name} | facts)


@app.command()
def resume(
    program: ProgramName,
    from_block: Annotated[
        int | None,
        typer.Option(
            min=0, help="Compare ledger and chain from this block on: a node had left logs out."
        ),
    ] = None,
) -> None:
    """End a program's halt, once every rule holds.

    Ledger and chain must agree; what the ledger lacks is booked. Nothing booked is taken back.
    """
    from backend.settlement.resume import resume as resume_program

    with open_context() as context:
        done = resume_program(context, load_program(context, program).id, from_block)
    facts = {
        "program": program,
        "went_back_to_block": done.back_to,
        "events": done.events,
        "last_indexed_block": done.last_indexed_block,
    }
    output.document(facts)


@app.command()
def attestors(
    program: ProgramName,
    attestor_url: Annotated[
        list[str], typer.Option(help="Base URL of an attestor; several times, for all of them.")
    ],
) -> None:
    """Change where the program's attestors are.

    Who they are is changed on chain, by the Distributor's owner.
    """
    from backend.cli.names import find_program
    from backend.program import service as program_service

    with open_context() as context, context.database.transaction() as session:
        row = find_program(session, program)
        program_service.set_attestors(row, attestor_url)
    output.document({"program": program, "attestors": row.attestors})


@app.command("list")
def list_programs() -> None:
    """List all programs of the database."""
    from backend.program import repository as programs

    with open_context() as context, context.database.transaction() as session:
        listed = [_facts(row) for row in programs.all_programs(session)]
    columns = ("name", "chain_id", "distributor", "token_symbol", "finality", "last_indexed_block")
    show_list("Programs", listed, (*columns, "halted"))


@app.command()
def show(program: ProgramName) -> None:
    """Show where a program is, what it has and what waits."""
    from backend.batch import repository as batches
    from backend.cli.names import find_program
    from backend.kit.db import db_now
    from backend.ledger import service as ledger
    from backend.partner import repository as partners

    with open_context() as context, context.database.transaction() as session:
        row = find_program(session, program)
        available = ledger.available_budget(session, row.id)
        amounts = {
            "reserve": ledger.reserve(session, row.id),
            "available_budget": max(available, 0),
            "deficit": max(-available, 0),
        }
        more = {
            "open_batches": len(batches.open_batches(session, row.id)),
            "partners": [one.name for one in partners.listed(session, row.id)],
        }
        facts, text = _facts(row), row.reward_token.text
        if row.daily_limit:
            amounts["daily_limit"] = row.daily_limit
            amounts["daily_limit_left"] = row.limit.left(int(db_now(session).timestamp()))
        if row.halted is not None:
            errors.print(halt_text(row))
    show_facts(
        f"Program {facts['name']}",
        facts | {name: str(amount) for name, amount in amounts.items()} | more,
        facts | {name: text(amount) for name, amount in amounts.items()} | more,
    )


def _facts(row: "Program") -> dict[str, Any]:
    """What the database knows of a program, but for its ledger."""
    names = (
        *("name", "chain_id", "distributor", "verifier", "token", "token_symbol"),
        *("token_decimals", "instance", "families", "attestors", "finality"),
        *("batch_items_max", "batch_age_max_seconds", "last_indexed_block", "halted"),
    )
    return {name: getattr(row, name) for name in names}
