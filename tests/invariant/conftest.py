"""The engine over a database of this folder's own."""

from tests.support.engine import api, engine, own_engine  # noqa: F401 - fixtures
