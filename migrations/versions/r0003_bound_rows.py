"""Rows that the audit log covers whole, and what the images of a model are: see the columns of ``models``.

Evidence says where it comes from; of earlier evidence the log tells what it was compared with.
"""

import json

import sqlalchemy as sa
from alembic import op

from ledger.errors import ConflictError

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the salt, and indexes for questions about one request, what is live and what is overdue."""
    op.add_column("models", sa.Column("salt", sa.String(length=32), server_default=sa.text("''"), nullable=False))
    op.add_column("models", sa.Column("data_record", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("models", sa.Column("code_digest", sa.String(length=64), nullable=True))
    op.add_column("evidence", sa.Column("provenance", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))
    _note_counterparts()
    op.create_index(op.f("ix_audit_events_request_id"), "audit_events", ["request_id"], unique=False)
    op.create_index(op.f("ix_audit_events_model_kind_seq"), "audit_events", ["model", "kind", "seq"], unique=False)
    op.create_index(
        op.f("ix_requests_model_id_state_due_at"), "requests", ["model_id", "state", "due_at"], unique=False
    )


def downgrade() -> None:
    """Drop both, unless the audit log holds digests that nothing could be compared with any more."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM models WHERE salt <> ''")):
        raise ConflictError(
            "the audit log covers labels of models, which the schema before cannot show",
            "nothing was changed; stay with this release, or go back to a backup from before the upgrade",
        )
    op.drop_index(op.f("ix_requests_model_id_state_due_at"), table_name="requests")
    op.drop_index(op.f("ix_audit_events_model_kind_seq"), table_name="audit_events")
    op.drop_index(op.f("ix_audit_events_request_id"), table_name="audit_events")
    op.drop_column("evidence", "provenance")
    op.drop_column("models", "code_digest")
    op.drop_column("models", "data_record")
    op.drop_column("models", "salt")


def _note_counterparts() -> None:
    """Note of each measurement what its entry says it was compared with."""
    connection = op.get_bind()
    against: dict[tuple[str, int, str, str], str] = {}
    entries = sa.text("SELECT leaf FROM audit_events WHERE kind = 'version.evaluated' ORDER BY seq")
    for (leaf,) in connection.execute(entries):
        entry = json.loads(leaf)
        data = entry["data"]
        against[entry["model"], data["version"], data["evaluator"], data["inputs"]] = data["against"]
    measured = sa.text(
        "SELECT e.id, m.name, e.version, e.evaluator, e.inputs_digest FROM evidence e "
        "JOIN models m ON m.id = e.model_id"
    )
    provenance = sa.table("evidence", sa.column("id", sa.Integer), sa.column("provenance", sa.JSON))
    for number, *key in connection.execute(measured).all():
        if (found := against.get((key[0], key[1], key[2], key[3]))) is not None:
            connection.execute(
                provenance.update().where(provenance.c.id == number).values(provenance={"against": found})
            )
