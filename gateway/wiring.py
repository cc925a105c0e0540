"""Builds everything: the only file that knows every concrete class."""

from functools import cache
from zoneinfo import ZoneInfo

from gateway.exchange.ports.store import Store
from gateway.profiles.search_parameters import Definitions
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
    from gateway.adapters.db.store import DbStore, Derived
    from gateway.consent.view import pack, view_of

    database = Database(settings.database_url)
    upgrade(database)
    zone = ZoneInfo(settings.time_zone)
    return DbStore(database, Derived(search_definitions(), lambda resource: pack(view_of(resource, zone))))


@cache
def search_definitions() -> Definitions:
    """The search parameters and compartments that ship with Doorway (profiles/search)."""
    from gateway.adapters.files.data import read_data
    from gateway.profiles.search_parameters import read_definitions

    return read_definitions(read_data("profiles/search/parameters.csv"), read_data("profiles/search/compartments.csv"))
