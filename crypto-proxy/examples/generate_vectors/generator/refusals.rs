//! Logs whose last commit breaks one rule.

use waxwire_proxy::vectors::Layer;
use waxwire_shared::{
    hash::sha256,
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{Change, Commit, Document as _, InviteRef, JoinPolicy, Rekey, Role},
};

use super::{
    Cases,
    rosters::{LEAVE, Log, commitment, create, first, input, invite, join, policy, remove, role},
    world::*,
};

pub(super) fn refusals() -> Cases {
    let mut cases = Cases::new(
        "6.2 to 6.5",
        "logs whose last commit breaks one rule; the others hold",
    );
    creates(&mut cases);
    places(&mut cases);
    memberships(&mut cases);
    invites(&mut cases);
    rekeys(&mut cases);
    endings(&mut cases);
    cases
}

fn creates(cases: &mut Cases) {
    let alice = alice();
    let changes = || vec![create(&alice, policy(JoinPolicy::Invite, Role::Admin))];
    let good = || first(&alice, changes());
    let mut bad = |comment: &str, change: &dyn Fn(&mut Commit)| {
        let mut commit = good();
        change(&mut commit);
        let bytes = alice.identity.sign_document(&commit);
        cases.invalid(comment, "log", input(&[bytes]), Layer::Rule);
    };
    let rekey = |commit: &mut Commit, change: &dyn Fn(&mut Rekey)| change(commit.rekey.as_mut().unwrap());
    bad("create at position 1", &|c| c.position = 1);
    bad("create in a group", &|c| {
        c.group = Some(super::samples::group_id())
    });
    bad("create after another commit", &|c| c.previous = Some(hash(1)));
    bad("create with a suite that nobody knows", &|c| {
        c.suite = Suite(9);
        rekey(c, &|r| r.suite = Suite(9));
    });
    bad("create without a rekey", &|c| c.rekey = None);
    bad("create without create", &|c| c.changes = vec![Change::Disband]);
    bad("create without any change", &|c| c.changes.clear());
    bad("create twice", &|c| c.changes = [changes(), changes()].concat());
    bad("create is not the first change", &|c| {
        c.changes.insert(0, Change::Disband)
    });
    bad("create with epoch 2", &|c| rekey(c, &|r| r.epoch = 2));
    bad("create with two leaves", &|c| rekey(c, &|r| r.leaves = 2));
    bad("create with another roster hash", &|c| {
        rekey(c, &|r| r.roster = hash(1))
    });
    bad("create and leave", &|c| c.changes.push(LEAVE));
    let bob_signs = bob().identity.sign_document(&good());
    cases.invalid(
        "create by somebody else",
        "log",
        input(&[bob_signs]),
        Layer::Signature,
    );
    let invite_only = Log::begin(&alice, policy(JoinPolicy::Invite, Role::Admin));
    let other = alice.identity.sign_document(&good());
    cases.invalid(
        "a second create",
        "log",
        input(&[invite_only.commits[0].clone(), other]),
        Layer::Rule,
    );
}

fn places(cases: &mut Cases) {
    let alice = alice();
    let log = Log::of_three();
    let mut bad = |comment: &str, change: &dyn Fn(&mut Commit)| {
        let mut commit = log.rekey(&alice, Vec::new());
        change(&mut commit);
        cases.invalid(comment, "log", log.with(&alice, &commit), Layer::Rule);
    };
    bad("a position is skipped", &|c| c.position += 1);
    bad("a position is used again", &|c| c.position -= 1);
    bad("another predecessor", &|c| {
        c.previous = Some(sha256(&log.commits[0]))
    });
    bad("no predecessor", &|c| c.previous = None);
    bad("no group", &|c| c.group = None);
    bad("another group", &|c| c.group = Some(super::samples::group_id()));
    bad("another suite", &|c| c.suite = Suite::HYBRID);
    bad("nothing in it", &|c| c.rekey = None);
    let replayed = [&log.commits[..], &log.commits[4..]].concat();
    cases.invalid("the last commit again", "log", input(&replayed), Layer::Rule);
    let commit = log.rekey(&alice, Vec::new());
    cases.invalid(
        "signed by another member",
        "log",
        log.with(&bob(), &commit),
        Layer::Signature,
    );
    let body = commit.encode();
    let signature = alice.identity.sign(Label::SigBundle, &[&body]);
    let other_label = [&log.commits[..], &[SignedBytes { body, signature }.encode()]].concat();
    cases.invalid(
        "signed under another label",
        "log",
        input(&other_label),
        Layer::Signature,
    );
    let mut many = log.commit(&alice, Vec::new());
    many.changes = vec![
        Change::Policy {
            policy: log.roster.policy().clone()
        };
        65
    ];
    cases.invalid("65 changes", "log", log.with(&alice, &many), Layer::Decode);
}

fn memberships(cases: &mut Cases) {
    let (alice, bob, carol, dave) = (alice(), bob(), carol(), dave());
    let log = Log::of_three();
    let mut bad = |comment: &str, signer: &Agent, changes: Vec<Change>| {
        let mut commit = log.commit(signer, changes);
        if commit
            .changes
            .iter()
            .any(|change| matches!(change, Change::Remove { .. }))
        {
            // The rekey of a good commit: the fault is elsewhere.
            commit.rekey = log.rekey(&alice, Vec::new()).rekey;
        }
        cases.invalid(comment, "log", log.with(signer, &commit), Layer::Rule);
    };
    let anybody = policy(JoinPolicy::Open, Role::Member);
    bad("member removes", &bob, vec![remove(&carol, None)]);
    bad("member sets a role", &bob, vec![role(&bob, Role::Admin)]);
    bad(
        "member sets the policy",
        &bob,
        vec![Change::Policy {
            policy: anybody.clone(),
        }],
    );
    bad("member disbands", &bob, vec![Change::Disband]);
    bad("stranger removes", &dave, vec![remove(&bob, None)]);
    bad("stranger sets a role", &dave, vec![role(&bob, Role::Admin)]);
    bad(
        "stranger sets the policy",
        &dave,
        vec![Change::Policy { policy: anybody }],
    );
    bad("stranger disbands", &dave, vec![Change::Disband]);
    bad("stranger leaves", &dave, vec![LEAVE]);
    bad("stranger joins a closed group", &dave, vec![join(&dave)]);
    bad("admin removes herself", &alice, vec![remove(&alice, None)]);
    bad("removes who is no member", &alice, vec![remove(&dave, None)]);
    bad(
        "removes twice",
        &alice,
        vec![remove(&bob, None), remove(&bob, None)],
    );
    bad("role of who is no member", &alice, vec![role(&dave, Role::Admin)]);
    bad("leaves twice", &bob, vec![LEAVE, LEAVE]);
    bad("leaves and goes on", &alice, vec![LEAVE, role(&bob, Role::Admin)]);
    bad(
        "demotes herself and goes on",
        &alice,
        vec![role(&alice, Role::Member), role(&bob, Role::Admin)],
    );
    let only = vec![role(&carol, Role::Member), role(&alice, Role::Member)];
    bad("demotes the last admin", &alice, only);
    let without_rekey = log.commit(&alice, vec![remove(&bob, None)]);
    cases.invalid(
        "remove without a rekey",
        "log",
        log.with(&alice, &without_rekey),
        Layer::Rule,
    );
    let mut open = Log::begin(&alice, policy(JoinPolicy::Open, Role::Admin));
    open.change(&bob, join(&bob));
    let again = open.commit(&bob, vec![join(&bob)]);
    cases.invalid("joins twice", "log", open.with(&bob, &again), Layer::Rule);
    let mut gone = log.clone();
    gone.change(&bob, LEAVE);
    let speaks = gone.rekey(&carol, Vec::new());
    let by_bob = Commit {
        signer: bob.key(),
        ..speaks
    };
    cases.invalid(
        "a former member rekeys",
        "log",
        gone.with(&bob, &by_bob),
        Layer::Rule,
    );
}

fn invites(cases: &mut Cases) {
    let (alice, bob, carol, dave) = (alice(), bob(), carol(), dave());
    let log = Log::of_three();
    let mut refuse = |comment: &str, log: &Log, signer: &Agent, changes: Vec<Change>| {
        cases.invalid(
            comment,
            "log",
            log.with(signer, &log.commit(signer, changes)),
            Layer::Rule,
        );
    };
    refuse(
        "member invites where admins do",
        &log,
        &bob,
        vec![invite(&dave, Role::Member)],
    );
    refuse("stranger invites", &log, &dave, vec![invite(&dave, Role::Admin)]);
    refuse("invites a member", &log, &alice, vec![invite(&bob, Role::Member)]);
    let twice = vec![invite(&dave, Role::Member), invite(&dave, Role::Member)];
    refuse("invites somebody twice in one commit", &log, &alice, twice);
    let mut members_invite = log.clone();
    members_invite.change(
        &alice,
        Change::Policy {
            policy: policy(JoinPolicy::Invite, Role::Member),
        },
    );
    refuse(
        "member invites an admin",
        &members_invite,
        &bob,
        vec![invite(&dave, Role::Admin)],
    );

    let mut invited = log.clone();
    let reference = invited.invite(&carol, &dave, Role::Member);
    let accept = |reference: &InviteRef| {
        vec![Change::Accept {
            invite: reference.clone(),
        }]
    };
    let uninvite = |reference: &InviteRef| {
        vec![Change::Uninvite {
            invite: reference.clone(),
        }]
    };
    refuse(
        "invites somebody twice",
        &invited,
        &alice,
        vec![invite(&dave, Role::Admin)],
    );
    refuse(
        "accepts the invite of another",
        &invited,
        &bob,
        accept(&reference),
    );
    refuse(
        "member withdraws another's invite",
        &invited,
        &bob,
        uninvite(&reference),
    );
    refuse("invitee withdraws", &invited, &dave, uninvite(&reference));
    let index = InviteRef {
        index: 1,
        ..reference.clone()
    };
    refuse("accepts at another index", &invited, &dave, accept(&index));
    let elsewhere = InviteRef {
        commit: hash(1),
        ..reference.clone()
    };
    refuse(
        "accepts what was never offered",
        &invited,
        &dave,
        accept(&elsewhere),
    );

    let mut used = invited.clone();
    used.change(&dave, accept(&reference).remove(0));
    refuse("accepts twice", &used, &dave, accept(&reference));
    used.change(&dave, LEAVE);
    refuse("accepts again after leaving", &used, &dave, accept(&reference));
    let mut withdrawn = invited.clone();
    withdrawn.change(&alice, uninvite(&reference).remove(0));
    refuse(
        "accepts what was withdrawn",
        &withdrawn,
        &dave,
        accept(&reference),
    );
    refuse("withdraws twice", &withdrawn, &alice, uninvite(&reference));
    let mut inviter_left = invited.clone();
    inviter_left.change(&carol, LEAVE);
    refuse(
        "accepts after the inviter left",
        &inviter_left,
        &dave,
        accept(&reference),
    );
    let mut inviter_demoted = invited.clone();
    inviter_demoted.change(&alice, role(&carol, Role::Member));
    refuse(
        "accepts after the inviter was demoted",
        &inviter_demoted,
        &dave,
        accept(&reference),
    );
    let mut inviter_removed = invited.clone();
    let commit = inviter_removed.rekey(&alice, vec![remove(&carol, None)]);
    inviter_removed.push(&alice, commit);
    refuse(
        "accepts after the inviter was removed",
        &inviter_removed,
        &dave,
        accept(&reference),
    );
}

fn rekeys(cases: &mut Cases) {
    let (alice, bob, dave) = (alice(), bob(), dave());
    let log = Log::of_three();
    let mut bad = |comment: &str, change: &dyn Fn(&mut Rekey)| {
        let mut commit = log.rekey(&bob, Vec::new());
        change(commit.rekey.as_mut().unwrap());
        cases.invalid(comment, "log", log.with(&bob, &commit), Layer::Rule);
    };
    bad("the current epoch again", &|r| r.epoch -= 1);
    bad("an epoch is skipped", &|r| r.epoch += 1);
    bad("another suite for the epoch", &|r| r.suite = Suite::HYBRID);
    bad("a commitment that was used in the first epoch", &|r| {
        r.commitment = commitment(1)
    });
    bad("the commitment of the current epoch", &|r| {
        r.commitment = commitment(3)
    });
    bad("a leaf too few", &|r| r.leaves -= 1);
    bad("a leaf too many", &|r| r.leaves += 1);
    bad("another roster hash", &|r| r.roster = hash(1));
    let by_stranger = Commit {
        signer: dave.key(),
        ..log.rekey(&alice, Vec::new())
    };
    cases.invalid(
        "stranger rekeys",
        "log",
        log.with(&dave, &by_stranger),
        Layer::Rule,
    );
    let leaving = Commit {
        changes: vec![LEAVE],
        ..log.rekey(&bob, Vec::new())
    };
    cases.invalid(
        "rekeys while leaving",
        "log",
        log.with(&bob, &leaving),
        Layer::Rule,
    );
    // The rekey of before the removal: a leaf for the removed and the old roster's hash.
    let with_removed = Commit {
        changes: vec![remove(&bob, None)],
        ..log.rekey(&alice, Vec::new())
    };
    cases.invalid(
        "remove with a leaf for the removed",
        "log",
        log.with(&alice, &with_removed),
        Layer::Rule,
    );
    let mut stale = log.rekey(&alice, vec![remove(&bob, None)]);
    stale.rekey.as_mut().unwrap().roster = log.rekey(&alice, Vec::new()).rekey.unwrap().roster;
    cases.invalid(
        "remove with the hash of the roster before",
        "log",
        log.with(&alice, &stale),
        Layer::Rule,
    );
}

fn endings(cases: &mut Cases) {
    let (alice, bob) = (alice(), bob());
    let mut disbanded = Log::of_three();
    disbanded.change(&alice, Change::Disband);
    let mut left = Log::begin(&alice, policy(JoinPolicy::Open, Role::Admin));
    left.change(&alice, LEAVE);
    for (comment, log, signer) in [
        ("after a disband", &disbanded, &alice),
        ("after the last leave", &left, &bob),
    ] {
        let commit = log.commit(signer, vec![join(signer)]);
        cases.invalid(comment, "log", log.with(signer, &commit), Layer::Rule);
    }
    let log = Log::of_three();
    let more = log.commit(&alice, vec![Change::Disband, invite(&dave(), Role::Member)]);
    cases.invalid(
        "a change after disband",
        "log",
        log.with(&alice, &more),
        Layer::Rule,
    );
    let rekeyed = Commit {
        changes: vec![Change::Disband],
        ..log.rekey(&alice, Vec::new())
    };
    cases.invalid(
        "a rekey with disband",
        "log",
        log.with(&alice, &rekeyed),
        Layer::Rule,
    );
}
