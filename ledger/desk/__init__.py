"""The desk: every question that a face asks of a ledger, answered by a document; here, or by a server elsewhere."""
