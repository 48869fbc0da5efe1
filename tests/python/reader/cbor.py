"""The CBOR profile (docs/protocol.md, 3.2): one encoding for each value, everything else refused."""

from .layers import Refused, demand

DEPTH = 8


class Text(str):
    """Text, to be told from what stands for bytes."""


def bad(reason):
    raise Refused("decode", reason)


def parse(data):
    """One item that fills the bytes."""
    item, end = _item(data, 0, 0)
    demand(end == len(data), "decode", "bytes follow")
    return item


def _head(data, at):
    if at >= len(data):
        bad("truncated")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, info, at
    if info > 27:
        bad("indefinite or reserved length")
    width = 1 << (info - 24)
    if at + width > len(data):
        bad("truncated")
    value = int.from_bytes(data[at:at + width], "big")
    least = {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}[width]
    if value < least:
        bad("not the shortest head")
    return major, info, value, at + width


def _item(data, at, depth):
    major, info, value, at = _head(data, at)
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        if at + value > len(data):
            bad("truncated")
        content = bytes(data[at:at + value])
        at += value
        if major == 2:
            return content, at
        try:
            return Text(content.decode("utf-8", "strict")), at
        except UnicodeDecodeError:
            bad("text is not UTF-8")
    if major == 4:
        demand(depth < DEPTH, "decode", "nested too deeply")
        items = []
        for _ in range(min(value, len(data) + 1)):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        demand(depth < DEPTH, "decode", "nested too deeply")
        pairs, last = {}, None
        for _ in range(min(value, len(data) + 1)):
            key_major, _, key_value, at = _head(data, at)
            if key_major > 1:
                bad("a key is no integer")
            order = (key_major, key_value)
            if last is not None and order <= last:
                bad("keys out of order or twice")
            last = order
            item, at = _item(data, at, depth + 1)
            pairs[key_value if key_major == 0 else -1 - key_value] = item
        return pairs, at
    if major == 7 and info in (20, 21, 22):
        return {20: False, 21: True, 22: None}[info], at
    bad("type of item is not allowed")


def encode(item):
    """The one encoding of an item, for hashes over documents that are made here."""
    if item is False or item is True:
        return b"\xf5" if item else b"\xf4"
    if isinstance(item, int):
        return _encode_head(0, item)
    if isinstance(item, bytes):
        return _encode_head(2, len(item)) + item
    if isinstance(item, str):
        return _encode_head(3, len(item.encode())) + item.encode()
    if isinstance(item, list):
        return _encode_head(4, len(item)) + b"".join(map(encode, item))
    return _encode_head(5, len(item)) + b"".join(encode(key) + encode(item[key]) for key in sorted(item))


def _encode_head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * width):
            return bytes([major << 5 | code]) + value.to_bytes(width, "big")
    raise ValueError(value)


def show(item):
    """As the vectors show it."""
    if isinstance(item, bytes):
        return {"bytes": item.hex()}
    if isinstance(item, str):
        return str(item)
    if isinstance(item, list):
        return [show(each) for each in item]
    if isinstance(item, dict):
        return {str(key): show(value) for key, value in item.items()}
    if isinstance(item, bool) or item is None:
        return item
    if item < 0:
        return {"integer": str(item)}
    return item if item < 1 << 53 else str(item)
