"""Making and finding partners."""

import pytest
from sqlalchemy import select

from backend.errors import Conflict, Invalid, NotFound
from backend.partner import repository as partners
from backend.partner.models import PartnerSecret
from backend.partner.scheme import generate_secret
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
        assert [partners.secrets(session, id_) for id_ in found] == [[engine.secrets[p.id, "adnet"]] for p in (first, second)]


def test_secret_is_not_in_its_row_s_text(engine: Engine) -> None:
    """A secret's row says which it is, never what it is."""
    program = engine.program()
    with engine.database.transaction() as session:
        row = session.scalars(select(PartnerSecret).where(PartnerSecret.secret == engine.secrets[program.id, "adnet"])).one()
    assert engine.secrets[program.id, "adnet"] not in repr(row) + str(row)
