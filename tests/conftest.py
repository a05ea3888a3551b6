"""Load the fixtures that all tests share."""

pytest_plugins = [
    "tests.fixtures.environment",
    "tests.fixtures.canary",
    "tests.fixtures.databases",
    "tests.fixtures.records",
    "tests.fixtures.strace",
    "tests.fixtures.trained_digits",
]
