"""The client as a whole: what it is asked to do, and what it tells of what came."""

from reader.layers import Refused, demand

from . import protocol
from .account import Account
from .direct import Direct
from .group import Group
from .messages import Inbox, Outbox
from .peers import Peers
from .protocol import CONTROL, KINDS, MAIL
from .relay import Relay

LANES = {"mail": MAIL, "control": CONTROL}


class Client:
    """Each method answers one request; see `__main__`."""

    def __init__(self, relay, handle):
        self.account = Account(Relay(relay), handle)
        self.peers, self.inbox, self.outbox = Peers(self.account.relay), Inbox(), Outbox(self.account)
        self.direct = Direct(self.account, self.peers, self.inbox, self.outbox)
        self.read = dict.fromkeys(LANES, 0)
        self.invites, self.group = [], None

    def register(self):
        self.account.register()
        return {"agent_id": self.account.id.hex(), "fingerprint": protocol.fingerprint(self.account.identity.prefixed)}

    def publish(self):
        self.account.publish()
        return {}

    def look_up(self, handle, fingerprint=None):
        peer = self.peers.look_up(handle, fingerprint)
        return {"fingerprint": protocol.fingerprint(peer.identity), "number": peer.bundle.number}

    def send(self, to, id, content, fingerprint=None):
        return {"message_id": self.direct.send(to, id, content.encode(), fingerprint)}

    def receive(self, queue, wait=0):
        """All that one answer of the relay has of a direct lane: messages, invites, receipts, and what was refused.
        Everything is acknowledged to the relay, refused or not, so it learns nothing of it (5.7)."""
        told = {"messages": [], "invites": [], "acknowledged": [], "refused": []}
        for position, data in self.account.relay.read_queue(queue, self.read[queue], wait):
            try:
                self._receive(self.direct.open(data, LANES[queue]), told)
            except Refused as refused:
                told["refused"].append(refused.layer)
            self.account.relay.ack(queue, position)
            self.read[queue] = position
        return told

    def _receive(self, message, told):
        acknowledged = self.direct.acknowledged(message)
        if acknowledged is not None:
            told["acknowledged"].append(acknowledged)
        if message.body.kind == KINDS["Invite"]:
            notice = message.content()
            self.invites.append((notice, message.signer))
            told["invites"].append({"group": notice.group.hex(), "name": notice.name, "by": message.body.handle})
        elif message.body.table == "Core":
            new = self.inbox.take(message)
            if new:
                told["messages"].append(new)
                self.direct.receipt(message)

    # -- groups

    def accept(self):
        """Joins the group of the latest invite, once its log is verified and bears the invite out (6.4)."""
        notice, inviter = self.invites[-1]
        group = Group(self.account, self.peers, self.inbox, self.outbox, notice.group)
        group.follow()
        demand(inviter in group.heads.get(notice.roster_head, {}), "ROSTER_WITHHELD", "the log lacks the invite's head")
        demand(group.open_invite().fields == notice.invite, "rule", "another invite than the open one")
        self.group = group
        group.accept()
        return self.roster()

    def roster(self):
        self.group.follow()
        return {
            "members": sorted(self.group.handles()), "epoch": self.group.roster.epoch, "name": self.group.name,
            "head": self.group.roster.head.hex(),
        }

    def send_to_group(self, id, content):
        return {"message_id": self.group.send(id, content.encode())}

    def receive_from_group(self, wait=0):
        group, told = self.group, {"messages": [], "refused": []}
        group.follow()
        queue = f"group-{group.id.hex()}"
        for position, data in self.account.relay.read_queue(queue, group.read, wait):
            try:
                self._receive_from_group(data, told)
            except Refused as refused:
                told["refused"].append(refused.layer)
            self.account.relay.ack(queue, position)
            group.read = position
        return told

    def _receive_from_group(self, data, told):
        if self.group.is_own(data):
            return
        message, stepped = self.group.open(data)
        if message.body.table != "Core":
            self.group.take_profile(message)
            return
        new = self.inbox.take(message, self.group.begins_after(message, stepped))
        if new:
            told["messages"].append(new | {"epoch": message.header.epoch})
            self.direct.receipt(message)

    def rekey(self):
        self.group.replace_key()
        return self.roster()

    def remove(self, handle):
        self.group.remove(handle)
        return self.roster()

    def leave(self):
        self.group.leave()
        return {}


REQUESTS = {name for name, value in vars(Client).items() if callable(value) and not name.startswith("_")}
