"""Signed messages in their envelopes (docs/protocol.md, 5): what direct messages and those of groups have in common."""

from reader.layers import demand
from reader.primitives import sha256
from reader.roster import prefixed
from reader.transport import pad, unpad

from . import protocol
from .account import now
from .protocol import SPEC, record

DELIVERED = 1


def context(holds, reason):
    demand(holds, "context", reason)


class Message:
    """What a plaintext holds, decoded and verified (5.7, steps 3 to 5)."""

    def __init__(self, item, kind=None):
        parts = protocol.decode("Message", item)
        self.context = protocol.decode("Context", parts.context)
        self.header = protocol.decode_header(self.context.header)
        self.body, self.core = protocol.decode_body(parts.core), parts.core
        context(kind in (None, self.body.kind), "kind differs from that of the plaintext")
        self.kind = SPEC.kinds[self.body.kind]
        self.signer = prefixed(self.body.identity)
        protocol.verify(self.signer, self.kind["label"], sha256(parts.context) + sha256(parts.core), parts.signature)

    def content(self):
        """The document of a control message."""
        return protocol.decode(self.kind["body"], self.body.body)


def open_plaintext(plaintext, header):
    """A message that was sealed under these header bytes."""
    kind, item = unpad(SPEC.kinds, plaintext)
    message = Message(item, kind)
    context(message.context.header == header, "sealed for another header")
    context(message.header.suite >= message.body.suite, "suite")
    return message


def make_plaintext(identity, context_fields, body):
    """5.3: the body, signed with its context, and padded."""
    context_bytes, core = protocol.encode(context_fields), protocol.encode(body)
    label = SPEC.kinds[body.kind]["label"]
    signature = identity.sign(label, sha256(context_bytes) + sha256(core))
    return pad(body.kind, protocol.encode(record("Message", context=context_bytes, core=core, signature=signature)))


def envelope(header, ciphertext):
    return len(header).to_bytes(4, "big") + header + ciphertext


def said_by(account, kind, conversation):
    """The fields that a core and a control body have in common."""
    return {
        "version": protocol.VERSION, "suite": protocol.CLASSIC, "kind": protocol.KINDS[kind], "handle": account.handle,
        "identity": account.identity.key, "conversation": conversation, "session": account.session,
        "incarnation": account.incarnation, "time": now(),
    }


class Outgoing:
    """The own numbering in one conversation (5.4). A number is given out once, whatever becomes of the send."""

    def __init__(self):
        self.cores, self.sent = [], {}

    def core(self, said, client_msg_id, content):
        """The core under this id: the first one again, if there was one."""
        if client_msg_id not in self.sent:
            previous = sha256(self.cores[-1]) if self.cores else None
            core = record("Core", **said, n=len(self.cores) + 1, previous=previous, void=[],
                          client_msg_id=client_msg_id, message_type="text", content=content)
            self.cores.append(protocol.encode(core))
            self.sent[client_msg_id] = core
        return self.sent[client_msg_id]


class Outbox:
    """All own numberings, by conversation."""

    def __init__(self, account):
        self.account, self.conversations = account, {}

    def core(self, kind, conversation, client_msg_id, content):
        outgoing = self.conversations.setdefault(conversation, Outgoing())
        return outgoing.core(said_by(self.account, kind, conversation), client_msg_id, content)

    def acknowledged(self, receipt):
        """How far the own messages have arrived. A hash that is not the own one is a lie (7.3)."""
        demand(receipt.session == self.account.session, "rule", "a receipt for another session")
        outgoing = self.conversations.get(receipt.conversation, Outgoing())
        demand(receipt.n <= len(outgoing.cores), "rule", "a receipt for what was not sent")
        own = sha256(outgoing.cores[receipt.n - 1]) if receipt.n else None
        demand(receipt.core_hash == own, "rule", "a receipt for other bytes")
        return receipt.n


class Incoming:
    """What has come of one session of an author in one conversation (5.4)."""

    def __init__(self, incarnation, begins_after=0):
        self.incarnation, self.contiguous = incarnation, begins_after
        self.hashes, self.void = {}, []

    def take(self, core, core_hash):
        """Whether the message is new, and how many numbers before it are missing."""
        known = self.hashes.get(core.n)
        if known:
            demand(known == core_hash, "SENDER_FORK", "two cores with one number")
            return False, 0
        before = self.hashes.get(core.n - 1)
        demand(before in (None, core.previous), "SENDER_FORK", "the chain does not fit")
        self.hashes[core.n] = core_hash
        self.void += [(each[1], each[2]) for each in core.void]
        self.advance()
        return True, max(0, core.n - 1 - self.contiguous)

    def advance(self):
        """Numbers that arrived or were withdrawn are not missed."""
        while True:
            number = self.contiguous + 1
            ends = [last for first, last in self.void if first <= number <= last]
            ends += [number] if number in self.hashes else []
            if not ends:
                return
            self.contiguous = max(ends)

    def settled(self):
        """The highest number that is here, and all before it: what a receipt names (7.3)."""
        return max((n for n in self.hashes if n <= self.contiguous), default=0)


class Inbox:
    """All numberings of others. A session that is unknown needs a higher incarnation than the known ones (8.4)."""

    def __init__(self):
        self.sessions = {}

    def session(self, message, begins_after=0):
        body = message.body
        of_author = self.sessions.setdefault((body.conversation, message.signer), {})
        known = of_author.get(body.session)
        if known is None:
            newer = all(body.incarnation > each.incarnation for each in of_author.values())
            demand(newer, "CLONE", "another session, and not a later one")
            known = of_author[body.session] = Incoming(body.incarnation, begins_after)
        demand(known.incarnation == body.incarnation, "CLONE", "a session of two incarnations")
        return known

    def take(self, message, begins_after=0):
        """What is told of a message that is new; None of a repeat."""
        incoming = self.session(message, begins_after)
        is_new, missing = incoming.take(message.body, sha256(message.core))
        if not is_new:
            return None
        body = message.body
        return {"sender": body.handle, "message_id": protocol.message_id(message.core), "n": body.n,
                "type": body.message_type, "content": body.content.decode(), "missing": missing}

    def receipt(self, message):
        """7.3: that everything up to here was delivered. Numbers beyond a hole are not told."""
        incoming = self.session(message)
        n = incoming.settled()
        return record("Receipt", conversation=message.body.conversation, session=message.body.session, n=n,
                      core_hash=incoming.hashes.get(n), later=[], state=DELIVERED)
