"""Keys of groups (docs/protocol.md, 6.5 and 6.7): leaves, chains, and what is sealed under them."""

import hmac
import secrets

from reader import primitives as p
from reader.layers import demand
from reader.primitives import sha256
from reader.roster import prefixed

from . import protocol
from .protocol import record

LEAF = b"waxwire\x20"
EXPIRED = 1
SKIPPED = 2_048
LAST = 65_535


def commitment(key):
    return protocol.derive(key, "KdfEpochCommit")


class Epoch:
    """What a verified rekey says, and for whom."""

    def __init__(self, rekey, commit, members):
        self.rekey, self.commit, self.members = rekey, commit, members
        self.chains = None

    def index_of(self, identity):
        """The place in roster order; None for who was no member."""
        keys = [prefixed(member["identity"]) for member in self.members]
        return keys.index(identity) if identity in keys else None

    def adopt(self, account, group, proof):
        """6.5: the leaf under the root, opened; all chains from it. The epoch key itself is not kept."""
        index, number = self.index_of(account.identity.prefixed), self.rekey.epoch
        proof = protocol.decode("LeafProof", proof)
        root = p.root_by_inclusion(p.leaf_hash(proof.leaf), index, self.rekey.leaves, proof.path)
        demand(root == self.rekey.root, "leaf_forged", "not under the root")
        leaf = protocol.decode("Leaf", proof.leaf)
        demand((leaf.index, leaf.identity) == (index, account.identity.key), "leaf_false", "of another member")
        demand(len(leaf.content) == 3, "missing_epoch", "an empty leaf")
        key_number, suite, box = leaf.content
        demand((suite, key_number) == (protocol.CLASSIC, account.key_number), "key_erased", "to another key")
        plaintext = p.open_sealed(account.secret, box)
        key = plaintext[16:]
        holds = len(plaintext) == 48 and plaintext[:16] == LEAF + number.to_bytes(8, "big") and any(key)
        demand(holds, "leaf_false", "no key of this epoch")
        demand(hmac.compare_digest(commitment(key), self.rekey.commitment), "leaf_false", "misses its commitment")
        self.chains = {identity: Chain(self.first_chain_key(key, group, identity)) for identity in self.identities()}

    def identities(self):
        return [prefixed(member["identity"]) for member in self.members]

    def first_chain_key(self, key, group, sender):
        """2.2."""
        fields = group + self.rekey.epoch.to_bytes(8, "big") + self.commit + sha256(sender)
        return protocol.derive(key, "KdfChain", fields)


class Chain:
    """One sender's message keys; each is given out once (6.7)."""

    def __init__(self, key):
        self.key, self.i, self.skipped = key, 0, {}

    def next(self):
        """For the own next message: its number and key."""
        demand(self.i <= LAST, "rule", "the chain is used up")
        i, key = self.i, self._message_key()
        self._step()
        return i, key

    def take(self, i, open_under):
        """What `open_under` makes of the key of number `i`, and how many keys were stepped over to reach it. Nothing
        has changed if it refuses."""
        copy = Chain(self.key)
        copy.i, copy.skipped = self.i, dict(self.skipped)
        demand(i - copy.i <= SKIPPED, "open", "too far ahead")
        stepped = max(0, i - copy.i)
        while copy.i <= i:
            copy.skipped[copy.i] = copy._message_key()
            copy._step()
        key = copy.skipped.pop(i, None)
        demand(key, "open", "a key that was used")
        opened = open_under(key)
        self.key, self.i, self.skipped = copy.key, copy.i, copy.skipped
        return opened, stepped

    def _message_key(self):
        return protocol.derive(self.key, "KdfMessageKey")

    def _step(self):
        self.key, self.i = protocol.derive(self.key, "KdfChainNext"), self.i + 1


def make_rekey(plan, position, bundles):
    """A rekey for the roster after the changes, and its leaves. `bundles` gives the peer of each member."""
    key, number = secrets.token_bytes(32), plan.epoch + 1
    leaves = [protocol.encode(record("Leaf", index=index, identity=member["identity"],
                                     content=leaf_content(bundles(member), number, key)))
              for index, member in enumerate(plan.members)]
    rekey = record(
        "Rekey", epoch=number, suite=plan.suite, commitment=commitment(key),
        root=p.merkle_root([p.leaf_hash(leaf) for leaf in leaves]), leaves=len(leaves),
        roster=plan.roster_hash(position),
    )
    return rekey, protocol.encode(record("Leaves", leaves=leaves))


def leaf_content(peer, epoch, key):
    if peer.is_expired():
        return [EXPIRED]
    public = peer.best_key()
    box = p.seal(public.public, secrets.token_bytes(32), LEAF + epoch.to_bytes(8, "big") + key)
    return [public.number, public.suite, box]
