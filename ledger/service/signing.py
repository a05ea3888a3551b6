"""The key that checkpoints and certificates are signed with: an Ed25519 key in a file of its own, outside the database.

The file holds one line, ``PRIVATE+KEY+NAME+HASH+BASE64``, so that the name the key signs under cannot be separated
from it. Only its owner may read it: a key that others could have copied proves nothing.
"""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.audit.signed_notes import LONGEST_NOTE, Signer, Verifier, read_key, write_key
from ledger.config import Config
from ledger.domain.command_lines import quoted
from ledger.durable_files import Existing, make_folder, ownership_hint, write_file
from ledger.errors import AccessError, LedgerError, NotFoundError, RefusedError, SignatureError
from ledger.named_files import open_named

FILE = "signing.key"
PREFIX = "PRIVATE+KEY+"
MEMORY = "checkpoint"
"""File beside the signing key that holds the last checkpoint it signed."""
DERIVED_BYTES = 32
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
        with open_named(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & OTHERS:
                raise RefusedError(
                    f"{path} may be read by others (mode {mode & 0o777:04o})",
                    f"chmod 600 {quoted(str(path))}; if somebody may have copied it, it proves nothing any more",
                )
            text = file.read(1000).decode("utf-8-sig", "replace")
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no signing key at {path}", "restore it from where you keep it; a new ledger makes its own"
        ) from None
    except OSError as error:
        raise AccessError(f"cannot read {path}: {error.strerror}", ownership_hint(path)) from error
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
        make_folder(config.keys_path, mode=0o700)
        if not path.exists():
            signer = Signer(f"unledger/{secrets.token_hex(4)}", Ed25519PrivateKey.generate())
            # Whatever another process wrote meanwhile stays.
            write_file(path, [_text(signer).encode()], existing=Existing.KEEP, mode=0o600)
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror}", "check permissions and disk space") from error
    return load_signer(config)


def derived_key(config: Config, purpose: bytes, *, salt: bytes | None = None) -> bytes:
    """Return 32 secret bytes for one purpose, which only who has the signing key can know.

    The signing key itself makes nothing but signatures, so what is sealed with these bytes is no signature and says
    nothing about it.

    Args:
        config: Where the signing key is.
        purpose: What they are for.
        salt: Tells apart several secrets of one purpose.

    Raises:
        NotFoundError: There is no key file.
        RefusedError: Others than its owner may read it.
        SignatureError: It holds no signing key.
        LedgerError: It cannot be read.
    """
    seed = load_signer(config).private.private_bytes_raw()
    return HKDF(SHA256(), length=DERIVED_BYTES, salt=salt, info=purpose).derive(seed)


def own_verifier(config: Config) -> Verifier | None:
    """Return the public half of the ledger's signing key; None where this account holds no key.

    Raises:
        RefusedError: Others than its owner may read the key.
        SignatureError: The file holds no key.
    """
    try:
        return load_signer(config).verifier
    except (RefusedError, SignatureError):
        raise
    except LedgerError:
        return None


def last_signed(config: Config) -> str | None:
    """Return the note of the last checkpoint that this ledger signed, as its signer remembers it.

    Raises:
        SignatureError: The file is no text, or too long to be a checkpoint.
        AccessError: It cannot be read.
    """
    return read_kept(config, MEMORY, LONGEST_NOTE)


def read_kept(config: Config, name: str, most: int) -> str | None:
    """Return a signed note that is kept beside the signing key; None if there is none.

    Args:
        config: Where the ledger lives.
        name: Name of the file.
        most: Bytes that such a note has at most.

    Raises:
        SignatureError: The file is no text, or longer.
        AccessError: It cannot be read.
    """
    path = config.keys_path / name
    hint = "restore it from where you keep the keys"
    try:
        with open_named(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise SignatureError(f"{path} is not a signed note: it has more than {most:,} bytes", hint)
        return data.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SignatureError(f"{path} is not a signed note: it is not text", hint) from error
    except OSError as error:
        raise AccessError(f"cannot read {path}: {error.strerror}", ownership_hint(path)) from error


def _text(signer: Signer) -> str:
    return f"{PREFIX}{write_key(signer.name, signer.verifier.key_hash, signer.private.private_bytes_raw())}\n"


def _parse(text: str, path: Path) -> Signer:
    try:
        name, claimed, private = read_key(text.removeprefix(PREFIX))
    except ValueError:
        name = ""
    if name and text.startswith(PREFIX):
        signer = Signer(name, Ed25519PrivateKey.from_private_bytes(private))
        if signer.verifier.key_hash.hex() == claimed:
            return signer
    raise SignatureError(f"{path} holds no signing key", "restore it from where you keep it")
