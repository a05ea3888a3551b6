"""What SQLite is trusted with, by version and by file system."""

from pathlib import Path

import pytest

from ledger.errors import RefusedError, UsageError
from ledger.store.database.sqlite_limits import MOUNTS, check_file_system, check_journal, file_system, wal_is_safe

MOUNT_TABLE = r"""
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /srv/shared nfs4 rw,vers=4.2 0 0
/dev/sdb1 /srv/shared/local xfs rw 0 0
//nas/models /mnt/with\040space cifs rw 0 0
me@host:/ /home/me/remote fuse.sshfs rw 0 0
tmpfs /over tmpfs rw 0 0
server:/other /over nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
        ((3, 51, 2), False),
        ((3, 51, 0), False),
        ((3, 50, 7), True),
        ((3, 50, 8), True),
        ((3, 50, 6), False),
        ((3, 49, 9), False),
        ((3, 44, 6), True),
        ((3, 44, 5), False),
        ((3, 45, 7), False),
        ((3, 40, 1), False),
    ],
)
def test_write_ahead_mode_is_for_versions_that_are_safe_in_it(version: tuple[int, int, int], *, safe: bool) -> None:
    assert wal_is_safe(version) == safe
    check_journal("truncate", version)
    if safe:
        check_journal("wal", version)
        return
    with pytest.raises(RefusedError, match="can corrupt a database in write-ahead mode") as caught:
        check_journal("wal", version)
    assert "3.51.3, 3.50.7, 3.44.6" in caught.value.hint


@pytest.mark.parametrize("journal", ["off", "memory", "delete", "persist", ""])
def test_other_journals_are_not_offered(journal: str) -> None:
    with pytest.raises(UsageError, match="is not supported"):
        check_journal(journal, (3, 51, 3))


def test_a_version_without_the_statements_we_need_is_refused() -> None:
    check_journal("truncate", (3, 35, 0))
    with pytest.raises(UsageError, match=r"SQLite 3\.34\.1 is too old"):
        check_journal("truncate", (3, 34, 1))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/ledger.db", "ext4"),
        ("/srv/shared/ledger.db", "nfs4"),
        ("/srv/shared/local/ledger.db", "xfs"),
        ("/srv/shared-not/ledger.db", "ext4"),
        ("/mnt/with space/ledger.db", "cifs"),
        ("/home/me/remote/a/b/ledger.db", "fuse.sshfs"),
        # The later one lies on top.
        ("/over/ledger.db", "nfs"),
    ],
)
def test_the_deepest_mount_decides(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNT_TABLE) == kind
    if kind in {"ext4", "xfs"}:
        check_file_system(path, MOUNT_TABLE)
        return
    for address in (path, f"file:{path}?mode=ro&uri=true"):
        with pytest.raises(RefusedError, match=f"network file system \\({kind}\\)") as caught:
            check_file_system(address, MOUNT_TABLE)
        assert caught.value.hint == "use a local disk, or PostgreSQL"


def test_a_link_does_not_hide_a_network_file_system(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/shared")
    with pytest.raises(RefusedError, match=r"/srv/shared/ledger\.db"):
        check_file_system(str(tmp_path / "link" / "ledger.db"), MOUNT_TABLE)


@pytest.mark.parametrize("address", [None, "", ":memory:"])
def test_what_is_in_memory_is_on_no_file_system(address: str | None) -> None:
    check_file_system(address, "server:/ / nfs rw 0 0")


def test_an_empty_table_says_nothing() -> None:
    assert file_system(Path("/var/ledger.db"), "") == ""
    check_file_system("/var/ledger.db", "garbage\n\n")


@pytest.mark.skipif(not MOUNTS.exists(), reason="this system has no mount table")
def test_this_machines_own_table_can_be_read(tmp_path: Path) -> None:
    assert file_system(tmp_path.resolve(), MOUNTS.read_text()) != ""
    check_file_system(str(tmp_path / "ledger.db"))
