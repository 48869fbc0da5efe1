"""Whom the client knows: bundles that were checked, and pins (docs/protocol.md, 4.3 and 4.4)."""

from reader import primitives as p
from reader.layers import demand
from reader.roster import prefixed

from . import protocol
from .account import DAY, now
from .relay import unb64


class Peer:
    """A pinned identity and its latest bundle."""

    def __init__(self, bundle, signed):
        self.identity = prefixed(bundle.identity)
        self.bundle, self.signed = bundle, signed

    def is_expired(self):
        return self.bundle.not_after <= now()

    def best_key(self):
        """4.3: the key to seal to."""
        demand(not self.is_expired(), "RECIPIENT_KEY_EXPIRED", "the newest bundle has expired")
        usable = [key for key in keys_of(self.bundle) if key.suite == protocol.CLASSIC >= self.bundle.min_suite]
        demand(usable, "SUITE", "no key of a suite that is known")
        return max(usable, key=lambda key: key.number)


def keys_of(bundle):
    return [protocol.Record("BundleKey", key) for key in bundle.keys]


class Peers:
    """Whom the client has looked up, by handle. Pins are `tofu`; another identity is never followed (4.4)."""

    def __init__(self, relay):
        self.relay, self.pins = relay, {}

    def look_up(self, handle, fingerprint=None):
        """What the relay shows under a handle, if it may be believed; pinned from then on."""
        signed = unb64(self.relay.json("GET", f"/v1/agents/{handle}/bundle")["bundle"])
        bundle, _ = protocol.verify_document("Bundle", signed, "identity")
        demand((bundle.relay, bundle.handle) == (self.relay.id, handle), "context", "a bundle of another agent")
        check_rules(bundle)
        peer, pinned = Peer(bundle, signed), self.pins.get(handle)
        known = fingerprint in (None, protocol.fingerprint(peer.identity))
        demand(known, "FINGERPRINT_MISMATCH", "not the given fingerprint")
        if pinned:
            check_history(pinned, peer)
        self.pins[handle] = peer
        return peer

    def sender(self, handle, identity):
        """5.7, step 7: who signed is the pinned identity of the handle, or what a lookup shows."""
        peer = self.pins.get(handle) or self.look_up(handle)
        demand(peer.identity == identity, "unknown_key", "signed by another identity than the handle's")
        return peer


def check_rules(bundle):
    """4.3, steps 3 and 4."""
    keys = keys_of(bundle)
    names = {(key.suite, key.number) for key in keys}
    acceptable = all(key.suite != protocol.CLASSIC or p.is_encryption_key(key.public) for key in keys)
    holds = bundle.number >= 1 and bundle.not_before < bundle.not_after and len(names) == len(keys) and acceptable
    demand(holds, "rule", "bundle")
    demand(max(bundle.not_before, bundle.number) <= now() + DAY, "rule", "a bundle of the future")


def check_history(pinned, shown):
    """4.3, step 5, and 2.1 on suites."""
    demand(shown.identity == pinned.identity, "IDENTITY_CHANGED", "another identity than the pinned one")
    demand(shown.bundle.number >= pinned.bundle.number, "rule", "an older bundle than the known one")
    forked = shown.bundle.number == pinned.bundle.number and shown.signed != pinned.signed
    demand(not forked, "BUNDLE_FORK", "two bundles with one number")
    before, after = (max(key.suite for key in keys_of(peer.bundle)) for peer in (pinned, shown))
    demand(after >= before, "SUITE_DOWNGRADE", "a suite was shown and is not any more")
