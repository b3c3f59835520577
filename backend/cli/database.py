"""`guerdon migrate`: the database's tables."""

from backend.cli.app import Commands
from backend.cli.context import open_context
from backend.cli.output import errors

app = Commands()


@app.command()
def migrate() -> None:
    """Upgrade the database's tables to the newest version."""
    from backend.migrations import upgrade

    with open_context() as context:
        upgrade(context.database)
    errors.print("The database is up to date.")
