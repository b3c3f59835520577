"""What `guerdon program deploy`, `register` and `fund` look at before they change anything."""

from pathlib import Path

from backend.chain.deploy import (
    NO_ADDRESS,
    TEST_TOKEN_DECIMALS,
    TEST_TOKEN_SYMBOL,
    Deployment,
    Parties,
    checked_parties,
)
from backend.chain.distributor import Distributor
from backend.chain.erc20 import balance_of, describe, mint_calldata, transfer_calldata
from backend.chain.finality import require_served
from backend.chain.local import require_local
from backend.chain.logs import deployment_block
from backend.chain.outbox_deployer import OutboxDeployer
from backend.chain.preflight import (
    call_gas,
    deployment_gas,
    ether,
    gas_money,
    require_first_block,
    require_gas_money,
)
from backend.cli.output import errors
from backend.cli.token_amounts import read_daily_limit
from backend.context import Context
from backend.errors import Conflict, Invalid
from backend.kit.token import Token
from backend.program.models import Program
from backend.signer.base import SignerError
from backend.signer.factory import open_signer
from prover.circuit import Instance
from prover.groth16 import dev_key
from prover.key_store import existing_key_for, require_room_for_dev_key
from prover.keys import LOCAL_CHAIN_IDS, KeyFolder, SetupError

POST_GAS = 900_000
"""Gas of a large batch's transaction (docs/GAS.md)."""


def say(text: str) -> None:
    """A line for the operator."""
    errors.print(text)


def say_deployed(name: str, deployed: Deployment) -> None:
    """What stands, and what to do should the command fail after this line."""
    say(
        f"Distributor {deployed.distributor}, block {deployed.block}. If this command fails from "
        f"here on, `guerdon program register {name} {deployed.distributor}` takes it in."
    )


def require_chain_id(context: Context, expected: int | None) -> None:
    """Raises Conflict if the node is on another chain than the operator expects."""
    if expected is not None and expected != context.chain_id:
        raise Conflict(
            f"chain_id: expected {expected}, the node of RPC_URL is on chain {context.chain_id}",
            "chain_id",
        )


def require_owner_can_pay(context: Context, gas: int) -> None:
    """Name the key that signs, what it has and what it may need.

    Raises NotYet if it has less, or gas costs more than the fee cap.
    """
    money = gas_money(context.node, context.owner.address, gas, context.fees)
    say(f"Chain {context.chain_id}. The key of {context.settings.owner_keystore} signs: {money}.")
    require_gas_money(money, "the owner's key")


def ready_to_deploy(
    context: Context,
    name: str,
    finality: str,
    instance: Instance,
    attestors: list[str],
    threshold: int,
    **given: str | None,
) -> tuple[OutboxDeployer, Parties]:
    """What sends a program's contracts, and whom they are told of. `given`: owner (the key that
    signs if None), guardian, token.

    An earlier run's transaction is settled first. What the keys hold is told.

    Raises:
        Invalid: as `checked_parties`, or the node does not serve the finality.
        NotYet: the owner's key cannot pay for gas.
        Conflict: an earlier run's transaction was settled now.
    """
    require_served(context.node, finality)
    deployer = context.deployer(f"deploy:{name}", finality)
    deployer.require_none_under_way()
    owner = context.owner.address
    parties = checked_parties(
        context.node,
        attestors,
        threshold,
        owner=owner if given["owner"] is None else given["owner"],
        guardian=NO_ADDRESS if given["guardian"] is None else given["guardian"],
        token=given["token"],
    )
    gas = deployment_gas(
        context.node,
        owner,
        test_token=parties.token is None,
        levels=instance.levels,
        attestors=len(parties.attestors),
    )
    if parties.token is not None:
        token = describe(context.node, parties.token)
        say(f"Reward token {token.address}: {token.name}, {token.decimals} decimals.")
    require_owner_can_pay(context, gas)
    name_working_keys(context)
    return deployer, parties


def daily_limit(context: Context, token: str | None, given: str | None) -> int:
    """The base units of a new program's daily limit, which is told; 0 for none. `token` None is a
    test token that is to be made. Raises Invalid."""
    if given is None:
        say("No daily limit: enough attestors' keys can commit the whole reserve at once.")
        return 0
    made = Token(NO_ADDRESS, TEST_TOKEN_SYMBOL, TEST_TOKEN_DECIMALS)
    described = made if token is None else describe(context.node, token)
    amount = read_daily_limit(given, described)
    say(f"Daily limit: {described.text(amount)}.")
    return amount


def proving_key(
    context: Context, instance: Instance, folder: Path | None, allow_single_party: bool
) -> KeyFolder:
    """The key for a new program. The making of a development key is announced, and begins only
    where such a key may be used.

    Raises SetupError.
    """
    found = existing_key_for(instance, folder or context.settings.key)
    if found is not None:
        found.require_allowed_on(context.chain_id, allow_single_party)
    elif context.chain_id not in LOCAL_CHAIN_IDS and not allow_single_party:
        raise SetupError(
            f"this machine has no ceremony's key of instance {instance.name}, and chain "
            f"{context.chain_id} is not a local chain: import one with `guerdon keys import "
            f"{instance.name}`, or name its folder with --key"
        )
    else:
        cost = require_room_for_dev_key(instance)
        say(f"Making the development key of instance {instance.name}: {cost}.")
        found = dev_key(instance)
    say(f"Proving key: {found.manifest.origin}, {found.verifying_key.digest[:16]}, {found.path}.")
    return found


def name_working_keys(context: Context) -> None:
    """Tell what the keys of the workers hold, as far as their files are here: they need money for
    gas too, from the first batch on."""
    config = context.settings
    fee = context.fees.quote(context.node).max_fee
    for what, path in (("posting", config.keystore), ("paying", config.payer_keystore)):
        if path is None or not path.exists():
            continue
        try:
            signer = open_signer(path, config.keystore_password.get_secret_value())
        except SignerError as error:
            say(f"The {what} key cannot be opened: {error}.")
            continue
        held = context.node.balance(signer.address)
        say(
            f"The {what} key {signer.address} ({path}) holds {ether(held)}; one transaction of a "
            f"large batch takes up to {ether(fee * POST_GAS)}."
        )


def first_block_of(contract: Distributor, given: int | None) -> int:
    """The block from which on a Distributor's events are read: `given`, checked, or searched for.

    Raises Invalid, and Unavailable for a node that holds no old state.
    """
    if given is None:
        return deployment_block(contract.node, contract.address, contract.node.block_number())
    require_first_block(contract.node, contract.address, given, contract.topic("AttestorsChanged"))
    return given


def funding_calls(
    context: Context, program: Program, amount: int, mint: bool | None
) -> tuple[OutboxDeployer, dict[str, bytes]]:
    """What `fund` sends to the token, by name, once it is known that it can be sent.

    An earlier run's transaction is settled first.

    Raises:
        Invalid: the owner's key holds too few tokens, or the node does not serve the finality.
        NotYet: it cannot pay for gas.
        Conflict: an earlier run's transaction was settled now, or tokens are to be minted off a
        local chain.
    """
    require_served(context.node, program.finality)
    owner = context.owner.address
    deployer = context.deployer(f"fund:{program.name}", program.finality)
    deployer.require_none_under_way()
    calls = {"fund": transfer_calldata(program.distributor, amount)}
    if mint:
        require_local(context.node)
    if mint or (mint is None and program.chain_id in LOCAL_CHAIN_IDS):
        calls = {"mint": mint_calldata(owner, amount)} | calls
    elif (held := balance_of(context.node, program.token, owner)) < amount:
        raise Invalid(
            f"amount: the owner's key {owner} holds {program.reward_token.text(held)}, expected at "
            f"least {program.reward_token.text(amount)}: send it tokens first",
            "amount",
        )
    gas = call_gas(context.node, owner, program.token, list(calls.values()))
    require_owner_can_pay(context, gas)
    return deployer, calls
