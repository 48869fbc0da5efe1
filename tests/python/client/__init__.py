"""A minimal client, written from docs/protocol.md and docs/relay-api.md alone; `__main__` says what it can do."""
