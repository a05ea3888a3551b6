"""Rows that the audit log covers whole, and what the images of a model are: see the columns of ``models``.

Evidence says where it comes from; of earlier evidence the log tells what it was compared with. Tables for those who ask
from afar: who they are, what they are told, and the work they wait for.
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
    _add_access()
    _add_webhooks()
    _add_jobs()
    _add_kept_results()


def downgrade() -> None:
    """Drop both, unless the audit log holds digests that nothing could be compared with any more."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM models WHERE salt <> ''")):
        raise ConflictError(
            "the audit log covers labels of models, which the schema before cannot show",
            "nothing was changed; stay with this release, or go back to a backup from before the upgrade",
        )
    for name in ("kept_results", "jobs", "webhook_deliveries", "webhooks", "login_links", "web_sessions", "tokens"):
        op.drop_table(name)
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


def _add_access() -> None:
    """Add tokens, and browsers that are logged in."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("via", sa.String(length=20), nullable=False),
        sa.Column("token", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_web_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_web_sessions_id")),
    )
    op.create_index(op.f("ix_web_sessions_expires_at"), "web_sessions", ["expires_at"], unique=False)
    op.create_table(
        "login_links",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_links")),
    )
    op.create_index(op.f("ix_login_links_expires_at"), "login_links", ["expires_at"], unique=False)


def _add_webhooks() -> None:
    """Add webhooks, and the messages to them."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("webhook_id", "message", name=op.f("uq_webhook_deliveries_webhook_id_message")),
    )
    op.create_index(op.f("ix_webhook_deliveries_next_at"), "webhook_deliveries", ["next_at"], unique=False)


def _add_jobs() -> None:
    """Add what a worker computes for somebody else."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires", sa.Float(), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_finished_at"), "jobs", ["finished_at"], unique=False)
    op.create_index(op.f("ix_jobs_state_created_at"), "jobs", ["state", "created_at"], unique=False)


def _add_kept_results() -> None:
    """Add what can be computed again and is kept, such as the sums of the retained classes."""
    op.create_table(
        "kept_results",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("anchor", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_kept_results_model_id")),
        sa.PrimaryKeyConstraint("model_id", "anchor", "kind", name=op.f("pk_kept_results")),
    )
