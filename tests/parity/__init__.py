"""Our results held against what Fooocus 2.5.5 computed (tests/golden/)."""
