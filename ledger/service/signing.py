"""The key that checkpoints and certificates are signed with: an Ed25519 key in a file of its own, outside the database.

The file holds one line, ``PRIVATE+KEY+NAME+HASH+BASE64``, so that the name the key signs under cannot be separated
from it. Only its owner may read it: a key that others could have copied proves nothing.
"""

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.audit.notes import ED25519, HASH_BYTES, Signer
from ledger.config import Config
from ledger.errors import LedgerError, NotFoundError, RefusedError, SignatureError

FILE = "signing.key"
PREFIX = "PRIVATE+KEY+"
OTHERS = 0o077
"""Permission bits of everybody but the owner."""


def load_signer(config: Config) -> Signer:
    """Return the ledger's signing key.

    Raises:
        NotFoundError: There is no key file.
        RefusedError: Others than its owner may read it.
        SignatureError: It holds no signing key.
        LedgerError: It cannot be read.
    """
    path = config.keys_path / FILE
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & OTHERS:
                raise RefusedError(
                    f"{path} may be read by others (mode {mode & 0o777:04o})",
                    f"chmod 600 {path}; if somebody may have copied it, it proves nothing any more",
                )
            text = file.read(1000).decode("utf-8", "replace")
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no signing key at {path}", "restore it from where you keep it; a new ledger makes its own"
        ) from None
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror}") from error
    return _parse(text, path)


def create_signer(config: Config) -> Signer:
    """Return the ledger's signing key, made now if there is none.

    Raises:
        RefusedError: Others than its owner may read it.
        SignatureError: The file holds no signing key.
        LedgerError: It cannot be read or written.
    """
    path = config.keys_path / FILE
    try:
        config.keys_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            signer = Signer(f"unledger/{secrets.token_hex(4)}", Ed25519PrivateKey.generate())
            write_new(path, _text(signer))
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror}", "check permissions and disk space") from error
    return load_signer(config)


def write_new(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a file that only its owner may read: complete or not at all, and durable.

    Args:
        path: Where. If another process wrote it meanwhile, that file stays, unless ``replace``.
        text: What.
        replace: Take the place of a file that is there.

    Raises:
        OSError: It cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor is no path
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        if replace:
            draft.replace(path)
        else:
            _link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return


def _text(signer: Signer) -> str:
    encoded = base64.b64encode(ED25519 + signer.private.private_bytes_raw()).decode()
    return f"{PREFIX}{signer.name}+{signer.verifier.key_hash.hex()}+{encoded}\n"


def _parse(text: str, path: Path) -> Signer:
    name, _, rest = text.strip().removeprefix(PREFIX).partition("+")
    claimed, _, encoded = rest.partition("+")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        data = b""
    if text.startswith(PREFIX) and name and len(data) == HASH_BYTES + 1 and data[:1] == ED25519:
        signer = Signer(name, Ed25519PrivateKey.from_private_bytes(data[1:]))
        if signer.verifier.key_hash.hex() == claimed:
            return signer
    raise SignatureError(f"{path} holds no signing key", "restore it from where you keep it")
