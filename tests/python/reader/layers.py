"""Why something is refused."""


class Refused(Exception):
    """The layer of docs/protocol.md, 12 that refuses."""

    def __init__(self, layer, reason):
        super().__init__(f"{layer}: {reason}")
        self.layer = layer


def demand(holds, layer, reason):
    if not holds:
        raise Refused(layer, reason)
