"""Use cases about evidence: measure a version, and certify what was measured."""
