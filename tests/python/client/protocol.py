"""The protocol by the names that docs/protocol.md, 13 and 14, gives its fields, labels and kinds."""

import secrets
from pathlib import Path

from reader import cbor, primitives as p
from reader.documents import Documents
from reader.layers import demand
from reader.primitives import sha256
from reader.roster import prefixed
from reader.spec import Spec

ROOT = Path(__file__).resolve().parents[3]
SPEC = Spec((ROOT / "docs/protocol.md").read_text(encoding="utf-8"))
DOCUMENTS = Documents(SPEC)
KEYS = {
    table.name: {field.name.replace(" ", "_"): field.key for field in table.fields} for table in SPEC.tables.values()
}
KINDS = {kind["name"]: number for number, kind in SPEC.kinds.items()}
CHANGES = {name: number for number, (name, _) in SPEC.changes.items()}

VERSION = 1
CLASSIC = 1
ED25519 = 1
MAIL, CONTROL = 1, 2


class Record:
    """The fields of one table, read by name; a field that is absent is None. `fields` has them by number, as they
    travel, with whatever lies in them as it travels, too."""

    def __init__(self, table, fields):
        self.table, self.fields = table, fields

    def __getattr__(self, name):
        if name not in KEYS[self.table]:
            raise AttributeError(f"{self.table} has no {name}")
        return self.fields.get(KEYS[self.table][name])

    def having(self, **fields):
        """The same with other values of some fields."""
        return Record(self.table, self.fields | record(self.table, **fields).fields)


def record(table, **fields):
    keys = KEYS[table]
    return Record(table, {keys[name]: _plain(value) for name, value in fields.items() if value is not None})


def _plain(value):
    if isinstance(value, Record):
        return value.fields
    return [_plain(each) for each in value] if isinstance(value, list) else value


def encode(document):
    """3.2. What a reader would refuse is not written either."""
    data = cbor.encode(document.fields)
    DOCUMENTS.decode(document.table, data)
    return data


def decode(table, data):
    return Record(table, DOCUMENTS.decode(table, data))


def decode_header(data):
    """5.1: a direct or a group header, told apart by the second key."""
    return Record(*DOCUMENTS.header(data))


def decode_body(data):
    """13.3: a core or a control body, whichever its kind asks for."""
    item = cbor.parse(data)
    kind = item.get(KEYS["Core"]["kind"]) if isinstance(item, dict) else None
    demand(type(kind) is int and kind in SPEC.kinds, "decode", "no kind")
    return decode("Core" if SPEC.kinds[kind]["object"] == "Core" else "ControlBody", data)


# -- hashes, derivations, signatures (2.2, 2.3)


def digest(label, data):
    return sha256(SPEC.labels[label] + data)


def derive(key, label, data=b"", length=32):
    return p.hkdf(key, SPEC.labels[label] + data, length)


class Identity:
    """An identity key with its secret."""

    def __init__(self):
        self.seed = secrets.token_bytes(32)
        self.key = record("Identity", algorithm=ED25519, key=p.sign(self.seed, b"")[0]).fields
        self.prefixed = prefixed(self.key)

    def sign(self, label, message):
        return p.sign(self.seed, SPEC.labels[label] + message)[1]

    def sign_document(self, document):
        """3.3."""
        body = encode(document)
        label = SPEC.signers[document.table][0][0]
        return encode(record("Signed", body=body, signature=self.sign(label, body)))


def verify(identity, label, message, signature):
    p.verify(identity, SPEC.labels[label], message, signature)


def verify_document(table, data, signer):
    """3.3: the body, and its bytes as they were signed. `signer` is a field's name, or a prefixed key."""
    outer = decode("Signed", data)
    body = decode(table, outer.body)
    key = prefixed(getattr(body, signer)) if isinstance(signer, str) else signer
    verify(key, SPEC.signers[table][0][0], outer.body, outer.signature)
    return body, outer.body


# -- names (4.1, 5.2)


def relay_id(identity):
    return digest("HashRelayId", identity)


def agent_id(relay, identity):
    return digest("HashAgentId", relay + identity)[:16]


def fingerprint(identity):
    return digest("HashFingerprint", identity).hex()


def direct_conversation(a, b):
    return digest("HashConversation", b"".join(sorted([sha256(a), sha256(b)])))


def message_id(core):
    return "msg_" + digest("HashMessageId", core).hex()[:32]
