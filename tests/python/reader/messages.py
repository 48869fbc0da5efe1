"""Whole messages (docs/protocol.md, 5.7, 6.8 and 9)."""

from . import primitives as p
from .layers import demand
from .primitives import sha256
from .roster import prefixed
from .transport import split, unpad


def context(holds, reason):
    demand(holds, "context", reason)


class Messages:
    def op_direct_message(self, i):
        header_bytes, ciphertext = split(i.bytes("envelope"))
        name, header = self.documents.header(header_bytes)
        context(name == "DirectHeader", "a group header")
        kind, data = unpad(self.spec.kinds, p.open_sealed(i.bytes("secret"), ciphertext))
        demand_object = self.documents.decode("Message", data)
        context(self.spec.kinds[kind]["lane"] is not None, "kind has no place in direct envelopes")
        message = self.verified(demand_object, kind)
        context(message["context"][1] == header_bytes, "another header")
        self.check_recipient(message, i)
        context(header[4] == i.number("key_number"), "another key")
        return self.shown(message)

    def op_group_message(self, i):
        header_bytes, ciphertext = split(i.bytes("envelope"))
        name, _ = self.documents.header(header_bytes)
        context(name == "GroupHeader", "a direct header")
        plaintext = p.open_with_nonce(i.bytes("message_key"), header_bytes, ciphertext)
        kind, data = unpad(self.spec.kinds, plaintext)
        parts = self.documents.decode("Message", data)
        context(self.spec.kinds[kind]["groups"], "kind has no place in groups")
        message = self.verified(parts, kind)
        context(message["context"][1] == header_bytes, "another header")
        self.check_member(message, i)
        return self.shown(message)

    def op_resent_direct(self, i):
        message = self.verified(self.documents.decode("Message", i.bytes("item")))
        self.check_recipient(message, i)
        return self.shown(message)

    def op_resent_group(self, i):
        message = self.verified(self.documents.decode("Message", i.bytes("item")))
        self.check_member(message, i)
        return self.shown(message)

    def verified(self, parts, kind=None):
        """Step 4 and 5: decode, compare kinds, verify."""
        context_fields = self.documents.decode("Context", parts[1])
        form, header = self.documents.header(context_fields[1])
        name, body = self.body(parts[2])
        context(kind in (None, body[3]), "kind differs from that of the plaintext")
        signer = prefixed(body[5])
        label = self.labels[self.spec.kinds[body[3]]["label"]]
        p.verify(signer, label, sha256(parts[1]) + sha256(parts[2]), parts[3])
        return {"context": context_fields, "form": form, "header": header, "name": name, "body": body,
                "core": parts[2], "signer": signer, "kind": self.spec.kinds[body[3]]}

    def check_recipient(self, message, i):
        """Step 6 of 5.7 but for the envelope's header."""
        fields, header, body = message["context"], message["header"], message["body"]
        context(message["form"] == "DirectHeader", "a group message")
        context(message["kind"]["lane"] == header[2], "lane")
        reader = i.bytes("reader")
        context(3 in fields and prefixed(fields[3]) == reader, "for another identity")
        context(fields[2] == i["handle"], "for another handle")
        context(fields[4] == header[4], "for another key")
        context(header[3] == self.agent_id(i.bytes("relay"), reader), "addressed to another agent")
        context(message["signer"] != reader, "the reader's own")
        context(body[6] == self.direct_conversation(message["signer"], reader), "conversation")
        context(header[1] >= body[2], "suite")

    def check_member(self, message, i):
        """Step 5 of 6.8 but for the envelope's header."""
        header, body = message["header"], message["body"]
        context(message["form"] == "GroupHeader", "a direct message")
        context(3 not in message["context"], "names a recipient")
        context(message["kind"]["groups"], "kind has no place in groups")
        context(header[9] == self.agent_id(i.bytes("relay"), message["signer"]), "another sender")
        context(body[6] == header[6], "conversation")
        context(header[1] >= body[2], "suite")

    def shown(self, message):
        body = message["body"]
        if message["name"] == "Core":
            content = body[17]
        else:
            content = body[30]
            self.documents.decode(message["kind"]["body"], content)
        return {
            "kind": body[3],
            "signer": message["signer"].hex(),
            "message_id": self.hash("HashMessageId", message["core"]).hex(),
            "core": message["core"].hex(),
            "body": content.hex(),
        }
