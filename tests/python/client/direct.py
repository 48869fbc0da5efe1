"""Direct messages (docs/protocol.md, 5.6 and 5.7), and the control messages that are direct, too."""

import secrets

from reader import primitives as p
from reader.layers import demand
from reader.primitives import sha256
from reader.transport import split

from . import protocol
from .messages import context, envelope, make_plaintext, open_plaintext, said_by
from .protocol import CONTROL, KINDS, MAIL, record


class Direct:
    def __init__(self, account, peers, inbox, outbox):
        self.account, self.peers, self.inbox, self.outbox = account, peers, inbox, outbox
        self.sealed = {}

    # -- sending

    def send(self, handle, client_msg_id, content, fingerprint=None):
        """The message's id, once the relay has it. A bundle is looked up for every message, so it is never old."""
        peer = self.peers.look_up(handle, fingerprint)
        conversation = self.conversation(peer)
        core = self.outbox.core("Direct", conversation, client_msg_id, content)
        mid = self.account.mid(conversation, client_msg_id)
        # Who asks again after no answer sends the same bytes (5.6, step 5).
        if mid not in self.sealed:
            self.sealed[mid] = self.seal(peer, MAIL, mid, core)
        self.account.relay.store(self.sealed[mid])
        return protocol.message_id(protocol.encode(core))

    def control(self, peer, kind, document):
        """5.5: a control message has a `mid` of its own and no number."""
        said = said_by(self.account, kind, self.conversation(peer))
        body = record("ControlBody", **said, body=protocol.encode(document))
        self.account.relay.store(self.seal(peer, CONTROL, secrets.token_bytes(16), body))

    def receipt(self, message):
        """7.3, to the author alone, at once: this client has no times to hide."""
        self.control(self.peers.sender(message.body.handle, message.signer), "Receipt", self.inbox.receipt(message))

    def conversation(self, peer):
        return protocol.direct_conversation(self.account.identity.prefixed, peer.identity)

    def seal(self, peer, lane, mid, body):
        """5.6, step 5: an envelope."""
        account, key = self.account, peer.best_key()
        header = protocol.encode(record(
            "DirectHeader", suite=key.suite, lane=lane, to=protocol.agent_id(account.relay.id, peer.identity),
            key_number=key.number, mid=mid,
        ))
        fields = record(
            "Context", header=header, recipient_handle=peer.bundle.handle, recipient=peer.bundle.identity,
            recipient_key_number=key.number, sender_key_number=account.key_number, sender_bundle=sha256(account.bundle),
        )
        plaintext = make_plaintext(account.identity, fields, body)
        return envelope(header, p.seal(key.public, secrets.token_bytes(32), plaintext))

    # -- receiving

    def open(self, data, lane):
        """5.7, steps 1 to 7: a message of the direct lane, from whom its handle is pinned to."""
        header_bytes, box = split(data)
        header = protocol.decode_header(header_bytes)
        context(header.table == "DirectHeader" and header.lane == lane, "of another lane")
        own = (protocol.CLASSIC, self.account.key_number)
        demand((header.suite, header.key_number) == own, "open", "sealed to a key that is not held")
        message = open_plaintext(p.open_sealed(self.account.secret, box), header_bytes)
        self.check_audience(message)
        self.peers.sender(message.body.handle, message.signer)
        return message

    def check_audience(self, message):
        """5.7, steps 3 and 6."""
        account, fields, header = self.account, message.context, message.header
        context(message.kind["lane"] == header.lane, "kind does not belong into this lane")
        context(fields.recipient == account.identity.key, "for another identity")
        context(fields.recipient_handle == account.handle, "for another handle")
        context(fields.recipient_key_number == header.key_number, "for another key")
        context(header.to == account.id, "addressed to another agent")
        own = account.identity.prefixed
        context(message.signer != own, "the reader's own")
        context(message.body.conversation == protocol.direct_conversation(own, message.signer), "conversation")

    def acknowledged(self, message):
        """How far a message says that the own ones have come: by its `ack`, or as a receipt; None if it says nothing."""
        if message.body.kind == KINDS["Receipt"]:
            return self.outbox.acknowledged(message.content())
        ack = message.body.ack if message.body.table == "Core" else None
        return self.outbox.acknowledged(protocol.Record("Receipt", ack)) if ack else None
