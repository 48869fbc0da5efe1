"""One group (docs/protocol.md, 6): its verified log, its epochs, its messages."""

import secrets

from reader import primitives as p
from reader.layers import Refused, demand
from reader.primitives import sha256
from reader.roster import ADMIN, Roster, Signed, prefixed
from reader.transport import split

from . import protocol
from .account import now
from .epochs import Epoch, make_rekey
from .messages import Message, context, envelope, make_plaintext, open_plaintext
from .protocol import CHANGES, KINDS, record
from .relay import Problem

# How often a commit or a message is made again because the log has grown meanwhile.
RACES = 10


class Group:
    """Everything here follows from commits that were read from the relay's log and verified from the first one on."""

    def __init__(self, account, peers, inbox, outbox, group):
        self.account, self.peers, self.inbox, self.outbox = account, peers, inbox, outbox
        self.id = group
        self.roster = Roster(protocol.DOCUMENTS, [])
        self.heads = {}  # hash of a commit: the roles of the members after it
        self.departed = {}  # identity: its cut-off, if it has one
        self.epochs = {}
        self.read = 0  # position in the queue of messages
        self.name = None

    # -- the log

    def follow(self):
        """Reads and verifies what is new, and adopts the epochs in it."""
        # Commit number p stands at position p + 1.
        while deliveries := self.account.relay.read_queue(f"log-{self.id.hex()}", len(self.heads)):
            for _, data in deliveries:
                self._apply(Signed(protocol.DOCUMENTS, data))
        for number, epoch in self.epochs.items():
            index = epoch.index_of(self.account.identity.prefixed)
            if epoch.chains is None and index is not None:
                path = f"/v1/groups/{self.id.hex()}/epochs/{number}/leaves/{index}"
                epoch.adopt(self.account, self.id, self.account.relay.ask("GET", path))

    def _apply(self, commit):
        self.roster.apply(commit)
        demand(self.roster.group == self.id, "invalid_commit", "another group")
        body = protocol.Record("Commit", commit.body)
        for change in body.changes:
            if change[0] in (CHANGES["remove"], CHANGES["leave"]):
                who = prefixed(change[1] if change[0] == CHANGES["remove"] else body.signer)
                self.departed[who] = change[-1] if isinstance(change[-1], dict) and 3 in change[-1] else None
        members = self.roster.members
        self.heads[commit.hash] = {prefixed(member["identity"]): member["role"] for member in members}
        if body.rekey:
            rekey = protocol.Record("Rekey", body.rekey)
            self.epochs[rekey.epoch] = Epoch(rekey, commit.hash, members)

    def open_invite(self):
        """The own one, as a change names it."""
        own = [invite for invite in self.roster.invites if invite["identity"] == self.account.identity.key]
        demand(own, "rule", "not invited")
        return record("InviteRef", commit=own[0]["commit"], index=own[0]["index"])

    def handles(self):
        return {member["handle"]: prefixed(member["identity"]) for member in self.roster.members}

    # -- commits

    def accept(self):
        """Joins, and replaces the key at once, so that this member can read (6.6)."""
        self.commit(lambda: [[CHANGES["accept"], self.open_invite()]], rekey=True)

    def remove(self, handle):
        """Nobody reads on with the removed one's key."""
        def changes():
            member = next(each for each in self.roster.members if each["handle"] == handle)
            return [[CHANGES["remove"], member["identity"], *self.cut_off_of(prefixed(member["identity"]))]]
        self.commit(changes, rekey=True)

    def replace_key(self):
        self.commit(lambda: [], rekey=True)

    def leave(self):
        """Whoever stays replaces the key."""
        own = self.outbox.conversations.get(self.id)
        cut_off = [record("CutOff", incarnation=self.account.incarnation, session=self.account.session,
                          n=len(own.cores))] if own else []
        self.commit(lambda: [[CHANGES["leave"], *cut_off]], rekey=False)

    def cut_off_of(self, identity):
        """6.8, step 7: what of the removed has been heard here counts as said in time."""
        sessions = self.inbox.sessions.get((self.id, identity), {})
        heard = [(each.incarnation, session, max(each.hashes)) for session, each in sessions.items() if each.hashes]
        return [record("CutOff", incarnation=i, session=s, n=n) for i, s, n in sorted(heard)[-1:]]

    def commit(self, changes, rekey):
        """6.9: another commit may come first; then this one is made anew behind it. It counts once it is in the log."""
        for _ in range(RACES):
            self.follow()
            commit, body = self._build(changes(), rekey)
            try:
                self.account.relay.ask("POST", f"/v1/groups/{self.id.hex()}/commits", body)
            except Problem as problem:
                if problem.name != "head-conflict":
                    raise
                continue
            self.follow()
            demand(commit in self.heads, "ROSTER_WITHHELD", "the own commit is not in the log")
            return
        raise Refused("rule", "the head is always another one")

    def _build(self, changes, rekey):
        roster = self.roster
        commit = record(
            "Commit", version=protocol.VERSION, suite=roster.suite, group=self.id, position=roster.position + 1,
            previous=roster.head, signer=self.account.identity.key, changes=changes, time=now(),
        )
        leaves = b""
        if rekey:
            made, leaves = make_rekey(roster.planned(commit.fields), commit.position, self._bundle_of)
            commit = commit.having(rekey=made)
        signed = self.account.identity.sign_document(commit)
        return sha256(signed), len(signed).to_bytes(4, "big") + signed + leaves

    def _bundle_of(self, member):
        """A key is sealed to the identity in the log and to no other, whatever the relay shows under its handle."""
        peer = self.peers.look_up(member["handle"])
        demand(peer.identity == prefixed(member["identity"]), "IDENTITY_CHANGED", "not the member's identity")
        return peer

    # -- messages

    def send(self, client_msg_id, content):
        core = self.outbox.core("Group", self.id, client_msg_id, content)
        mid = self.account.mid(self.id, client_msg_id)
        for _ in range(RACES):
            self.follow()
            if self.roster.hard is not None:
                self.replace_key()
            try:
                self.account.relay.store(self._seal(mid, core))
                return protocol.message_id(protocol.encode(core))
            except Problem as problem:
                if problem.name != "epoch-closed":
                    raise
        raise Refused("rule", "the epoch is always another one")

    def _seal(self, mid, body):
        epoch = self.epochs[self.roster.epoch]
        i, key = epoch.chains[self.account.identity.prefixed].next()
        header = protocol.encode(record(
            "GroupHeader", suite=self.roster.suite, mid=mid, group=self.id, epoch=self.roster.epoch,
            roster_head=self.roster.head, sender=self.account.id, i=i,
        ))
        plaintext = make_plaintext(self.account.identity, record("Context", header=header), body)
        nonce = secrets.token_bytes(24)
        return envelope(header, nonce + p.aead_seal(key, nonce, header, plaintext))

    def is_own(self, data):
        """A group's queue holds an agent's own messages, too."""
        header = protocol.decode_header(split(data)[0])
        return header.table == "GroupHeader" and header.sender == self.account.id

    def open(self, data):
        """6.8, up to step 7: a message, and how many keys of its author were stepped over."""
        header_bytes, ciphertext = split(data)
        header = protocol.decode_header(header_bytes)
        context(header.table == "GroupHeader" and header.group == self.id, "of another group")
        if header.roster_head not in self.heads:
            self.follow()
        demand(header.roster_head in self.heads, "ROSTER_WITHHELD", "cites an unknown commit")
        epoch = self.epochs.get(header.epoch)
        demand(epoch and epoch.chains, "missing_epoch", "no key of this epoch")
        sender = next((each for each in epoch.chains if self._agent_id(each) == header.sender), None)
        context(sender, "the sender is no member")

        def open_under(key):
            message = open_plaintext(p.open_with_nonce(key, header_bytes, ciphertext), header_bytes)
            self.check_audience(message)
            context(message.signer == sender, "signed by another member")
            self.check_membership(message)
            return message
        return epoch.chains[sender].take(header.i, open_under)

    def _agent_id(self, identity):
        return protocol.agent_id(self.account.relay.id, identity)

    def check_audience(self, message):
        """6.8, steps 4 and 5."""
        context(message.kind["groups"], "kind has no place in groups")
        context(message.header.table == "GroupHeader" and message.header.group == self.id, "of another group")
        context(message.context.recipient is None, "names a recipient")
        context(message.header.sender == self._agent_id(message.signer), "another sender")
        context(message.body.conversation == self.id, "conversation")

    def check_membership(self, message):
        """6.8, steps 6 and 7."""
        context(message.signer in self.heads.get(message.header.roster_head, {}), "no member where it stands")
        handle = next((each for each, identity in self.handles().items() if identity == message.signer), None)
        if handle is None:
            context(self._is_admitted(message), "beyond the cut-off")
        else:
            context(message.body.handle == handle, "another handle than the roster's")

    def _is_admitted(self, message):
        cut_off = self.departed.get(message.signer)
        if cut_off is None or message.body.table != "Core":
            return False
        cut_off, body = protocol.Record("CutOff", cut_off), message.body
        same = (body.incarnation, body.session) == (cut_off.incarnation, cut_off.session)
        return body.incarnation < cut_off.incarnation or (same and body.n <= cut_off.n)

    def begins_after(self, message, stepped):
        """5.4: where the numbering of an author begins for who joined later; 0 if it owes everything."""
        joined = {prefixed(member["identity"]): member["joined"] for member in self.roster.members}
        own = joined[self.account.identity.prefixed]
        earlier = message.signer not in joined or joined[message.signer] < own
        return max(0, message.body.n - stepped - 1) if earlier else 0

    def take_profile(self, message):
        """6.10: the name, if an admin said so; sent again to joiners as an item of a resend (9)."""
        if message.body.kind == KINDS["Resend"]:
            for item in message.content().items:
                self.take_profile(self._resent(item))
        elif message.body.kind == KINDS["Profile"]:
            roles = self.heads.get(message.header.roster_head, {})
            context(roles.get(message.signer) == ADMIN, "a profile by who is no admin")
            self.name = message.content().name

    def _resent(self, item):
        message = Message(item)
        self.check_audience(message)
        context(message.body.kind == KINDS["Profile"], "only profiles are sent again here")
        return message
