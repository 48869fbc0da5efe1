//! Logs of groups that hold, and evidence.

use serde_json::{Value, json};
use waxwire_proxy::crypto::{kdf, secret::EpochKey};
use waxwire_shared::{
    hash::sha256,
    ids::{Hash, Nonce32, SessionId},
    roster::{Plan, Roster},
    sign::Verified,
    suite::Suite,
    wire::{Change, Commit, CutOff, InviteRef, JoinPolicy, Policy, Rekey, Role, VERSION},
};

use super::{Cases, hex, world::*};

/// A log under construction. Epoch keys come from the epoch's number.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) roster: Roster,
    pub(super) commits: Vec<Vec<u8>>,
}

pub(super) fn policy(join: JoinPolicy, invite_role: Role) -> Policy {
    Policy {
        join,
        invite_role,
        slug: None,
    }
}

pub(super) fn create(agent: &Agent, policy: Policy) -> Change {
    Change::Create {
        nonce: Nonce32::from_bytes([0x91; 32]),
        handle: agent.handle.clone(),
        policy,
    }
}

pub(super) fn invite(agent: &Agent, role: Role) -> Change {
    Change::Invite {
        identity: agent.key(),
        handle: agent.handle.clone(),
        role,
    }
}

pub(super) fn remove(agent: &Agent, cut_off: Option<CutOff>) -> Change {
    Change::Remove {
        identity: agent.key(),
        cut_off,
    }
}

pub(super) fn role(agent: &Agent, role: Role) -> Change {
    Change::Role {
        identity: agent.key(),
        role,
    }
}

pub(super) fn join(agent: &Agent) -> Change {
    Change::Join {
        handle: agent.handle.clone(),
    }
}

pub(super) const LEAVE: Change = Change::Leave { cut_off: None };

pub(super) fn cut_off(agent: &Agent) -> CutOff {
    CutOff {
        incarnation: NOW,
        session: agent.session,
        n: 17,
    }
}

pub(super) fn commitment(epoch: u64) -> Hash {
    let key = sha256(&epoch.to_be_bytes());
    kdf::epoch_commitment(&EpochKey::from_slice(key.as_bytes()).unwrap())
}

fn rekey_of(plan: &Plan) -> Rekey {
    Rekey {
        epoch: plan.epoch,
        suite: Suite::CLASSIC,
        commitment: commitment(plan.epoch),
        root: sha256(&[plan.epoch.to_be_bytes(), plan.position.to_be_bytes()].concat()),
        leaves: u32::try_from(plan.members.len()).unwrap(),
        roster: plan.roster,
    }
}

pub(super) fn first(agent: &Agent, changes: Vec<Change>) -> Commit {
    let plan = Roster::plan_create(&agent.key(), &changes).unwrap();
    Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group: None,
        position: 0,
        previous: None,
        signer: agent.key(),
        changes,
        rekey: Some(rekey_of(&plan)),
        time: NOW,
    }
}

impl Log {
    pub(super) fn begin(agent: &Agent, policy: Policy) -> Self {
        let bytes = agent
            .identity
            .sign_document(&first(agent, vec![create(agent, policy)]));
        Self {
            roster: Roster::create(&verified(&bytes)).unwrap(),
            commits: vec![bytes],
        }
    }

    /// Alice as admin, bob as member with a rekey of his own, carol as admin.
    pub(super) fn of_three() -> Self {
        let mut log = Self::begin(&alice(), policy(JoinPolicy::Invite, Role::Admin));
        let bob_invite = log.invite(&alice(), &bob(), Role::Member);
        let accept = log.rekey(&bob(), vec![Change::Accept { invite: bob_invite }]);
        log.push(&bob(), accept);
        let carol_invite = log.invite(&alice(), &carol(), Role::Admin);
        let accept = log.rekey(&carol(), vec![Change::Accept { invite: carol_invite }]);
        log.push(&carol(), accept);
        log
    }

    pub(super) fn commit(&self, agent: &Agent, changes: Vec<Change>) -> Commit {
        Commit {
            version: VERSION,
            suite: Suite::CLASSIC,
            group: Some(*self.roster.group()),
            position: self.roster.position() + 1,
            previous: Some(self.roster.head()),
            signer: agent.key(),
            changes,
            rekey: None,
            time: NOW + self.roster.position(),
        }
    }

    pub(super) fn rekey(&self, agent: &Agent, changes: Vec<Change>) -> Commit {
        let plan = self.roster.plan(&agent.key(), &changes).unwrap();
        Commit {
            rekey: Some(rekey_of(&plan)),
            ..self.commit(agent, changes)
        }
    }

    pub(super) fn push(&mut self, agent: &Agent, commit: Commit) {
        let bytes = agent.identity.sign_document(&commit);
        self.roster.apply(&verified(&bytes)).unwrap();
        self.commits.push(bytes);
    }

    pub(super) fn change(&mut self, agent: &Agent, change: Change) {
        let commit = self.commit(agent, vec![change]);
        self.push(agent, commit);
    }

    pub(super) fn invite(&mut self, by: &Agent, whom: &Agent, role: Role) -> InviteRef {
        self.change(by, invite(whom, role));
        InviteRef {
            commit: self.roster.head(),
            index: 0,
        }
    }

    pub(super) fn input(&self) -> Value {
        input(&self.commits)
    }

    /// The log with one more commit, signed by `agent`, whatever it is.
    pub(super) fn with(&self, agent: &Agent, commit: &Commit) -> Value {
        let mut commits = self.commits.clone();
        commits.push(agent.identity.sign_document(commit));
        input(&commits)
    }
}

pub(super) fn input(commits: &[Vec<u8>]) -> Value {
    json!({"commits": commits.iter().map(hex).collect::<Value>()})
}

fn verified(bytes: &[u8]) -> Verified<Commit> {
    Verified::from_bytes(bytes, |commit: &Commit| &commit.signer).unwrap()
}

pub(super) fn roster() -> Cases {
    let mut cases = Cases::new(
        "6.2 to 6.6",
        "logs that hold, and what they make; evidence; cut-offs",
    );
    growth(&mut cases);
    departures(&mut cases);
    evidence(&mut cases);
    cut_offs(&mut cases);
    cases
}

fn growth(cases: &mut Cases) {
    let closed = || policy(JoinPolicy::Invite, Role::Admin);
    let log = Log::begin(&alice(), closed());
    cases.valid("create", "log", log.input());
    let with_invites = vec![
        create(&alice(), closed()),
        invite(&bob(), Role::Member),
        invite(&carol(), Role::Admin),
    ];
    let commit = alice().identity.sign_document(&first(&alice(), with_invites));
    cases.valid("create with invites", "log", input(&[commit]));

    let mut log = log.clone();
    let bob_invite = log.invite(&alice(), &bob(), Role::Member);
    cases.valid("invite", "log", log.input());
    let mut soft = log.clone();
    soft.change(
        &bob(),
        Change::Accept {
            invite: bob_invite.clone(),
        },
    );
    cases.valid("accept without a rekey: a soft debt", "log", soft.input());
    let paid = soft.rekey(&alice(), Vec::new());
    soft.push(&alice(), paid);
    cases.valid("rekey by another member pays it", "log", soft.input());
    let mut withdrawn = log.clone();
    withdrawn.change(&alice(), Change::Uninvite { invite: bob_invite });
    cases.valid("uninvite", "log", withdrawn.input());
    cases.valid(
        "three members, each with a rekey of their own",
        "log",
        Log::of_three().input(),
    );

    let mut open = Log::begin(&alice(), policy(JoinPolicy::Open, Role::Admin));
    open.invite(&alice(), &bob(), Role::Admin);
    open.change(&bob(), join(&bob()));
    cases.valid("join; the joiner's invite is gone", "log", open.input());
    let slug = Policy {
        slug: Some("help-desk".parse().unwrap()),
        ..policy(JoinPolicy::Invite, Role::Member)
    };
    open.change(&alice(), Change::Policy { policy: slug });
    open.change(&bob(), invite(&carol(), Role::Member));
    cases.valid("policy: members may invite", "log", open.input());
    open.change(&alice(), role(&bob(), Role::Admin));
    cases.valid("promotion does not touch invites", "log", open.input());
    open.change(&alice(), role(&bob(), Role::Member));
    cases.valid("demotion of the inviter drops them", "log", open.input());
    open.change(&alice(), role(&bob(), Role::Member));
    cases.valid("a role that it was already", "log", open.input());
}

fn departures(cases: &mut Cases) {
    let three = Log::of_three();
    let mut log = three.clone();
    log.invite(&carol(), &dave(), Role::Member);
    let commit = log.rekey(&alice(), vec![remove(&carol(), Some(cut_off(&carol())))]);
    log.push(&alice(), commit);
    cases.valid("remove; the removed one's invites are gone", "log", log.input());
    let mut log = three.clone();
    log.change(
        &bob(),
        Change::Leave {
            cut_off: Some(cut_off(&bob())),
        },
    );
    cases.valid("leave: a hard debt", "log", log.input());
    log.change(&alice(), LEAVE);
    cases.valid(
        "a second leave: the debt is that of the first",
        "log",
        log.input(),
    );
    let paid = log.rekey(&carol(), Vec::new());
    log.push(&carol(), paid);
    cases.valid("rekey pays it", "log", log.input());
    log.change(&carol(), LEAVE);
    cases.valid("the last member leaves: the group has ended", "log", log.input());

    let mut log = three.clone();
    log.change(&alice(), LEAVE);
    cases.valid("an admin leaves, another stays", "log", log.input());
    log.change(&carol(), LEAVE);
    cases.valid(
        "the last admin leaves: the earliest-joined member follows",
        "log",
        log.input(),
    );
    let again = log.invite(&bob(), &alice(), Role::Member);
    let accept = log.rekey(&alice(), vec![Change::Accept { invite: again }]);
    log.push(&alice(), accept);
    cases.valid(
        "a former member comes back, at the end of the order",
        "log",
        log.input(),
    );

    let mut log = three.clone();
    let swap = vec![remove(&bob(), None), invite(&dave(), Role::Member)];
    let commit = log.rekey(&alice(), swap);
    log.push(&alice(), commit);
    cases.valid(
        "remove one identity and invite another in one commit",
        "log",
        log.input(),
    );
    let mut log = three.clone();
    let commit = log.commit(
        &alice(),
        vec![role(&bob(), Role::Admin), role(&alice(), Role::Member)],
    );
    log.push(&alice(), commit);
    cases.valid("later changes see earlier ones", "log", log.input());
    let mut log = three;
    log.change(&carol(), Change::Disband);
    cases.valid("disband", "log", log.input());
}

fn evidence(cases: &mut Cases) {
    let log = Log::of_three();
    let a = alice().identity.sign_document(&log.rekey(&alice(), Vec::new()));
    let b = bob().identity.sign_document(&log.rekey(&bob(), Vec::new()));
    let mut longer = log.clone();
    longer.change(&alice(), invite(&dave(), Role::Member));
    let c = carol()
        .identity
        .sign_document(&longer.rekey(&carol(), Vec::new()));
    let other = Log::begin(&dave(), policy(JoinPolicy::Open, Role::Admin));
    let d = dave().identity.sign_document(&other.rekey(&dave(), Vec::new()));
    let creates = [log.commits[0].clone(), other.commits[0].clone()];
    cases.valid(
        "two commits on one parent",
        "equivocation",
        input(&[a.clone(), b]),
    );
    cases.valid("one commit twice", "equivocation", input(&[a.clone(), a.clone()]));
    cases.valid("other positions", "equivocation", input(&[a.clone(), c]));
    cases.valid("other groups", "equivocation", input(&[a, d]));
    cases.valid("two groups begin", "equivocation", input(&creates));
}

fn cut_offs(cases: &mut Cases) {
    let (session, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    for (comment, incarnation, in_session, n) in [
        ("the last one", 5, session, 17),
        ("one below", 5, session, 16),
        ("one beyond", 5, session, 18),
        ("another session", 5, other, 1),
        ("an earlier incarnation", 4, other, 99),
        ("a later incarnation", 6, session, 1),
    ] {
        let input = json!({"cut_incarnation": 5, "cut_session": hex(session.as_bytes()), "cut_n": 17,
            "incarnation": incarnation, "session": hex(in_session.as_bytes()), "n": n});
        cases.valid(comment, "cut_off", input);
    }
}
