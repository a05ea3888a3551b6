"""Words of the domain as frozen values: no torch, no SQL, no files, no clock."""
