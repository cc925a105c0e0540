"""The first schema: every table as the table files describe it."""

from alembic import op

from gateway.adapters.db.migrate import every_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    every_table().create_all(op.get_bind(), checkfirst=True)
