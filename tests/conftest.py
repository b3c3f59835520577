"""Fixtures and gears of the whole suite come from tests/support."""

pytest_plugins = ("tests.support.fixtures", "tests.support.gears", "tests.support.leftovers")
