"""Issue certificates for fulfilled requests, list them, and erase what opens them.

What a certificate would say can be seen before it is signed (:func:`plan`). Whatever cannot be certified is refused
before any plugin is loaded.

The statement is signed inside the transaction that records it, so that the entry can name the envelope's digest; a
signature whose transaction fails has been seen by nobody. The proof comes after, once the entry is committed:
:mod:`ledger.service.evidence.certificate_files`.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.audit.signed_notes import Signer
from ledger.certificates.commitment import commit_to
from ledger.certificates.dsse import key_of, seal, statement_of
from ledger.certificates.statement import (
    CertificateFacts,
    ExportedCopy,
    WaivedGates,
    certificate_statement,
    substance,
)
from ledger.certificates.verifier import envelope_digest
from ledger.digest import canonical_json, json_digest
from ledger.domain.certificate_caveats import caveats
from ledger.domain.certificates import Certificate
from ledger.domain.command_lines import command
from ledger.domain.events.ledgers import CertificateIssued, CertificateOpeningsErased
from ledger.domain.events.requests import RequestFulfilled, RequestWithdrawn
from ledger.domain.events.versions import VersionExported
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.domain.versions import Version, not_known_before
from ledger.errors import ConflictError, PurgedError
from ledger.service.audit.checkpoints import own_signer
from ledger.service.clock import read_clocks
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

SALT_BYTES = 32


@dataclass(frozen=True)
class Issued:
    """The answer to an issue."""

    certificate: Certificate
    model: Model
    repeated: bool
    """An earlier certificate says just this: it is that one, nothing was issued."""


@dataclass(frozen=True)
class CertificatePlan:
    """What a certificate would state, before anything is signed."""

    model: Model
    request: Request
    version: Version
    """What would be certified."""
    live: Version
    statement: dict[str, Any]
    """Without commitments."""
    repeats: Certificate | None
    """An earlier certificate that says just this."""

    @property
    def is_live(self) -> bool:
        """Whether the weights that would be certified are those that are live."""
        return self.version.weights == self.live.weights

    @property
    def confirmation(self) -> str:
        """What confirms just this plan: a digest of what it would state."""
        return _substance_digest(self.statement)

    @property
    def caveats(self) -> list[str]:
        """What makes the claim smaller than it may seem, a sentence each."""
        return caveats(self.statement["predicate"])


def plan(ledger: Ledger, request_id: int, *, live: bool = False) -> CertificatePlan:
    """Return what :func:`issue` would certify now. Nothing is signed or written.

    Args:
        ledger: The ledger.
        request_id: Which request.
        live: Certify what is live, not the version that fulfilled the request.

    Raises:
        NotFoundError: There is no such request, or the signing key is missing.
        ConflictError: The request is not fulfilled, no longer stands, or its version is damaged.
        PurgedError: The weights of its version were purged.
        RowError: A row that the certificate would state something of is not what the audit log says.
    """
    _require_standing(ledger, request_id, live=live)
    evaluators = ledger.offered.evaluators
    with ledger.database.read() as tx:
        facts, signer = _certifiable(tx, ledger, request_id, evaluators, live=live)
        request, model, version = facts.request, facts.model, facts.version
        known = tx.certificates.newest(request)
        repeats = known if known is not None and _says(known, facts, signer) else None
    return CertificatePlan(model, request, version, facts.live, certificate_statement(facts, ()), repeats)


def issue(
    ledger: Ledger,
    request_id: int,
    *,
    live: bool = False,
    renew: bool = False,
    shown: str | None = None,
    new_salt: Callable[[], bytes] = lambda: secrets.token_bytes(SALT_BYTES),
) -> Issued:
    """Issue a certificate for a fulfilled request.

    While nothing changed that the newest certificate of the request states, that one is the answer.

    Args:
        ledger: The ledger.
        request_id: Which request.
        live: Certify what is live, not the version that fulfilled the request.
        renew: Issue another one although it says the same, with salts of its own.
        shown: The confirmation of the plan that a person was shown; nothing else is signed.
        new_salt: Returns 32 random bytes.

    Raises:
        NotFoundError: There is no such request, or the signing key is missing.
        ConflictError: The request is not fulfilled, no longer stands, or its version is damaged; or the ledger changed
            since the plan was shown.
        PurgedError: The weights of its version were purged.
        RowError: A row that the certificate would state something of is not what the audit log says.
    """
    _require_standing(ledger, request_id, live=live)
    evaluators = ledger.offered.evaluators
    with ledger.database.write() as tx:
        facts, signer = _certifiable(tx, ledger, request_id, evaluators, live=live)
        request, model, version = facts.request, facts.model, facts.version
        if shown is not None and shown != _substance_digest(certificate_statement(facts, ())):
            raise ConflictError(
                "the ledger changed since what would be certified was shown", "look again, by the same command"
            )
        known = tx.certificates.newest(request)
        if known is not None and not renew and _says(known, facts, signer):
            return Issued(known, model, repeated=True)
        openings = commit_to(((k, model.labels[k]) for k in sorted(request.classes)), new_salt)
        statement = certificate_statement(facts, [opening.commitment for opening in openings])
        envelope = seal(canonical_json(statement), signer)
        number = tx.certificates.next_id()
        tx.trusted.unrecorded("certificates", [(number,)])
        seq = tx.audit.append(
            CertificateIssued(certificate=number, version=version.number, envelope=envelope_digest(envelope)),
            at=facts.issued_at,
            actor=ledger.actor,
            model=model.name,
            request_id=request.id,
        )
        certificate = Certificate(
            id=number,
            request_id=request.id,
            version=version.number,
            envelope=canonical_json(envelope).decode(),
            openings=tuple(opening.to_json() for opening in openings),
            audit_seq=seq,
            created_at=facts.issued_at,
        )
        tx.certificates.add(certificate)
    return Issued(certificate, model, repeated=False)


def _require_standing(ledger: Ledger, request_id: int, *, live: bool) -> None:
    """Refuse what can be refused before plugins are loaded."""
    with ledger.database.read() as tx:
        request = tx.requests.get(request_id)
        model = tx.models.by_id(request.model_id)
        _check_rows(tx, model, request)
        _version(tx, model, request, live=live)


def list_certificates(ledger: Ledger) -> list[tuple[Certificate, Model]]:
    """Return every certificate with the model it is about, in the order they were issued.

    Raises:
        AuditError: The audit log does not verify.
        RowError: A certificate is not the one that the audit log tells of, or is missing.
    """
    with ledger.database.read() as tx:
        tx.trusted.certificates()
        models = {model.id: model for model in tx.models.all()}
        model_of = {request: models[number] for request, number in tx.certificates.models().items()}
        return [(certificate, model_of[certificate.request_id]) for certificate in tx.certificates.all()]


def get_certificate(ledger: Ledger, number: int) -> Certificate:
    """Return a certificate.

    Raises:
        NotFoundError: There is none with this number.
    """
    with ledger.database.read() as tx:
        certificate = tx.certificates.get(number)
        tx.trusted.certificate(number)
        return certificate


def changed_since(ledger: Ledger, certificate: Certificate) -> list[str]:
    """Return what happened since a certificate was issued that a reader must know, a sentence each."""
    with ledger.database.read() as tx:
        request = tx.requests.get(certificate.request_id)
        model = tx.models.by_id(request.model_id)
        tx.trusted.request(request.id)
        tx.trusted.live(model.name)
        version, live = tx.versions.get(model, certificate.version), tx.versions.live(model)
    found = []
    if request.state is not RequestState.FULFILLED:
        found.append(f"request {request.id} is {request.state.value}")
    if version.purged_at is not None:
        found.append(f"version {version.number} was purged: nobody has its weights here any more")
    if version.weights != live.weights:
        found.append(f"what is live now is version {live.number}, whose weights are others")
    return found


def erase_openings(ledger: Ledger, number: int) -> bool:
    """Erase what opens a certificate's commitments; the certificate goes on to verify.

    Done again, it finishes what a crash interrupted between the commit and the overwriting of the journal.

    Returns:
        False if that was done before.

    Raises:
        NotFoundError: There is no such certificate.
    """
    with ledger.database.erase() as tx:
        certificate = tx.certificates.get(number)
        if certificate.openings is None:
            return False
        request = tx.requests.get(certificate.request_id)
        tx.certificates.erase_openings(number)
        tx.audit.append(
            CertificateOpeningsErased(certificate=number),
            at=ledger.clock(),
            actor=ledger.actor,
            model=tx.models.by_id(request.model_id).name,
            request_id=request.id,
        )
    return True


def _certifiable(
    tx: Transaction, ledger: Ledger, request_id: int, evaluators: tuple[str, ...], *, live: bool
) -> tuple[CertificateFacts, Signer]:
    """Return what a certificate of a request would state now, from rows that were checked, and who would sign it."""
    request = tx.requests.get(request_id)
    model = tx.models.by_id(request.model_id)
    _check_rows(tx, model, request)
    version = _version(tx, model, request, live=live)
    signer = own_signer(tx, ledger.config)
    return _facts(tx, ledger, request, version, signer, evaluators), signer


def _check_rows(tx: Transaction, model: Model, request: Request) -> None:
    tx.trusted.covered(model.name)
    tx.trusted.request(request.id)
    tx.trusted.class_spaces(model.name)
    tx.trusted.evidence(model.name)
    tx.trusted.objects(model.name)
    known = tx.certificates.newest(request)
    if known is not None:
        tx.trusted.certificate(known.id)


def _version(tx: Transaction, model: Model, request: Request, *, live: bool) -> Version:
    """Return the version to certify: the one that fulfilled a request, or what is live; if the request still stands.

    Raises:
        ConflictError: It does not.
        PurgedError: The version's weights were purged.
    """
    if request.state is not RequestState.FULFILLED or request.version is None:
        raise ConflictError(
            f"request {request.id} is {request.state.value}: only what was fulfilled can be certified",
            f"see: {command('request', 'show', request.id)}",
        )
    own, served = tx.versions.get(model, request.version), tx.versions.live(model)
    version = served if live else own
    for held in (own, served):
        if not request.classes <= held.forgotten:
            raise ConflictError(
                f"version {held.number} of {model.name} has not forgotten what request {request.id} asks for",
                "see: unledger fsck",
            )
    if version.quarantined is not None:
        raise ConflictError(
            f"version {version.number} of {model.name} is quarantined: {version.quarantined}", "see: unledger fsck"
        )
    if version.purged_at is not None:
        raise PurgedError(
            f"version {version.number} of {model.name} was purged on {version.purged_at:%Y-%m-%d}: nobody has the "
            "weights that the certificate would be about",
            f"certify what is live: {command('certificate', 'issue', request.id, '--live')}",
        )
    return version


def _facts(
    tx: Transaction, ledger: Ledger, request: Request, version: Version, signer: Signer, evaluators: tuple[str, ...]
) -> CertificateFacts:
    model = tx.models.by_id(request.model_id)
    clocks = read_clocks(tx, ledger.clock)
    *_, fulfilled = tx.audit.events(request_id=request.id, kinds=(RequestFulfilled.kind,))
    spaces = {space.id: space for space in tx.class_spaces.all(model)}
    exports = [
        ExportedCopy(entry.payload.version, entry.at)
        for entry in tx.audit.events(model=model.name, kinds=(VersionExported.kind,))
        if isinstance(entry.payload, VersionExported)
    ]
    return CertificateFacts(
        log=signer.name,
        issued_at=clocks.now,
        model=model,
        request=request,
        fulfilled_at=fulfilled.at,
        gates=_gates(tx, model, version),
        version=version,
        base=tx.versions.get(model, 0),
        live=tx.versions.live(model),
        samples=[(term.role, spaces[term.class_space_id]) for term in tx.versions.basis(version)],
        evidence=tx.versions.weights_evidence(version),
        evaluators=evaluators,
        versions=tx.certificates.versions(model),
        exports=exports,
        spaces=tx.certificates.statistics(model, request.classes),
        not_known_before=_not_known_before(tx, model, request),
        clock_doubted=bool(clocks.doubts),
    )


def _gates(tx: Transaction, model: Model, version: Version) -> WaivedGates:
    """Return which quality gates were waived for a version's weights, whichever request is asked about."""
    while version.restores is not None:
        version = tx.versions.get(model, version.restores)
    kinds = (RequestFulfilled.kind, RequestWithdrawn.kind)
    made = [
        entry.payload
        for entry in tx.audit.events(model=model.name, request_id=version.request_id, kinds=kinds)
        if isinstance(entry.payload, RequestFulfilled | RequestWithdrawn) and entry.payload.version == version.number
    ]
    if not made:
        return WaivedGates(0)
    counted = max(one.gates_missed if isinstance(one, RequestFulfilled) else len(one.missed) for one in made)
    return WaivedGates(counted, made[-1].missed, made[-1].gates)


def _not_known_before(tx: Transaction, model: Model, request: Request) -> int | None:
    """Return how many classes of a request were not known before; None if recipes do not tell of each."""
    versions = tx.versions.all(model)
    if not request.classes <= {k for version in versions for k in version.recipe.base_forgotten}:
        return None
    return len(not_known_before(versions, request.classes, len(model.labels)))


def _says(certificate: Certificate, facts: CertificateFacts, signer: Signer) -> bool:
    """Whether a certificate states these facts, under this key."""
    envelope = json.loads(certificate.envelope)
    if envelope["signatures"][0]["keyid"] != key_of(signer.verifier).id:
        return False
    return _substance_digest(statement_of(envelope)) == _substance_digest(certificate_statement(facts, ()))


def _substance_digest(statement: dict[str, Any]) -> str:
    return json_digest(substance(statement))
