"""Making and finding partners."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from backend.errors import Conflict, Invalid, NotFound
from backend.partner import repository as partners
from backend.partner.models import PartnerSecret
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.program.models import Program
from tests.support.engine import Engine


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", ".a", "é", "a" * 65, "a\0", "a/b", "a\n"])
def test_bad_name(engine: Engine, name: str) -> None:
    """A partner's name is its id in the protocol: one plain form only."""
    program = engine.program()
    with pytest.raises(Invalid) as caught, engine.database.transaction() as session:
        partners.add(session, program.id, name, generate_secret())
    assert caught.value.field == "partner"
    with pytest.raises(NotFound), engine.database.transaction() as session:
        partners.get(session, program.id, name)


def test_bad_secret(engine: Engine) -> None:
    """A malformed secret is refused by its field and not repeated; the partner is not made."""
    program = engine.program()
    with pytest.raises(Invalid) as caught, engine.database.transaction() as session:
        partners.add(session, program.id, "gamehouse", "my-weak-secret")
    assert caught.value.field == "secret"
    assert "my-weak-secret" not in caught.value.message
    with pytest.raises(NotFound), engine.database.transaction() as session:
        partners.get(session, program.id, "gamehouse")


def test_names_are_unique_in_a_program(engine: Engine) -> None:
    """One name once a program; the same name in another is another partner with another secret."""
    first, second = engine.program(), engine.program()
    with pytest.raises(Conflict), engine.database.transaction() as session:
        partners.add(session, first.id, "adnet", generate_secret())
    with engine.database.transaction() as session:
        found = [partners.get(session, program.id, "adnet").id for program in (first, second)]
        assert len(set(found)) == 2
        assert [partners.secrets(session, id_) for id_ in found] == [
            [engine.secrets[p.id, "adnet"]] for p in (first, second)
        ]


def test_secret_is_not_in_its_row_s_text(engine: Engine) -> None:
    """A secret's row says which it is, never what it is."""
    program = engine.program()
    with engine.database.transaction() as session:
        row = session.scalars(
            select(PartnerSecret).where(PartnerSecret.secret == engine.secrets[program.id, "adnet"])
        ).one()
    assert engine.secrets[program.id, "adnet"] not in repr(row) + str(row)


def secrets_of(engine: Engine, program: Program) -> list[str]:
    with engine.database.transaction() as session:
        return partners.secrets(session, partners.get(session, program.id, "adnet").id)


def rotate(engine: Engine, program: Program, secret: str, overlap_seconds: int) -> None:
    with engine.database.transaction() as session:
        partners.rotate(
            session, partners.get(session, program.id, "adnet"), secret, overlap_seconds
        )


def test_an_earlier_end_stays(engine: Engine) -> None:
    """A secret that ends soon does not live on because another rotation overlaps for longer; of
    another program's nothing ends."""
    program, other = engine.program(), engine.program()
    first, second, third = engine.secrets[program.id, "adnet"], generate_secret(), generate_secret()
    rotate(engine, program, second, 1)
    rotate(engine, program, third, 3600)
    assert secrets_of(engine, program) == [third, second, first]
    time.sleep(1.1)
    assert secrets_of(engine, program) == [third, second]
    assert secrets_of(engine, other) == [engine.secrets[other.id, "adnet"]]


def test_two_rotations_at_once(engine: Engine) -> None:
    """Of two that rotate at the same time without an overlap one secret is left, the later
    one's."""
    program = engine.program()
    made = [generate_secret() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda secret: rotate(engine, program, secret, 0), made))
    [left] = secrets_of(engine, program)
    assert left in made


def test_refused_rotations_change_nothing(engine: Engine) -> None:
    """A malformed secret, or one that the partner has had, is refused by its field."""
    program = engine.program()
    old, new = engine.secrets[program.id, "adnet"], generate_secret()
    for secret, error in (("whsec_short", Invalid), (old, Conflict)):
        with pytest.raises(error) as caught:
            rotate(engine, program, secret, 0)
        assert caught.value.field == "secret"
        assert secret not in caught.value.message
    assert secrets_of(engine, program) == [old]
    rotate(engine, program, new, 0)
    with pytest.raises(Conflict):
        rotate(engine, program, old, 0)
    assert secrets_of(engine, program) == [new]
