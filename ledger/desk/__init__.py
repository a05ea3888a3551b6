"""Every question that a face asks, answered by a document: by the ledger in a folder, or by a server."""
