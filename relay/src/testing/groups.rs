//! For tests of groups: signed commits with leaves that nobody could open, and who posts them.

use ed25519_dalek::Signer as _;
use http::StatusCode;
use waxwire_shared::{
    api::append::Append,
    hash::sha256,
    identity::{Signature, signing_input},
    ids::{GroupId, Hash, Mid, Nonce32},
    labels::Label,
    roster::{Plan, Roster, leaves_root},
    sign::{SignedBytes, Verified},
    suite::Suite,
    wire::{
        Change, Commit, Document as _, Envelope, GroupHeader, InviteRef, JoinPolicy, Leaf, LeafContent,
        Leaves, Policy, Rekey, Role, VERSION,
    },
};

use super::{Answer, TestAgent, TestRelay};

pub(crate) const LEAVE: Change = Change::Leave { cut_off: None };

/// A commit ready to be posted.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) commit: Verified<Commit>,
    pub(crate) leaves: Vec<u8>,
}

impl Ready {
    /// Signs a commit as it is.
    pub(crate) fn sign(signer: &TestAgent, commit: &Commit, leaves: Vec<u8>) -> Self {
        let body = commit.encode();
        let signature = signer.secret.sign(&signing_input(Label::SigCommit, &[&body]));
        let signature = Signature::new(signature.to_bytes());
        let bytes = SignedBytes { body, signature }.encode();
        Self {
            commit: Verified::from_bytes(&bytes, |commit: &Commit| &commit.signer).unwrap(),
            leaves,
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        self.commit.hash()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        Append {
            commit: self.commit.bytes(),
            leaves: &self.leaves,
        }
        .to_bytes()
    }
}

/// What an agent does in a commit, and whether it rekeys.
pub(crate) fn sign_next(roster: &Roster, signer: &TestAgent, changes: Vec<Change>, rekeys: bool) -> Ready {
    let plan = roster.plan(&signer.identity(), &changes).unwrap();
    sign_planned(Some(*roster.group()), &plan, signer, changes, rekeys)
}

fn sign_planned(
    group: Option<GroupId>,
    plan: &Plan,
    signer: &TestAgent,
    changes: Vec<Change>,
    rekeys: bool,
) -> Ready {
    let leaves = leaves_for(plan);
    let rekey = Rekey {
        epoch: plan.epoch,
        suite: Suite::CLASSIC,
        commitment: sha256(&[signer.id.as_bytes().as_slice(), &plan.epoch.to_be_bytes()].concat()),
        root: leaves_root(&leaves),
        leaves: u32::try_from(plan.members.len()).unwrap(),
        roster: plan.roster,
    };
    let commit = Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group,
        position: plan.position,
        previous: plan.previous,
        signer: signer.identity(),
        changes,
        rekey: rekeys.then_some(rekey),
        time: 0,
    };
    let leaves = if rekeys { leaves.encode() } else { Vec::new() };
    Ready::sign(signer, &commit, leaves)
}

fn leaves_for(plan: &Plan) -> Leaves {
    let leaf = |(index, identity)| {
        Leaf {
            index,
            identity,
            content: LeafContent::Sealed {
                key_number: 1,
                suite: Suite::CLASSIC,
                sealed: vec![7; 96],
            },
        }
        .encode()
    };
    let members = plan.members.iter().map(|member| member.identity.clone());
    Leaves {
        leaves: (0..).zip(members).map(leaf).collect(),
    }
}

/// A group as its members know it.
pub(crate) struct TestGroup {
    pub(crate) id: GroupId,
    pub(crate) roster: Roster,
}

/// The first commit of a group.
pub(crate) fn sign_first(founder: &TestAgent, join: JoinPolicy, more: Vec<Change>) -> Ready {
    let policy = Policy {
        join,
        invite_role: Role::Admin,
        slug: None,
    };
    sign_founding(founder, Nonce32::from_bytes([7; 32]), policy, more)
}

/// The same under any policy; the nonce tells groups apart.
pub(crate) fn sign_founding(
    founder: &TestAgent,
    nonce: Nonce32,
    policy: Policy,
    mut more: Vec<Change>,
) -> Ready {
    let create = Change::Create {
        nonce,
        handle: founder.handle.clone(),
        policy,
    };
    more.insert(0, create);
    let plan = Roster::plan_create(&founder.identity(), &more).unwrap();
    sign_planned(None, &plan, founder, more, true)
}

impl TestGroup {
    pub(crate) async fn create(relay: &TestRelay, founder: &TestAgent) -> Self {
        Self::create_with(relay, founder, JoinPolicy::Invite, Vec::new()).await
    }

    pub(crate) async fn create_with(
        relay: &TestRelay,
        founder: &TestAgent,
        join: JoinPolicy,
        more: Vec<Change>,
    ) -> Self {
        Self::create_by(relay, founder, &sign_first(founder, join, more)).await
    }

    /// The group that begins with this commit.
    pub(crate) async fn create_by(relay: &TestRelay, founder: &TestAgent, first: &Ready) -> Self {
        let answer = relay.post_octets("/v1/groups", &founder.key, &first.body()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let roster = Roster::create(&first.commit).unwrap();
        Self {
            id: *roster.group(),
            roster,
        }
    }

    /// A group with further members.
    pub(crate) async fn with(relay: &TestRelay, founder: &TestAgent, others: &[&TestAgent]) -> Self {
        let mut group = Self::create(relay, founder).await;
        for other in others {
            group.add(relay, founder, other).await;
        }
        group
    }

    pub(crate) fn commits(&self) -> String {
        format!("/v1/groups/{}/commits", self.id)
    }

    pub(crate) async fn post(&self, relay: &TestRelay, signer: &TestAgent, ready: &Ready) -> Answer {
        relay
            .post_octets(&self.commits(), &signer.key, &ready.body())
            .await
    }

    /// Appends a commit that must be taken, and follows it.
    pub(crate) async fn append(
        &mut self,
        relay: &TestRelay,
        signer: &TestAgent,
        changes: Vec<Change>,
        rekeys: bool,
    ) -> Ready {
        let ready = sign_next(&self.roster, signer, changes, rekeys);
        let answer = self.post(relay, signer, &ready).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        self.roster.apply(&ready.commit).unwrap();
        ready
    }

    pub(crate) async fn invite(&mut self, relay: &TestRelay, by: &TestAgent, other: &TestAgent) {
        self.append(relay, by, vec![invite(other)], false).await;
    }

    /// Invites somebody who accepts with a rekey.
    pub(crate) async fn add(&mut self, relay: &TestRelay, by: &TestAgent, other: &TestAgent) {
        self.invite(relay, by, other).await;
        let accept = vec![self.accept(other)];
        self.append(relay, other, accept, true).await;
    }

    pub(crate) fn accept(&self, other: &TestAgent) -> Change {
        Change::Accept {
            invite: self.invite_of(other),
        }
    }

    pub(crate) fn invite_of(&self, other: &TestAgent) -> InviteRef {
        let identity = other.identity();
        let invite = self.roster.invites().find(|invite| invite.identity == identity);
        invite.unwrap().reference.clone()
    }

    /// An envelope under the current epoch.
    pub(crate) fn envelope(&self, from: &TestAgent, mid: u8) -> Vec<u8> {
        self.envelope_under(self.roster.epoch(), from, mid)
    }

    pub(crate) fn envelope_under(&self, epoch: u64, from: &TestAgent, mid: u8) -> Vec<u8> {
        let header = GroupHeader {
            suite: Suite::CLASSIC,
            mid: Mid::from_bytes([mid; 16]),
            group: self.id,
            epoch,
            roster_head: self.roster.head(),
            sender: from.id,
            i: 0,
        }
        .encode();
        Envelope {
            header: &header,
            ciphertext: b"ciphertext",
        }
        .to_bytes()
    }

    pub(crate) async fn say(&self, relay: &TestRelay, from: &TestAgent, mid: u8) {
        let answer = relay.send(&from.key, &self.envelope(from, mid)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
}

/// Three agents.
pub(crate) async fn three(relay: &TestRelay) -> (TestAgent, TestAgent, TestAgent) {
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    (alice, bob, relay.register("carol").await)
}

pub(crate) fn invite(other: &TestAgent) -> Change {
    Change::Invite {
        identity: other.identity(),
        handle: other.handle.clone(),
        role: Role::Member,
    }
}

pub(crate) fn remove(other: &TestAgent) -> Change {
    Change::Remove {
        identity: other.identity(),
        cut_off: None,
    }
}
