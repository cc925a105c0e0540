"""The first schema, as it was released: later changes are steps of their own, never edits here."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT_C = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # sorts by code point on both databases


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "audit",
        sa.Column("lane", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("viewer", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "sequence"),
    )
    op.create_index("audit_viewer", "audit", ["viewer", "recorded_us"], unique=False)
    op.create_table(
        "client",
        sa.Column("name", TEXT_C, nullable=False),
        sa.Column("organization", TEXT_C, nullable=False),
        sa.Column("scopes", TEXT_C, nullable=False),
        sa.Column("roles", TEXT_C, nullable=False),
        sa.Column("purposes", TEXT_C, nullable=False),
        sa.Column("jwks", TEXT_C, nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "client_assertion",
        sa.Column("client", TEXT_C, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client", "digest"),
    )
    op.create_table(
        "client_token",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("client", TEXT_C, nullable=False),
        sa.Column("scopes", TEXT_C, nullable=False),
        sa.Column("purposes", TEXT_C, nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "consent_form",
        sa.Column("subject", TEXT_C, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("form", sa.BigInteger(), nullable=False),
        sa.Column("low_us", sa.BigInteger(), nullable=False),
        sa.Column("high_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "key", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_index("consent_form_form", "consent_form", ["form", "key"], unique=False)
    op.create_table(
        "gateway_secret",
        sa.Column("name", TEXT_C, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "hmis_extra",
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("file", TEXT_C, nullable=False),
        sa.Column("key", TEXT_C, nullable=False),
        sa.Column("text", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("source", "file", "key"),
    )
    op.create_table(
        "hmis_todo",
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("kind", TEXT_C, nullable=False),
        sa.Column("key", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("source", "kind", "key"),
    )
    op.create_table(
        "hmis_row",
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("file", TEXT_C, nullable=False),
        sa.Column("key", TEXT_C, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("updated", TEXT_C, nullable=False),
        sa.Column("exported", TEXT_C, nullable=False),
        sa.Column("person", TEXT_C, nullable=False),
        sa.Column("enrollment", TEXT_C, nullable=False),
        sa.Column("project", TEXT_C, nullable=False),
        sa.Column("household", TEXT_C, nullable=False),
        sa.Column("facts", TEXT_C, nullable=False),
        sa.Column("cells", TEXT_C, nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "file", "key"),
    )
    op.create_index("hmis_row_enrollment", "hmis_row", ["source", "enrollment"], unique=False)
    op.create_index("hmis_row_household", "hmis_row", ["source", "household"], unique=False)
    op.create_index("hmis_row_person", "hmis_row", ["source", "person", "file"], unique=False)
    op.create_index("hmis_row_project", "hmis_row", ["source", "project", "file"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("id", TEXT_C, nullable=False),
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("control_id", TEXT_C, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", TEXT_C, nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("lane", TEXT_C, nullable=False),
        sa.Column("lane_2", TEXT_C, nullable=False),
        sa.Column("event_us", sa.BigInteger(), nullable=False),
        sa.Column("peer", TEXT_C, nullable=False),
        sa.Column("state", TEXT_C, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("category", TEXT_C, nullable=False),
        sa.Column("place", TEXT_C, nullable=False),
        sa.Column("fault", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    settled, folded = sa.text("state != 'received'"), sa.text("state = 'processed'")
    op.create_index("inbox_state", "inbox", ["state", "received_us"], unique=False)
    op.create_index(
        "inbox_control_id", "inbox", ["control_id"], unique=False, sqlite_where=settled, postgresql_where=settled
    )
    op.create_index(
        "inbox_lane",
        "inbox",
        ["lane", "event_us", "received_us"],
        unique=False,
        sqlite_where=folded,
        postgresql_where=folded,
    )
    two = sa.text("lane_2 != '' AND state = 'processed'")
    op.create_index(
        "inbox_lane_2",
        "inbox",
        ["lane_2", "event_us", "received_us"],
        unique=False,
        sqlite_where=two,
        postgresql_where=two,
    )
    op.create_table(
        "inbox_sequence",
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("source"),
    )
    op.create_table(
        "inbox_attempt",
        sa.Column("message", TEXT_C, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT_C, nullable=False),
        sa.Column("stage", TEXT_C, nullable=False),
        sa.Column("category", TEXT_C, nullable=False),
        sa.Column("place", TEXT_C, nullable=False),
        sa.Column("fault", TEXT_C, nullable=False),
        sa.Column("reason", TEXT_C, nullable=False),
        sa.Column("outputs", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("message", "number"),
    )
    op.create_table(
        "link_block",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "link_count",
        sa.Column("token", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "link_edge",
        sa.Column("one", TEXT_C, nullable=False),
        sa.Column("other", TEXT_C, nullable=False),
        sa.Column("state", TEXT_C, nullable=False),
        sa.Column("grade", TEXT_C, nullable=False),
        sa.Column("bits", sa.Float(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("by", TEXT_C, nullable=False),
        sa.Column("seconds", TEXT_C, nullable=False),
        sa.Column("reasons", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("one", "other"),
    )
    op.create_index("link_edge_other", "link_edge", ["other"], unique=False)
    op.create_index("link_edge_state", "link_edge", ["state", "bits"], unique=False)
    op.create_table(
        "link_event",
        sa.Column("id", TEXT_C, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", TEXT_C, nullable=False),
        sa.Column("one", TEXT_C, nullable=False),
        sa.Column("other", TEXT_C, nullable=False),
        sa.Column("by", TEXT_C, nullable=False),
        sa.Column("why", TEXT_C, nullable=False),
        sa.Column("model", TEXT_C, nullable=False),
        sa.Column("grade", TEXT_C, nullable=False),
        sa.Column("bits", sa.Float(), nullable=False),
        sa.Column("evidence", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("link_event_one", "link_event", ["one"], unique=False)
    op.create_index("link_event_other", "link_event", ["other"], unique=False)
    op.create_table(
        "link_traits",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("patient", TEXT_C, nullable=False),
        sa.Column("custodian", TEXT_C, nullable=False),
        sa.Column("traits", sa.LargeBinary(), nullable=False),
        sa.Column("person", TEXT_C, nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "link_traits_person",
        "link_traits",
        ["person"],
        unique=False,
        sqlite_where=sa.text("person <> ''"),
        postgresql_where=sa.text("person <> ''"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", TEXT_C, nullable=False),
        sa.Column("destination", TEXT_C, nullable=False),
        sa.Column("kind", TEXT_C, nullable=False),
        sa.Column("refs", TEXT_C, nullable=False),
        sa.Column("control_id", TEXT_C, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("lane", TEXT_C, nullable=False),
        sa.Column("state", TEXT_C, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("fault", TEXT_C, nullable=False),
        sa.Column("cause", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("outbox_control_id", "outbox", ["control_id"], unique=False)
    op.create_index("outbox_destination", "outbox", ["destination", "state", "created_us"], unique=False)
    op.create_table(
        "resource",
        sa.Column("type", TEXT_C, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT_C, nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("method", TEXT_C, nullable=False),
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("owner", TEXT_C, nullable=False),
        sa.Column("subject", TEXT_C, nullable=False),
        sa.Column("patients", TEXT_C, nullable=False),
        sa.Column("present", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.BigInteger(), nullable=False),
        sa.Column("maker", sa.BigInteger(), nullable=False),
        sa.Column("facets", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("type", "key", "shard"),
    )
    op.create_index("resource_id", "resource", ["type", "id"], unique=True)
    op.create_index(
        "resource_maker",
        "resource",
        ["type", "maker", "key"],
        unique=False,
        sqlite_where=sa.text("maker <> 0"),
        postgresql_where=sa.text("maker <> 0"),
    )
    op.create_index(
        "resource_nobody",
        "resource",
        ["type", "subject", "key"],
        unique=False,
        sqlite_where=sa.text("subject = ''"),
        postgresql_where=sa.text("subject = ''"),
    )
    op.create_index("resource_owner", "resource", ["type", "owner", "key"], unique=False)
    op.create_index("resource_updated", "resource", ["type", "updated_us", "key", "method"], unique=False)
    op.create_table(
        "resource_history",
        sa.Column("type", TEXT_C, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT_C, nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("method", TEXT_C, nullable=False),
        sa.Column("source", TEXT_C, nullable=False),
        sa.Column("owner", TEXT_C, nullable=False),
        sa.Column("subject", TEXT_C, nullable=False),
        sa.Column("patients", TEXT_C, nullable=False),
        sa.Column("present", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.BigInteger(), nullable=False),
        sa.Column("maker", sa.BigInteger(), nullable=False),
        sa.Column("facets", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("type", "key", "version", "shard"),
    )
    op.create_index("resource_history_updated", "resource_history", ["type", "updated_us", "key"], unique=False)
    op.create_table(
        "resource_patient",
        sa.Column("patient", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", TEXT_C, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("patient", "type", "key", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_date",
        sa.Column("p", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("low", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("high", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("p", "key", "low", "high", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "search_date_high",
        "search_date",
        ["p", "high", "key", "low"],
        unique=False,
        sqlite_where=sa.text("high > low + 2764800000000"),
        postgresql_where=sa.text("high > low + 2764800000000"),
    )
    op.create_index("search_date_low", "search_date", ["p", "low", "key", "high"], unique=False)
    op.create_table(
        "search_hash",
        sa.Column("h", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("h", "key", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_link",
        sa.Column("p", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("target", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("p", "key", "target", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_index("search_link_target", "search_link", ["p", "target", "key"], unique=False)
    op.create_table(
        "search_number",
        sa.Column("p", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("low", sa.Float(precision=53), nullable=False),
        sa.Column("high", sa.Float(precision=53), nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("p", "key", "low", "high", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_index("search_number_low", "search_number", ["p", "low", "key", "high"], unique=False)
    op.create_table(
        "search_system",
        sa.Column("p", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("system", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("p", "system"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_text",
        sa.Column("p", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", TEXT_C, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("p", "key", "value", "shard"),
        sqlite_with_rowid=False,
    )
    op.create_index("search_text_value", "search_text", ["p", "value", "key"], unique=False)
    op.create_table(
        "store_state",
        sa.Column("name", TEXT_C, nullable=False),
        sa.Column("value", TEXT_C, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
