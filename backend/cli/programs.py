"""`guerdon program`: a program's life, from its contracts to its halts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from backend.chain.finality import FINALITY_EXPECTED
from backend.cli.app import Commands
from backend.cli.context import ProgramName, load_program, open_context
from backend.cli.output import errors, output

app = Commands(help="Programs: deploy, register, fund, resume.", no_args_is_help=True)

Finality = Annotated[str, typer.Option(help=f"{FINALITY_EXPECTED.capitalize()}.")]
BatchAge = Annotated[
    int,
    typer.Option(min=0, help="Close a batch when its oldest interaction has this age in seconds."),
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
    families: Annotated[int, typer.Option(min=1)] = 1,
    owner: Owner = None,
    guardian: Annotated[
        str | None,
        typer.Option(help="Who may pause; nobody until the owner names one, by default."),
    ] = None,
    finality: Finality = "finalized",
    batch_age: BatchAge = 60,
    batch_items: BatchItems = 10**6,
    key_folder: KeyFolder = None,
    allow_single_party_key: AllowSinglePartyKey = False,
) -> None:
    """Deploy hasher, verifier and Distributor with the owner's key, and register the program."""
    from backend.chain.deploy import NO_ADDRESS, deploy_program
    from backend.chain.distributor import Distributor
    from backend.program import service as program_service
    from prover.circuit import load_instance
    from prover.key_store import key_for

    with open_context() as context:
        config = context.settings
        with context.database.transaction() as session:
            # Before anything is paid for.
            program_service.require_free(session, name)
        urls = program_service.checked_urls(attestor_url, threshold)
        key = key_for(load_instance(instance), key_folder or config.key)
        allow = allow_single_party_key or config.allow_single_party_key_that_can_forge_everything
        errors.print(
            f"Deploying with the {key.manifest.origin} key {key.verifying_key.digest[:16]}.",
            highlight=False,
        )
        deployed = deploy_program(
            context.deployer(f"deploy:{name}", finality),
            key,
            load_instance(instance),
            attestor,
            threshold,
            owner=owner,
            guardian=guardian or NO_ADDRESS,
            families=families,
            token=token,
            allow_single_party_key=allow,
        )
        errors.print(
            f"Distributor {deployed.distributor}, block {deployed.block}.", highlight=False
        )
        with context.database.transaction() as session:
            program_service.register(
                session,
                Distributor(context.node, deployed.distributor),
                name,
                deployed.block,
                key.verifying_key,
                urls,
                finality=finality,
                batch_items_max=batch_items,
                batch_age_max_seconds=batch_age,
            )
    facts = {key: getattr(deployed, key) for key in ("token", "distributor", "verifier", "block")}
    output.print_json(json.dumps({"name": name} | facts))


@app.command()
def register(
    name: NewName,
    distributor: Annotated[
        str, typer.Argument(help="Address of a Distributor that is deployed already.")
    ],
    attestor_url: AttestorUrls,
    finality: Finality = "finalized",
    batch_age: BatchAge = 60,
    batch_items: BatchItems = 10**6,
    key_folder: KeyFolder = None,
    allow_single_party_key: AllowSinglePartyKey = False,
) -> None:
    """Take a Distributor that was deployed elsewhere, or before something failed, into the
    database. Its code and key are checked first."""
    from backend.chain.deploy import deployed_key
    from backend.chain.distributor import Distributor
    from backend.chain.logs import deployment_block
    from backend.program import service as program_service
    from prover.key_store import key_with

    with open_context() as context:
        contract = Distributor(context.node, distributor)
        info = contract.info()
        allow = (
            allow_single_party_key
            or context.settings.allow_single_party_key_that_can_forge_everything
        )
        instance = program_service.instance_of(info)
        key = key_with(
            deployed_key(context.node, info.verifier), instance, key_folder or context.settings.key
        )
        key.require_allowed_on(info.chain_id, allow)
        _, threshold, _ = contract.attestors("latest")
        urls = program_service.checked_urls(attestor_url, threshold)
        first_block = deployment_block(context.node, contract.address, context.node.block_number())
        with context.database.transaction() as session:
            program_service.register(
                session,
                contract,
                name,
                first_block,
                key.verifying_key,
                urls,
                finality=finality,
                batch_items_max=batch_items,
                batch_age_max_seconds=batch_age,
            )
    output.print_json(
        json.dumps({"name": name, "distributor": contract.address, "block": first_block})
    )


@app.command()
def fund(
    program: ProgramName,
    amount: Annotated[str, typer.Argument(help="How much, in base units.")],
    mint: Annotated[
        bool | None,
        typer.Option(help="Mint test tokens first; by default on local chains, and only there."),
    ] = None,
) -> None:
    """Move reward tokens from the owner's key into the Distributor; on a local chain they are
    minted first."""
    from backend.chain.erc20 import mint_calldata, transfer_calldata
    from backend.chain.local import require_local
    from backend.ledger import service as ledger
    from backend.settlement.indexer import index
    from prover.keys import LOCAL_CHAIN_IDS

    if not amount.isascii() or not amount.isdigit() or not int(amount):
        raise typer.BadParameter("expected an integer in base units, above 0", param_hint="AMOUNT")
    with open_context() as context:
        row = load_program(context, program)
        deployer = context.deployer(f"fund:{row.name}", row.finality)
        if mint:
            require_local(context.node)
        if mint or (mint is None and row.chain_id in LOCAL_CHAIN_IDS):
            deployer.send("mint", row.token, mint_calldata(deployer.signer.address, int(amount)))
        deployer.send("fund", row.token, transfer_calldata(row.distributor, int(amount)))
        index(context, row.id)
        with context.database.transaction() as session:
            available = ledger.available_budget(session, row.id)
    errors.print(
        f"{row.reward_token.text(max(available, 0))} are available for rewards (as far as the "
        "chain is final).",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


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
    """End a program's halt, once every rule holds and ledger and chain agree; what the ledger lacks
    is booked. Nothing booked is taken back."""
    from backend.settlement.resume import resume as resume_program

    with open_context() as context:
        done = resume_program(context, load_program(context, program).id, from_block)
    facts = {
        "program": program,
        "went_back_to_block": done.back_to,
        "events": done.events,
        "last_indexed_block": done.last_indexed_block,
    }
    output.print_json(json.dumps(facts))


@app.command()
def attestors(
    program: ProgramName,
    attestor_url: Annotated[
        list[str], typer.Option(help="Base URL of an attestor; several times, for all of them.")
    ],
) -> None:
    """Change where the program's attestors are. Who they are is changed on chain, by the
    Distributor's owner."""
    from backend.program import repository as programs
    from backend.program import service as program_service

    with open_context() as context, context.database.transaction() as session:
        row = programs.get(session, program)
        program_service.set_attestors(row, attestor_url)
    output.print_json(json.dumps({"program": program, "attestors": row.attestors}))
