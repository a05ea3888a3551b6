"""The tables, as SQLAlchemy typed models. Private to this package: callers see ``ledger.domain`` values.

Migrations create them; ``alembic check`` proves that both agree. The module is long because
the schema is read as a whole, and foreign keys cross every border that one could draw.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ledger.audit.merkle import EMPTY_ROOT
from ledger.errors import RowError

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """Time-zone aware in Python, UTC without a zone in SQL: the same text order on every database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """Return what reads a column: on SQLite, where moments are text, in one step instead of three."""
        return _moment if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text + "+00:00")
    except (TypeError, ValueError) as error:
        raise unreadable(text) from error


def unreadable(value: object) -> RowError:
    """Return the error for what no release wrote into a column: somebody wrote to the database by other means."""
    return RowError(
        f"the database holds {str(value)[:50]!r} where a moment or JSON belongs",
        "restore the row or the database; tables and entries: unledger audit verify",
    )


class Base(DeclarativeBase):
    """Shared metadata, with constraint names that migrations can rely on."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[int]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
    }


class ModelRow(Base):
    """A registered model."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    architecture: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, Any]]
    labels: Mapped[list[str]]
    preprocessing: Mapped[dict[str, Any]]
    data_spec: Mapped[str] = mapped_column(Text)
    data_digest: Mapped[str] = mapped_column(String(64))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    anchor: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Version whose weights computations start from: 0, or the one that was live at the last purge."""
    salt: Mapped[str] = mapped_column(String(32), default="", server_default=text("''"))
    """Random, hexadecimal: keeps the digest of the row, which the audit log holds, from being guessed."""
    data_record: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default=text("'{}'"))
    """What each class consists of, by digest, and how files are read; empty where an earlier release wrote."""
    code_digest: Mapped[str | None] = mapped_column(String(64))
    """Code that was accepted in the place of what registration found."""


class ObjectRow(Base):
    """A stored object that something refers to."""

    __tablename__ = "blobs"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]
    """When its key and bytes were destroyed by a purge."""


class ObjectLeaseRow(Base):
    """A promise that an object is about to be referred to: garbage collection leaves it alone until then."""

    __tablename__ = "blob_leases"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(200), primary_key=True)
    expires: Mapped[float] = mapped_column(Float)
    """On the database's clock."""


class WorkerRow(Base):
    """A worker that said it was there, and when last."""

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    model: Mapped[str | None] = mapped_column(String(200))
    """The only model it works for; None for all."""
    started_at: Mapped[datetime]
    last_seen: Mapped[float] = mapped_column(Float)
    """On the database's clock."""


class RequestRow(Base):
    """A forget request: also the queue entry, so that claiming it and recording so are one transaction."""

    __tablename__ = "requests"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    classes: Mapped[list[int]]
    state: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    basis: Mapped[str] = mapped_column(String(100))
    external_id: Mapped[str] = mapped_column(String(200))
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    version: Mapped[int | None]
    no_op: Mapped[bool] = mapped_column(Boolean, default=False)
    gates_waived: Mapped[bool] = mapped_column(Boolean, default=False)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_epoch: Mapped[int] = mapped_column(Integer, default=0)
    lease_expires: Mapped[float | None] = mapped_column(Float)
    outcome: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (Index(None, "model_id", "state"), Index(None, "model_id", "state", "due_at"))


class VersionRow(Base):
    """One immutable version of a model's weights."""

    __tablename__ = "versions"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(20))
    request_id: Mapped[int | None] = mapped_column(ForeignKey("requests.id"))
    restores: Mapped[int | None]
    forgotten: Mapped[list[int]]
    weights: Mapped[str] = mapped_column(ForeignKey("blobs.digest"))
    recipe: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    quarantined: Mapped[str | None] = mapped_column(Text)
    """What is wrong with its stored objects; None while nothing is."""
    purged_at: Mapped[datetime | None]
    """When its weights were destroyed."""


class AliasRow(Base):
    """Where an alias points now."""

    __tablename__ = "aliases"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int]

    __table_args__ = (ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.number"]),)


class AliasMoveRow(Base):
    """Every move an alias ever made."""

    __tablename__ = "alias_moves"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]
    previous: Mapped[int | None]
    moved_at: Mapped[datetime]
    audit_seq: Mapped[int]


class ClassSpaceRow(Base):
    """A collected class space; its factors are in a stored object."""

    __tablename__ = "class_spaces"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    class_index: Mapped[int]
    spec_digest: Mapped[str] = mapped_column(String(64))
    samples: Mapped[list[int]]
    samples_digest: Mapped[str] = mapped_column(String(64))
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.digest"))
    maps: Mapped[list[dict[str, Any]]]
    created_at: Mapped[datetime]
    anchor: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Version whose weights it was collected from."""

    __table_args__ = (UniqueConstraint("model_id", "class_index", "spec_digest"),)


class KeptResultRow(Base):
    """Something that can be computed again and is kept; its bytes are in stored objects."""

    __tablename__ = "kept_results"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    anchor: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Version whose weights it was computed from."""
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    members: Mapped[list[Any]] = mapped_column(JSON)
    """Pairs of a class index and the digest of the object that the class's part was computed from."""
    parts: Mapped[list[dict[str, Any]]]
    """Of each object: names, digest, size."""
    created_at: Mapped[datetime]


class BasisTermRow(Base):
    """One class space's part in a version's accumulated retain or forget basis."""

    __tablename__ = "basis_terms"

    model_id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(String(10), primary_key=True)
    class_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    class_space_id: Mapped[int] = mapped_column(ForeignKey("class_spaces.id"))

    __table_args__ = (ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.number"]),)


class EvidenceRow(Base):
    """What one evaluator measured on one version; measuring again adds a row."""

    __tablename__ = "evidence"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int]
    version: Mapped[int]
    evaluator: Mapped[str] = mapped_column(String(100))
    plugin: Mapped[str] = mapped_column(String(200))
    plugin_version: Mapped[str] = mapped_column(String(100))
    metrics: Mapped[dict[str, Any]]
    samples: Mapped[dict[str, Any]]
    inputs_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    provenance: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default=text("'{}'"))

    __table_args__ = (
        ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.number"]),
        Index(None, "model_id", "version"),
    )


class AuditEventRow(Base):
    """One entry of the audit log. Triggers refuse to change or delete it."""

    __tablename__ = "audit_events"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(50))
    model: Mapped[str | None] = mapped_column(String(200))
    request_id: Mapped[int | None]
    leaf: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index(None, "request_id"), Index(None, "model", "kind", "seq"))


class AuditNoteRow(Base):
    """Free text of an event, apart from the hashed leaf so that it can be erased without breaking the chain."""

    __tablename__ = "audit_notes"

    seq: Mapped[int] = mapped_column(ForeignKey("audit_events.seq"), primary_key=True, autoincrement=False)
    salt: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)


class AuditHeadRow(Base):
    """The end of the audit log: one row, locked by whoever appends."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    """Of the last entry."""
    root: Mapped[str] = mapped_column(String(64), server_default=EMPTY_ROOT.hex())
    """Of the Merkle tree over all entries."""
    peaks: Mapped[list[str] | None] = mapped_column(JSON)
    """Roots of the complete subtrees that the tree falls into, largest first: what appending needs."""


class AuditSubtreeRow(Base):
    """The root of a complete subtree of 256, 65,536, ... entries, so that proofs need not hash them again."""

    __tablename__ = "audit_subtrees"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """8, 16 or 24: the subtree has 2 to this power entries."""
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 0; its first entry is number ``position * 2**level + 1``."""
    digest: Mapped[str] = mapped_column(String(64))


class CheckpointRow(Base):
    """A signed checkpoint that was issued. Triggers refuse to change or delete it."""

    __tablename__ = "checkpoints"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    root: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class CertificateRow(Base):
    """A signed statement about a fulfilled request."""

    __tablename__ = "certificates"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"))
    version: Mapped[int]
    envelope: Mapped[str] = mapped_column(Text)
    """DSSE envelope, JSON."""
    openings: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What opens the commitments to class names; None once it was erased."""
    audit_seq: Mapped[int]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "request_id"),)


class TokenRow(Base):
    """What programs and people from afar show to be let in."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    """Who acts with it, as the audit history says."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of its secret."""
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WebSessionRow(Base):
    """A browser that somebody logged in with."""

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what the cookie holds."""
    id: Mapped[str] = mapped_column(String(32), unique=True)
    """Names the session; not what the browser shows."""
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]]
    via: Mapped[str] = mapped_column(String(20))
    token: Mapped[str | None] = mapped_column(String(16))
    """The token that it was opened with; the session ends with it."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    seal: Mapped[str] = mapped_column(String(64))
    """Only who has the ledger's keys can make it."""


class LoginLinkRow(Base):
    """A link that logs one browser in, once."""

    __tablename__ = "login_links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what the link holds."""
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    seal: Mapped[str] = mapped_column(String(64))


class WebhookRow(Base):
    """An address that is told of events."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[list[str]]
    """Kinds of events; none for all."""
    salt: Mapped[str] = mapped_column(String(64))
    """What its secret is derived from, together with the ledger's signing key."""
    created_at: Mapped[datetime]
    told: Mapped[int]
    """Number of the last entry of the audit log that deliveries were prepared for."""


class WebhookDeliveryRow(Base):
    """One message to a webhook: waiting, delivered, or given up."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id"))
    message: Mapped[str] = mapped_column(String(64))
    """Names the message to its receiver, the same at every attempt."""
    kind: Mapped[str] = mapped_column(String(50))
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[float | None] = mapped_column(Float)
    """When it is tried next, on the database's clock; None once it ended."""
    status: Mapped[int | None]
    """What the last attempt was answered, as HTTP numbers it."""
    detail: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("webhook_id", "message"), Index(None, "next_at"))


class JobRow(Base):
    """What a worker computes for somebody who asks from afar."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    asked: Mapped[dict[str, Any]]
    """What exactly: the classes of a preview, the request and the options of a withdrawal."""
    actor: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires: Mapped[float | None] = mapped_column(Float)
    """On the database's clock."""
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The document, or the error."""
    seal: Mapped[str] = mapped_column(String(64))
    """Of what was asked and, once that is there, of the answer."""

    __table_args__ = (Index(None, "state", "created_at"),)
