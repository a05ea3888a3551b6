"""The method by itself: from a network and its images to edited weights, without a ledger, a database or a file."""
