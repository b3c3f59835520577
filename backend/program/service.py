"""Taking a deployed program into the operator's database, and changing what the operator may change
of it."""

from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.chain import erc20
from backend.chain.deploy import check_deployment
from backend.chain.distributor import Distributor, ProgramInfo
from backend.chain.node import Node, NodeRefused
from backend.errors import Conflict, Invalid, Unavailable
from backend.kit.names import require_name
from backend.ledger import service as ledger
from backend.program.models import Program
from prover.circuit import Instance, instances
from prover.keys import VerifyingKey


def register(
    session: Session,
    distributor: Distributor,
    name: str,
    first_block: int,
    verifying_key: VerifyingKey,
    attestors: list[str],
    *,
    finality: str,
    batch_items_max: int,
    batch_age_max_seconds: int,
) -> Program:
    """A new program over a deployed Distributor, whose contracts and key are checked first. Events
    from `first_block` on are booked, and what its address held before.

    Raises:
        Invalid: the name, or contracts of sizes that no instance has.
        Conflict: name or Distributor are registered already, or the deployment is not what it
        should be.
    """
    require_free(session, name)
    check_deployment(distributor.node, distributor.address, verifying_key)
    info = distributor.info()
    instance = instance_of(info)
    same = (Program.chain_id == info.chain_id) & (Program.distributor == distributor.address)
    if known := session.scalar(select(Program.name).where(same)):
        raise Conflict(f"this Distributor is registered already, as {known!r}", "distributor")
    before = distributor.node.block(max(0, first_block - 1))
    token = erc20.describe(distributor.node, info.token)
    program = Program(
        name=name,
        chain_id=info.chain_id,
        distributor=distributor.address,
        token=info.token,
        token_symbol=token.symbol,
        token_decimals=token.decimals,
        verifier=info.verifier,
        instance=instance.name,
        families=info.families,
        families_first=info.families,
        attestors=attestors,
        finality=finality,
        batch_items_max=min(batch_items_max, instance.items),
        batch_age_max_seconds=batch_age_max_seconds,
        last_indexed_block=before.number,
        last_indexed_block_hash=before.hash,
    )
    session.add(program)
    session.flush()
    _book_opening(session, distributor, program)
    return program


def require_free(session: Session, name: str) -> None:
    """Raises Invalid for what is no name, Conflict for one that a program has."""
    require_name(name)
    if session.scalar(select(Program.id).where(Program.name == name)):
        raise Conflict(f"a program called {name!r} is registered already", "name")


def instance_of(info: ProgramInfo) -> Instance:
    """The instance whose trees a Distributor has. Raises Invalid if there is none."""
    instance = next(
        (i for i in instances().values() if (i.levels, i.slots) == (info.levels, info.slots)), None
    )
    if instance is None:
        raise Invalid(f"distributor: no instance has trees of {info.levels} levels", "distributor")
    return instance


def _book_opening(session: Session, distributor: Distributor, program: Program) -> None:
    """What the Distributor's address, which is known before it is deployed, was sent before the
    blocks that are booked: it funds as well."""
    before = program.last_indexed_block
    if opening := _held_at(distributor, program.token, before):
        ledger.book_funding(session, program.id, f"before {before + 1}", opening)


def _held_at(distributor: Distributor, token: str, block: int) -> int:
    """What the Distributor's address held at `block`, in base units."""
    node = distributor.node
    try:
        # A token of a test may be younger than the block.
        return distributor.reserve(block) if node.code(token, block) else 0
    except NodeRefused:
        # A node without old state has the log: what came and went since leads back to the block.
        head = node.block_number()
        moved = erc20.received(node, token, distributor.address, block + 1, head)
        held = distributor.reserve(head) - moved
        if held < 0:
            raise Unavailable(
                f"the token's log does not explain what the Distributor holds, and the node does "
                f"not serve the state of block {block}: register the program with a node that does"
            ) from None
        return held


def describe_token(session: Session, node: Node, program: Program) -> None:
    """Ask the token for the symbol and decimals that a program lacks: one that was registered
    before they were kept, or whose token says nothing. Raises Unavailable."""
    if program.token_symbol is None or program.token_decimals is None:
        token = erc20.describe(node, program.token)
        row = session.get_one(Program, program.id)
        row.token_symbol, row.token_decimals = token.symbol, token.decimals


def set_attestors(program: Program, urls: list[str]) -> None:
    """Where the program's attestors are from now on. Who they are, and how many must sign, is the
    chain's to say. Raises Invalid."""
    program.attestors = checked_urls(urls)


def checked_urls(urls: list[str], at_least: int = 1) -> list[str]:
    """Attestors' base URLs without a slash at the end. Raises Invalid for fewer than `at_least`,
    one given twice, or what is no such URL."""
    if len(urls) < at_least:
        raise Invalid(
            f"attestor_url: expected at least {at_least}, as many as must sign, got {len(urls)}",
            "attestor_url",
        )
    plain = [url.rstrip("/") for url in urls]
    for url, shown in zip(map(urlsplit, plain), urls, strict=True):
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise Invalid(
                f"attestor_url: expected http(s)://host[:port][/path], got {shown!r}",
                "attestor_url",
            )
    if len(set(plain)) < len(plain):
        raise Invalid("attestor_url: expected each attestor once", "attestor_url")
    return plain
