"""The snapshot of the verified log, in a file beside the signing key and sealed with a key that is derived from it.

The file only saves time: it may be deleted whenever one likes, and no backup keeps it.
"""

import hmac
from pathlib import Path

from ledger.config import Config
from ledger.durable_files import Existing, write_file
from ledger.errors import LedgerError
from ledger.named_files import open_named

from .signing import derived_key

FILE = "snapshot"
SEAL_BYTES = 32
PURPOSE = b"unledger: seal of the snapshot of the verified log"


class SealedSnapshot:
    """Keeps one snapshot; whoever lacks the signing key can neither make nor change one.

    Where the key or the file cannot be read or written there is no snapshot, and the log is read from its start: what
    is wrong there is for others to say.

    Args:
        config: Where the ledger lives.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    def read(self) -> bytes | None:
        """Return what was written last; None if there is nothing, or its seal is not genuine."""
        try:
            with open_named(self._path) as file:
                seal, content = file.read(SEAL_BYTES), file.read()
            return content if hmac.compare_digest(seal, self._seal(content)) else None
        except (OSError, LedgerError):
            return None

    def write(self, content: bytes) -> None:
        """Keep this in place of what was there."""
        try:
            write_file(self._path, [self._seal(content), content], existing=Existing.REPLACE, mode=0o600)
        except (OSError, LedgerError):
            return

    @property
    def _path(self) -> Path:
        return self._config.keys_path / FILE

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(derived_key(self._config, PURPOSE), content, "sha256")
