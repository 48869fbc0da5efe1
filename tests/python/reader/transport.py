"""Plaintexts, envelopes and frames (docs/protocol.md, 3.4, 5.1 and 13.9)."""

from .documents import is_handle
from .layers import demand
from .operations import number


def bucket(length):
    size = 512
    while size < length + 12:
        size *= 2
    return size


def pad(kind, data):
    demand(len(data) <= 65_524, "padding", "does not fit")
    plaintext = b"waxwire" + bytes([kind]) + len(data).to_bytes(4, "big") + data
    return plaintext + bytes(bucket(len(data)) - len(plaintext))


def unpad(kinds, plaintext):
    demand(len(plaintext) >= 12 and plaintext[:7] == b"waxwire", "padding", "magic")
    kind, length = plaintext[7], int.from_bytes(plaintext[8:12], "big")
    demand(kind in kinds and kind != 32, "padding", "kind")
    demand(length <= len(plaintext) - 12, "padding", "length")
    demand(length <= 65_524 and len(plaintext) == bucket(length), "padding", "bucket")
    demand(not any(plaintext[12 + length:]), "padding", "zeros")
    return kind, plaintext[12:12 + length]


def split(data):
    demand(len(data) <= 80 * 1024, "decode", "envelope too long")
    length = int.from_bytes(data[:4], "big")
    demand(len(data) >= 4 and length <= 512 and len(data) > 4 + length, "decode", "envelope")
    return data[4:4 + length], data[4 + length:]


class Transport:
    def op_pad(self, i):
        return {"plaintext": pad(i["kind"], i.bytes("object")).hex()}

    def op_unpad(self, i):
        kind, data = unpad(self.spec.kinds, i.bytes("plaintext"))
        return {"kind": kind, "object": data.hex()}

    def op_envelope(self, i):
        header, ciphertext = split(i.bytes("bytes"))
        name, _ = self.documents.header(header)
        form = {"DirectHeader": "direct", "GroupHeader": "group"}[name]
        return {"form": form, "header": header.hex(), "ciphertext": ciphertext.hex()}

    def op_client_frame(self, i):
        cut = Cut(i.bytes("bytes"))
        kind = cut.number(1)
        if kind == 0x01:
            return {"frame": "send", "request": cut.number(4), "envelope": cut.rest().hex()}
        if kind == 0x04:
            demand(cut.data, "decode", "no envelope")
            return {"frame": "transient", "envelope": cut.rest().hex()}
        if kind == 0x05:
            shown = cut.flag()
            demand(not cut.data, "decode", "bytes follow")
            return {"frame": "presence", "shown": shown}
        demand(kind in (0x02, 0x03), "decode", "type of frame")
        cursors = []
        while cut.data:
            cursors.append(cut.cursor())
        return {"frame": {0x02: "ack", 0x03: "resume"}[kind], "cursors": cursors}

    def op_relay_frame(self, i):
        cut = Cut(i.bytes("bytes"))
        kind = cut.number(1)
        if kind == 0x81:
            request, outcome = cut.number(4), cut.number(1)
            demand(outcome in (1, 2), "decode", "outcome")
            out = {"frame": "stored", "request": request, "repeated": outcome == 2,
                   "envelope_id": number(cut.number(8)), "hash": cut.take(32).hex()}
        elif kind == 0x82:
            out = {"frame": "refused", "request": cut.number(4), "status": cut.number(2), "problem": cut.rest().hex()}
        elif kind == 0x83:
            out = {"frame": "deliver", "cursor": cut.cursor(), "envelope_id": number(cut.number(8)),
                   "stored_at": number(cut.number(8)), "object": cut.rest().hex()}
        elif kind == 0x84:
            out = {"frame": "head", "cursor": cut.cursor()}
        elif kind == 0x86:
            demand(cut.data, "decode", "no envelope")
            out = {"frame": "transient", "envelope": cut.rest().hex()}
        elif kind == 0x87:
            online, last_seen = cut.flag(), number(cut.number(8))
            handle = cut.rest().decode("ascii", "replace")
            demand(is_handle(handle), "decode", "handle")
            out = {"frame": "presence", "online": online, "last_seen": last_seen, "handle": handle}
        elif kind == 0x89:
            out = {"frame": "notice", "request": cut.number(4), "backlog": number(cut.number(8))}
            limit, remaining = cut.number(8), cut.number(8)
            demand(limit or not remaining, "decode", "what is left of no limit")
            out |= {"limit": number(limit), "remaining": number(remaining), "skipped": []}
            while cut.data:
                out["skipped"].append(cut.take(16).hex())
        else:
            demand(kind in (0x85, 0x88), "decode", "type of frame")
            if kind == 0x88:
                demand(cut.data, "decode", "no lease")
                return {"frame": "lease", "lease": cut.rest().hex()}
            out = {"frame": "welcome"}
            for name in ("time", "lineage", "reaches"):
                out[name] = number(cut.number(8))
        demand(not cut.data, "decode", "bytes follow")
        return out


class Cut:
    """Takes a frame apart from the front."""

    def __init__(self, data):
        self.data = data

    def take(self, length):
        demand(len(self.data) >= length, "decode", "frame cut")
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def flag(self):
        value = self.number(1)
        demand(value in (0, 1), "decode", "flag")
        return value == 1

    def rest(self):
        return self.take(len(self.data))

    def cursor(self):
        queue = self.number(1)
        demand(queue in (1, 2, 3, 4), "decode", "queue")
        name = {1: "mail", 2: "control", 3: "group", 4: "log"}[queue]
        if queue > 2:
            name += "-" + self.take(32).hex()
        return {"queue": name, "position": number(self.number(8))}
