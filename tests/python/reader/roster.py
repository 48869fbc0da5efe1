"""The roster log (docs/protocol.md, 6)."""

import copy

from . import cbor
from .layers import demand
from .primitives import sha256, verify

MEMBER, ADMIN = 1, 2
OPEN = 2


def rule(holds, reason):
    demand(holds, "rule", reason)


def prefixed(identity):
    return identity[1].to_bytes(2, "big") + identity[2]


class Signed:
    """A signed commit, verified under its own signer."""

    def __init__(self, documents, data):
        signed = documents.decode("Signed", data)
        self.body = documents.decode("Commit", signed[1])
        verify(prefixed(self.body[6]), documents.spec.labels["SigCommit"], signed[1], signed[2])
        self.hash = sha256(data)


class Roster:
    def __init__(self, documents, commits):
        self.label = documents.spec.labels["HashRoster"]
        self.members, self.invites, self.commitments = [], [], set()
        self.position, self.head, self.epoch, self.group = None, None, 0, None
        self.hard = self.soft = self.rekey_commit = None
        self.ended = False
        for index, data in enumerate(commits):
            # Only the last commit of a vector may be refused.
            try:
                self.apply(Signed(documents, data))
            except Exception:
                assert index + 1 == len(commits), f"commit {index} is refused"
                raise

    def apply(self, commit):
        body, before = commit.body, self.__dict__.copy()
        self.members, self.invites = [dict(member) for member in self.members], list(self.invites)
        try:
            self._apply(commit, body)
        except Exception:
            self.__dict__.update(before)
            raise

    def _apply(self, commit, body):
        changes = body[7]
        if self.position is None:
            rule(body[4] == 0 and 3 not in body and 5 not in body, "first commit names a predecessor")
            rule(body[2] == 1, "unknown suite")
            rule(8 in body, "create without a rekey")
            rule(changes and changes[0][0] == 1, "first change is not create")
            self.suite, self.group = body[2], commit.hash
            self.policy = changes[0][3]
            self.members = [{"identity": body[6], "handle": changes[0][2], "role": ADMIN, "joined": 0}]
            first = 1
        else:
            rule(not self.ended, "group has ended")
            rule(body[4] == self.position + 1, "position")
            rule(body.get(5) == self.head, "predecessor")
            rule(body.get(3) == self.group, "group")
            rule(body[2] == self.suite, "suite")
            rule(changes or 8 in body, "changes nothing")
            first = 0
        self.drop_old_invites(body[4])
        for index, change in list(enumerate(changes))[first:]:
            rule(not self.ended, "a change after the end")
            self._change(body, commit.hash, index, change)
        rule(8 in body or not any(change[0] == 6 for change in changes), "remove without a rekey")
        if 8 in body:
            self._rekey(body, body[8])
            self.rekey_commit = commit.hash
        self.position, self.head = body[4], commit.hash

    def drop_old_invites(self, position):
        self.invites = [invite for invite in self.invites if position <= invite["position"] + 1_000]

    def planned(self, body):
        """What the changes of a commit without its rekey would make of it: what a rekey beside them is for."""
        plan = copy.copy(self)
        plan.members = [dict(member) for member in self.members]
        plan.drop_old_invites(body[4])
        for index, change in enumerate(body[7]):
            plan._change(body, None, index, change)
        return plan

    def member(self, identity):
        return next((member for member in self.members if member["identity"] == identity), None)

    def _admins(self):
        return [member for member in self.members if member["role"] == ADMIN]

    def _role(self, body):
        signer = self.member(body[6])
        rule(signer, "signer is no member")
        return signer["role"]

    def _change(self, body, commit, index, change):
        number, signer, position = change[0], body[6], body[4]
        if number == 1:
            rule(False, "create is not the first change")
        elif number == 2:
            _, identity, handle, role = change
            rule(self._role(body) >= max(self.policy[2], role), "may not invite")
            rule(not self.member(identity), "invites a member")
            rule(all(invite["identity"] != identity for invite in self.invites), "invited already")
            self.invites.append({"commit": commit, "index": index, "position": position, "inviter": signer,
                                 "identity": identity, "handle": handle, "role": role})
        elif number in (3, 4):
            reference = (change[1][1], change[1][2])
            if number == 3:
                self._role(body)
            invite = next((i for i in self.invites if (i["commit"], i["index"]) == reference), None)
            rule(invite, "no such invite")
            if number == 3:
                rule(self._role(body) == ADMIN or invite["inviter"] == signer, "may not withdraw")
                self.invites.remove(invite)
            else:
                rule(invite["identity"] == signer, "invite of another")
                self._add(signer, invite["handle"], invite["role"], position)
        elif number == 5:
            rule(self.policy[1] == OPEN, "group is not open")
            self._add(signer, change[1], MEMBER, position)
        elif number == 6:
            rule(self._role(body) == ADMIN, "may not remove")
            rule(change[1] != signer, "removes itself")
            rule(self.member(change[1]), "removes nobody")
            self._depart(change[1])
        elif number == 7:
            self._role(body)
            self._depart(signer)
            self.hard = position if self.hard is None else self.hard
            if not self.members:
                self.ended = True
            elif not self._admins():
                self.members[0]["role"] = ADMIN
        elif number == 8:
            rule(self._role(body) == ADMIN, "may not set roles")
            member = self.member(change[1])
            rule(member, "role of nobody")
            demoted = change[2] < member["role"]
            rule(not (demoted and self._admins() == [member]), "demotes the last admin")
            member["role"] = change[2]
            if demoted:
                self.invites = [invite for invite in self.invites if invite["inviter"] != change[1]]
        elif number == 9:
            rule(self._role(body) == ADMIN, "may not set the policy")
            self.policy = change[1]
        elif number == 10:
            rule(self._role(body) == ADMIN, "may not disband")
            self.ended = True

    def _add(self, signer, handle, role, position):
        rule(not self.member(signer), "is a member")
        rule(len(self.members) < 10_000, "full")
        self.invites = [invite for invite in self.invites if invite["identity"] != signer]
        self.members.append({"identity": signer, "handle": handle, "role": role, "joined": position})
        self.soft = position if self.soft is None else self.soft

    def _depart(self, identity):
        self.members = [member for member in self.members if member["identity"] != identity]
        self.invites = [i for i in self.invites if identity not in (i["inviter"], i["identity"])]

    def roster_hash(self, position):
        members = [{1: m["identity"], 2: m["handle"], 3: m["role"], 4: m["joined"]} for m in self.members]
        return sha256(self.label + cbor.encode({1: position, 2: members, 3: self.policy}))

    def _rekey(self, body, rekey):
        rule(not self.ended, "rekey after the end")
        rule(self.member(body[6]), "rekey by an outsider")
        rule(rekey[1] == self.epoch + 1, "epoch")
        rule(rekey[2] == self.suite, "suite of the epoch")
        rule(rekey[3] not in self.commitments, "commitment was used")
        rule(rekey[5] == len(self.members), "number of leaves")
        rule(rekey[6] == self.roster_hash(body[4]), "roster hash")
        self.commitments = self.commitments | {rekey[3]}
        self.epoch, self.hard, self.soft = rekey[1], None, None

    def shown(self):
        return {
            "group": self.group.hex(),
            "position": self.position,
            "head": self.head.hex(),
            "epoch": self.epoch,
            "rekey_commit": self.rekey_commit.hex(),
            "members": [
                {"identity": prefixed(m["identity"]).hex(), "handle": m["handle"], "role": m["role"],
                 "joined": m["joined"]}
                for m in self.members
            ],
            # Those that could be used at the next position.
            "invites": [
                {"commit": i["commit"].hex(), "index": i["index"], "identity": prefixed(i["identity"]).hex(),
                 "role": i["role"]}
                for i in self.invites if self.position + 1 <= i["position"] + 1_000
            ],
            "join": self.policy[1],
            "invite_role": self.policy[2],
            "hard_debt": self.hard,
            "soft_debt": self.soft,
            "ended": self.ended,
            "roster_hash": self.roster_hash(self.position).hex(),
        }


def is_fork(a, b):
    """6.9."""
    same = a.body[4] == b.body[4] and a.body.get(5) == b.body.get(5) and a.body.get(3) == b.body.get(3)
    return same and a.body[4] > 0 and a.hash != b.hash
