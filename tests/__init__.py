"""The tests. A package, so that tests can import what they share by its full name."""
