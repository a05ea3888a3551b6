"""What the audit log says every row must be, and which stored rows are something else."""
