"""Everything that knows SQL or files; rows and sessions never leave this package."""
