"""Fixtures for every folder of tests: a database, and the API over it.

The tests of a file share one migrated database and have programs of their own in it.
"""

from collections.abc import Iterator

import pytest
import structlog

from tests.support.engine import Api, Engine, fresh_engine, in_process, serve
from tests.support.postgres import postgres


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command sets the logs of its process: the next test does not inherit its level."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def database_url() -> Iterator[str]:
    """An empty database for one test."""
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One database for the tests of a file: each has programs of its own in it."""
    with fresh_engine() as made:
        yield made


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    """A database for one test alone."""
    with fresh_engine() as made:
        yield made


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[Api]:
    """The file's database behind a real server: paths and headers arrive as on the network."""
    with serve(engine) as made:
        yield made


@pytest.fixture(scope="module")
def api(engine: Engine) -> Iterator[Api]:
    """The real application over the file's database."""
    with in_process(engine) as made:
        yield made
