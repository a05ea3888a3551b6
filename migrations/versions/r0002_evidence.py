"""Evidence that holds by itself: Merkle tree, checkpoints, certificates; and what purges and workers leave behind."""

import json

import sqlalchemy as sa
from alembic import op

from ledger.audit.merkle import EMPTY_ROOT, Frontier
from ledger.errors import ConflictError

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None

LEVELS = (8, 16, 24)
VERSION_FACTS = "model_id, number, parent, kind, request_id, restores, forgotten, weights, recipe, created_at"


def upgrade() -> None:
    """Add tables and columns, grow the tree over the entries there are, and protect versions and checkpoints."""
    op.create_table(
        "audit_subtrees",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_audit_subtrees")),
    )
    op.create_table(
        "blob_leases",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "holder", name=op.f("pk_blob_leases")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_workers")),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("openings", sa.JSON(), nullable=True),
        sa.Column("audit_seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_certificates_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_request_id"), "certificates", ["request_id"], unique=False)
    op.add_column("models", sa.Column("anchor", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("class_spaces", sa.Column("anchor", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("blobs", sa.Column("destroyed_at", sa.DateTime(), nullable=True))
    op.add_column("versions", sa.Column("quarantined", sa.Text(), nullable=True))
    op.add_column("versions", sa.Column("purged_at", sa.DateTime(), nullable=True))
    op.add_column(
        "audit_head", sa.Column("root", sa.String(length=64), nullable=False, server_default=EMPTY_ROOT.hex())
    )
    op.add_column("audit_head", sa.Column("peaks", sa.JSON(), nullable=True))
    _grow_tree()
    _protect("checkpoints", "", "checkpoints are append-only")
    _protect("versions", VERSION_FACTS, "what a version is never changes")


def _grow_tree() -> None:
    connection = op.get_bind()
    frontier = Frontier()
    query = sa.text("SELECT digest FROM audit_events ORDER BY seq")
    insert = sa.text("INSERT INTO audit_subtrees (level, position, digest) VALUES (:level, :position, :digest)")
    for (digest,) in connection.execute(query).fetchall():
        frontier, completed = frontier.append(bytes.fromhex(digest))
        for level, node in completed:
            if level in LEVELS:
                row = {"level": level, "position": (frontier.size >> level) - 1, "digest": node.hex()}
                connection.execute(insert, row)
    # A damaged history must stay as recognisably damaged as it was, so its recorded size is left alone.
    connection.execute(
        sa.text("UPDATE audit_head SET root = :root, peaks = :peaks"),
        {"root": frontier.root.hex(), "peaks": json.dumps([peak.hex() for peak in frontier.peaks])},
    )


def _protect(table: str, columns: str, refusal: str) -> None:
    of = f" OF {columns}" if columns else ""
    if op.get_bind().dialect.name == "sqlite":
        key = "model_id = NEW.model_id AND number = NEW.number" if columns else "id = NEW.id"
        for name, when in (
            ("update", f"BEFORE UPDATE{of} ON {table}"),
            ("delete", f"BEFORE DELETE ON {table}"),
            # INSERT OR REPLACE deletes without asking the trigger above.
            ("replace", f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {key})"),
        ):
            op.execute(f"CREATE TRIGGER {table}_no_{name} {when} BEGIN SELECT RAISE(ABORT, '{refusal}'); END")
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_fixed BEFORE UPDATE{of} ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept BEFORE DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )


def downgrade() -> None:
    """Take everything back, unless that would lose what was destroyed, signed or certified on purpose."""
    connection = op.get_bind()
    for what, query in {
        "purged objects": "SELECT count(*) FROM blobs WHERE destroyed_at IS NOT NULL",
        "checkpoints": "SELECT count(*) FROM checkpoints",
        "certificates": "SELECT count(*) FROM certificates",
    }.items():
        if connection.scalar(sa.text(query)):
            raise ConflictError(
                f"the ledger has {what}, which the schema before cannot hold",
                "nothing was changed; stay with this release, or go back to a backup from before the upgrade",
            )
    postgres = connection.dialect.name == "postgresql"
    for table in ("checkpoints", "versions"):
        for name in ("fixed", "kept") if postgres else ("no_update", "no_delete", "no_replace"):
            op.execute(f"DROP TRIGGER {table}_{name}" + (f" ON {table}" if postgres else ""))
        if postgres:
            op.execute(f"DROP FUNCTION {table}_refuse()")
    for table, columns in {
        "audit_head": ("peaks", "root"),
        "versions": ("purged_at", "quarantined"),
        "blobs": ("destroyed_at",),
        "models": ("anchor",),
        "class_spaces": ("anchor",),
    }.items():
        for name in columns:
            op.drop_column(table, name)
    op.drop_index(op.f("ix_certificates_request_id"), table_name="certificates")
    for table in ("certificates", "workers", "checkpoints", "blob_leases", "audit_subtrees"):
        op.drop_table(table)
