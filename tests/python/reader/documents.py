"""Documents by the tables of docs/protocol.md, 13, and the rules that are named there."""

import re

from . import cbor
from .layers import demand

HANDLE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MESSAGE_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
LIST = 10_000
CHUNK = 65_536
INTEGERS = {"u16": 16, "u32": 32, "u64": 64, "suite": 16}


def want(holds, reason):
    demand(holds, "decode", reason)


def is_handle(text):
    return 3 <= len(text.encode()) <= 30 and HANDLE.fullmatch(text) is not None


def padme(length):
    """7.2."""
    if length > 1 << 63:
        return None
    if length <= 512:
        return 512
    e = length.bit_length() - 1
    s = (e.bit_length() - 1) + 1
    step = 1 << (e - s)
    return -(-length // step) * step


def sealed_length(length):
    padded = padme(length)
    return None if padded is None else padded + 16 * -(-padded // CHUNK)


class Documents:
    def __init__(self, spec):
        self.spec = spec
        # What occurred in something valid: tables and their fields, changes, values of enumerations.
        self.seen = set()

    def decode(self, name, data):
        """A whole document: its known fields by number."""
        table = self.spec.tables[name]
        want(len(data) <= table.limit, f"{name} too long")
        return self._map(table, cbor.parse(data))

    def header(self, data):
        """5.1: either header, by the second key."""
        want(len(data) <= 512, "header too long")
        item = cbor.parse(data)
        want(isinstance(item, dict), "header is no map")
        second = list(item)[1] if len(item) > 1 else None
        name = "DirectHeader" if second == 2 else "GroupHeader"
        return name, self._map(self.spec.tables[name], item)

    def _map(self, table, item):
        want(isinstance(item, dict), f"{table.name} is no map")
        values = {}
        for field in table.fields:
            if field.key in item:
                where = f"{table.name} {field.key}"
                values[field.key] = self._value(field, item[field.key], where)
                self.seen.add((table.name, field.key))
            else:
                want(field.optional, f"{table.name} lacks {field.key}")
        unknown = [key for key in item if key >= 0 and key not in values]
        want(not unknown, f"{table.name} has unknown {unknown}")
        if table.rule:
            want(WHOLE[table.rule](values), f"{table.name} breaks its rule {table.rule}")
        return values

    def _value(self, field, item, where):
        if field.type.startswith("list of "):
            want(isinstance(item, list) and len(item) <= LIST, where)
            low, high = field.bounds
            want(low <= len(item) <= high, f"{where}: number of items")
            value = [self._typed(field.type[8:], each, where) for each in item]
            if field.each:
                want(all(field.each[0] <= len(each) <= field.each[1] for each in value), f"{where}: an item")
        else:
            value = self._typed(field.type, item, where)
            if field.bounds:
                low, high = field.bounds
                if isinstance(value, int):
                    size = value
                elif isinstance(value, str) and not field.scalars:
                    size = len(value.encode())
                else:
                    size = len(value)
                want(size >= low and (high is None or size <= high), f"{where}: bounds")
        for rule in field.rules:
            want(self._rule(rule, value), f"{where}: {rule}")
        return value

    def _typed(self, kind, item, where):
        if kind in INTEGERS:
            want(type(item) is int and 0 <= item < 1 << INTEGERS[kind], where)
        elif kind == "bool":
            want(isinstance(item, bool), where)
        elif kind in ("text", "handle"):
            want(isinstance(item, str), where)
            want(kind == "text" or is_handle(item), f"{where}: handle")
        elif kind == "bytes" or kind.startswith("bytes ") or kind == "signature":
            want(isinstance(item, bytes), where)
            length = kind[6:]
            want(not length or len(item) == int(length) if kind != "signature" else len(item) <= 4_096, where)
        elif kind in self.spec.enumerations or kind == "Kind":
            values = self.spec.kinds if kind == "Kind" else self.spec.enumerations[kind]
            want(type(item) is int and item in values, where)
            self.seen.add((kind, item))
        elif kind == "Change":
            return self._change(item, where)
        elif kind == "LeafContent":
            return self._leaf_content(item, where)
        else:
            return self._map(self.spec.tables[kind], item)
        return item

    def _change(self, item, where):
        want(isinstance(item, list) and item and type(item[0]) is int, where)
        want(item[0] in self.spec.changes, f"{where}: change {item[0]}")
        _, types = self.spec.changes[item[0]]
        least = len([each for each in types if not each.endswith("?")])
        want(least <= len(item) - 1 <= len(types), f"{where}: fields of change {item[0]}")
        self.seen.add(("Change", item[0], len(item)))
        values = [self._typed(kind.rstrip("?"), each, where) for kind, each in zip(types, item[1:])]
        return [item[0]] + values

    def _leaf_content(self, item, where):
        want(isinstance(item, list) and len(item) in (1, 3), where)
        if len(item) == 1:
            return [self._typed("EmptyReason", item[0], where)]
        number, suite, sealed = item
        want(isinstance(sealed, bytes) and 1 <= len(sealed) <= 4_096, f"{where}: sealed")
        return [self._typed("u64", number, where), self._typed("suite", suite, where), sealed]

    def _rule(self, rule, value):
        if rule == "version":
            return value == 1
        if rule == "json":
            try:
                return value.decode("utf-8", "strict") is not None
            except UnicodeDecodeError:
                return False
        if rule == "ranges":
            ends = [(each[1], each[2]) for each in value]
            return all(a[1] + 1 < b[0] for a, b in zip(ends, ends[1:]))
        if rule == "message type":
            return MESSAGE_TYPE.fullmatch(value) is not None
        if rule == "filename":
            control = any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in value)
            size = 1 <= len(value.encode()) <= 255
            return size and value not in (".", "..") and not control and "/" not in value and "\\" not in value
        if rule == "presence":
            return value in ("online", "busy", "offline")
        kind = self.spec.kinds[value]["object"]
        return {"content kind": kind == "Core", "control kind": kind == "ControlBody"}[rule]


def _numbers(core):
    previous = (10 in core) == (core[9] > 1)
    void = not core[11] or core[11][-1][2] < core[9]
    ack = 15 not in core or (core[3] != 2 and core[15][1] == core[6])
    return previous and void and ack


def _receipt(receipt):
    hash_ = (4 in receipt) == (receipt[3] > 0)
    return hash_ and (not receipt[5] or receipt[5][0][1] > receipt[3] + 1)


WHOLE = {
    "order": lambda value: value[1] <= value[2],
    "audience": lambda value: len([key for key in range(2, 7) if key in value]) in (0, 5),
    "numbers": _numbers,
    "receipt": _receipt,
    "lengths": lambda value: sealed_length(value[6]) == value[5],
    "identities": lambda value: value[4] != value[5],
    "proofs": lambda value: (4 in value) == (5 in value) and (3 in value or 5 in value),
    "part": lambda value: value[2] < value[3],
}
