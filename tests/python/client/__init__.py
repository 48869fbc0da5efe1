"""A minimal client, written from docs/protocol.md and docs/relay-api.md alone.

It registers, looks peers up, writes and reads direct messages with receipts, joins a group, writes and reads there,
replaces its key, removes members and leaves. It keeps nothing on disk, asks by HTTP instead of the socket, never follows
another identity, and leaves out attachments, broadcasts, repair and presence. `__main__` says how it is driven.
"""
