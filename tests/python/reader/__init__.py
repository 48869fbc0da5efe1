"""A reader of the Waxwire protocol, written from docs/protocol.md. It shares no code with the programs."""
