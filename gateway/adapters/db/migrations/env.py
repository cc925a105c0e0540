"""Alembic's entry: runs the steps on the connection that migrate.py hands over."""

from alembic import context

from gateway.adapters.db.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
