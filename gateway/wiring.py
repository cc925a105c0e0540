"""Builds everything: the only file that knows every concrete class."""

from gateway.exchange.ports.store import Store
from gateway.settings import Settings


def describe(settings: Settings) -> str:
    """One line on what would be built, without secrets."""
    return (
        f"database {settings.database_url.split(':', 1)[0]}, http {settings.http_address}, mllp {settings.mllp_address}"
    )


def open_store(settings: Settings) -> Store:
    """The store of the settings, its schema brought up to date.

    Raises:
        Busy: the database cannot be reached or written.
        Fault: it belongs to a newer release.
    """
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.migrate import upgrade
    from gateway.adapters.db.store import DbStore

    database = Database(settings.database_url)
    upgrade(database)
    return DbStore(database)
