"""The API over a database of this folder's own."""

from tests.support.engine import api, engine, own_engine, served  # noqa: F401 - fixtures
