"""Builds everything: the only file that knows every concrete class."""

from gateway.settings import Settings


def describe(settings: Settings) -> str:
    """One line on what would be built, without secrets."""
    return (
        f"database {settings.database_url.split(':', 1)[0]}, http {settings.http_address}, mllp {settings.mllp_address}"
    )
