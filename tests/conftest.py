"""Fixtures and gears of the whole suite come from tests/support."""

import os

pytest_plugins = ("tests.support.leftovers", "tests.support.gears", "tests.support.fixtures")

# A developer's proxy leads away from this machine, where every server of the tests is.
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)
