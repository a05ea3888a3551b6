"""The manifest of a backup: what belongs to it, signed by the ledger's key.

It is written last. A backup without a manifest is not finished, and files that the manifest does not name do not belong
to it. The envelope is DSSE v1 (https://github.com/secure-systems-lab/dsse) around canonical JSON.
"""

import base64
import json
from dataclasses import asdict, dataclass

from ledger.audit.signed_notes import Signer, Verifier
from ledger.certificates.verifier import pae
from ledger.digest import canonical_json
from ledger.errors import SignatureError
from ledger.json_shapes import read_json_as

FILE = "manifest.json"
FORMAT = "unledger.backup/1"
PAYLOAD_TYPE = "application/vnd.unledger.backup+json"
SQLITE, ROWS = "sqlite", "rows"
"""Forms of the database in a backup: a SQLite file, or the rows of every table as JSON lines."""


@dataclass(frozen=True)
class DatabaseCopy:
    """The database in a backup."""

    file: str
    form: str
    """``sqlite`` or ``rows``."""
    size: int
    sha256: str


@dataclass(frozen=True)
class ObjectCopy:
    """A stored object in a backup, in its stored form."""

    digest: str
    """SHA-256 of the plain bytes: its name."""
    size: int
    """Plain bytes."""
    stored_size: int
    sha256: str
    """Of the stored bytes."""
    key: str | None
    """Fingerprint of its key; None for an object that an earlier release stored unencrypted."""


@dataclass(frozen=True)
class Manifest:
    """What belongs to a backup."""

    format: str
    signer: str
    """The verifier key of the ledger, ``NAME+HASH+BASE64``."""
    release: str
    created_at: str
    schema: str
    """Revision of the database's schema."""
    entries: int
    """Length of the audit log."""
    head: str
    """Digest of its last entry."""
    database: DatabaseCopy
    objects: tuple[ObjectCopy, ...]
    missing: tuple[str, ...]
    """Objects that were missing or damaged already when the backup was made."""
    settings: str
    """What ``unledger.toml`` said besides where database, objects and keys are."""
    keys: bool
    """Whether the keys were written to a second place in the same run."""


def sign_manifest(manifest: Manifest, signer: Signer) -> bytes:
    """Return the file of a manifest."""
    payload = canonical_json(asdict(manifest))
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": str(signer.verifier), "sig": base64.b64encode(signature).decode()}],
    }
    return (json.dumps(envelope, indent=2) + "\n").encode()


@dataclass(frozen=True)
class _Signature:
    keyid: str
    sig: str


@dataclass(frozen=True)
class _Envelope:
    payload: str
    payloadType: str  # noqa: N815 - as DSSE spells it
    signatures: tuple[_Signature, ...]


def open_manifest(data: bytes, verifier: Verifier | None) -> Manifest:
    """Return what a manifest says, if it is signed with a key.

    Args:
        data: The file's contents.
        verifier: Who must have signed; None takes the key that the manifest names, which proves only that nothing was
            changed by accident.

    Raises:
        SignatureError: It is not a manifest, or not genuine.
    """
    try:
        envelope = read_json_as(_Envelope, data)
        payload = base64.b64decode(envelope.payload, validate=True)
        [signature] = envelope.signatures
        sig = base64.b64decode(signature.sig, validate=True)
        manifest = read_json_as(Manifest, payload)
        named = Verifier.parse(manifest.signer)
    except Exception as error:
        raise SignatureError(f"the backup's manifest cannot be read: {error}", "make the backup again") from error
    if envelope.payloadType != PAYLOAD_TYPE or manifest.format != FORMAT:
        raise SignatureError(
            f"the backup has the format {manifest.format}, which this release does not know", "upgrade unledger"
        )
    if verifier is not None and named != verifier:
        raise SignatureError(
            f"the backup is signed by {named.name}, not by {verifier.name}", "name the folder of its own keys"
        )
    if not named.accepts(pae(PAYLOAD_TYPE, payload), sig):
        raise SignatureError("the backup's manifest was altered: its signature does not fit", "use another backup")
    return manifest
