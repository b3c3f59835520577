"""The migration to posts of several batches: what was tried before it is still known."""

from alembic import command
from sqlalchemy import insert, text

from backend.batch.models import Batch, BatchState
from backend.chain.models import OutgoingTransaction, SenderAccount, State
from backend.migrations import config, upgrade
from backend.settlement.post_rows import posts_of
from tests.support.engine import Engine, address, report


def test_posts_of_batches_under_way_are_remembered(own_engine: Engine) -> None:
    """Those of the present digest count, whatever their number; those of an older envelope, of
    another batch and other transactions do not. A final batch had its transaction to itself."""
    program = own_engine.program(items_max=1)
    own_engine.take_in(program, [report("e1", "ann"), report("e2", "bob")])
    landed, batch = own_engine.close(program), own_engine.close(program)
    own_engine.finalize(program, landed[0])
    digest, older = b"\xaa" * 32, b"\xbb" * 32
    base = f"post {program.chain_id} {program.distributor} 0"
    purposes = [
        f"{base} 1 {digest.hex()}",
        f"{base} 2 {older.hex()}",
        f"{base} 2 {digest.hex()}",
        f"{base} 2 {digest.hex()} 2",
        f"fund {program.distributor}",
    ]
    with own_engine.database.transaction() as session:
        row = session.get_one(Batch, batch[0].id)
        row.digest, row.state = digest, BatchState.PROVEN
        sender = {"chain_id": program.chain_id, "address": address("poster"), "next_nonce": 9}
        session.execute(insert(SenderAccount).values(**sender))
        for nonce, purpose in enumerate(purposes):
            session.add(
                OutgoingTransaction(
                    chain_id=program.chain_id,
                    sender=address("poster"),
                    nonce=nonce,
                    purpose=purpose,
                    to_address=program.distributor,
                    data=b"",
                    value=0,
                    gas_limit=1,
                    state=State.STORED,
                )
            )
    with own_engine.database.engine.connect() as connection:
        configuration = config()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0012")
        connection.commit()
    upgrade(own_engine.database)
    with own_engine.database.transaction() as session:
        tried = posts_of(session, session.get_one(Batch, batch[0].id))
        assert [row.purpose for row in tried] == purposes[2:4]
        assert session.scalar(text("SELECT count(*) FROM batch_post")) == 2
        assert session.get_one(Batch, landed[0].id).batches_in_tx == 1
