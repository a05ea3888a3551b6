"""Places that live versions are put to."""
