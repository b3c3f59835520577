"""Fixtures and gears of the whole suite come from tests/support."""

pytest_plugins = ("tests.support.leftovers", "tests.support.gears", "tests.support.fixtures")
