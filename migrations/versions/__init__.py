"""Schema migrations, run by alembic. A released revision is never edited."""
