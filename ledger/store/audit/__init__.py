"""The audit log in SQL: entries, the Merkle tree over them, and their verification."""
