"""Who the client is: its keys, its bundle, its registration (docs/protocol.md, 4), its lease (8.5)."""

import secrets
import time

from reader import primitives as p
from reader.layers import demand
from reader.primitives import sha256

from . import protocol
from .protocol import record
from .relay import b64, unb64

DAY = 24 * 3_600_000
REGISTER = 1


def now():
    return time.time_ns() // 1_000_000


class Account:
    """Lives as long as its process: with it, all keys are gone."""

    def __init__(self, relay, handle):
        self.relay, self.handle = relay, handle
        self.identity = protocol.Identity()
        self.send_id_key = secrets.token_bytes(32)
        self.incarnation, self.session = now(), secrets.token_bytes(16)
        self.key_number, self.secret = 1, secrets.token_bytes(32)
        self.bundle = None

    @property
    def id(self):
        return protocol.agent_id(self.relay.id, self.identity.prefixed)

    def register(self):
        """4.7. The API key is the relay's; peers see the bundle only."""
        nonce = secrets.token_bytes(32)
        asked = {"purpose": "register", "handle": self.handle, "identity": b64(self.identity.prefixed),
                 "nonce": nonce.hex()}
        signed = unb64(self.relay.json("POST", "/v1/challenges", asked)["challenge"])
        challenge, body = protocol.verify_document("Challenge", signed, self.relay.identity)
        own = (challenge.relay == self.relay.id and challenge.purpose == REGISTER and challenge.handle == self.handle
               and challenge.identity == self.identity.key and challenge.agent_nonce == nonce)
        demand(own, "context", "a challenge for something else")
        self.bundle = self.identity.sign_document(self.make_bundle())
        answer = self.relay.json("POST", "/v1/agents", {
            "challenge": b64(signed), "proof": b64(self.identity.sign("SigProof", body)), "bundle": b64(self.bundle),
        })
        demand(answer["agent_id"] == self.id.hex(), "context", "another agent id")
        self.relay.api_key = answer["api_key"]
        self.take_lease()

    def make_bundle(self):
        """4.3. The recovery key is thrown away: this client never changes its identity."""
        made = now()
        key = record("BundleKey", suite=protocol.CLASSIC, number=self.key_number, public=p.public_of(self.secret))
        recovery = protocol.digest("HashRecovery", protocol.Identity().prefixed)
        return record(
            "Bundle", version=protocol.VERSION, relay=self.relay.id, handle=self.handle, identity=self.identity.key,
            number=made, not_before=made, not_after=made + 90 * DAY, min_suite=protocol.CLASSIC, keys=[key],
            recovery=recovery,
        )

    def publish(self):
        """Another bundle of the same key, which continues the one before."""
        before = protocol.decode("Bundle", protocol.decode("Signed", self.bundle).body)
        bundle = self.make_bundle().having(number=max(before.number + 1, now()), previous=sha256(self.bundle))
        signed = self.identity.sign_document(bundle)
        self.relay.ask("PUT", "/v1/agents/me/bundle", signed)
        # Messages name a bundle only after the relay has taken it (5.7).
        self.bundle = signed

    def take_lease(self):
        lease = record("Lease", version=protocol.VERSION, relay=self.relay.id, identity=self.identity.key,
                       incarnation=self.incarnation, session=self.session, time=now())
        self.relay.ask("PUT", "/v1/agents/me/lease", self.identity.sign_document(lease))

    def mid(self, conversation, client_msg_id):
        """5.5, for the first attempt."""
        fields = conversation + bytes(4) + sha256(client_msg_id.encode())
        return protocol.derive(self.send_id_key, "KdfSendId", fields, 16)
