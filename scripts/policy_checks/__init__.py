"""The rules behind scripts/policy. Each takes a root folder and returns a list of violations as text."""
