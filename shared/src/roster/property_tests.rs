//! Random logs keep the invariants; random damage is refused and changes nothing.

use proptest::prelude::*;

use super::{tests::*, *};
use crate::{hash::sha256, wire::JoinPolicy};

/// An intention, resolved against whatever the roster is when its turn comes.
#[derive(Debug, Clone)]
struct Step {
    signer: u8,
    target: u8,
    what: u8,
    admin: bool,
    rekey: bool,
    damage: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        1_u8..8,
        1_u8..8,
        0_u8..12,
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(|(signer, target, what, admin, rekey, damage)| Step {
            signer,
            target,
            what,
            admin,
            rekey,
            damage,
        });
    prop::collection::vec(step, 1..40)
}

fn change(roster: &Roster, step: &Step) -> Change {
    let (signer, target) = (Agent::new(step.signer), Agent::new(step.target));
    let role = if step.admin { Role::Admin } else { Role::Member };
    let join = if step.admin {
        JoinPolicy::Open
    } else {
        JoinPolicy::Invite
    };
    let invite_of = |whom: &Agent| {
        let invite = roster.invites().find(|invite| invite.identity == whom.identity);
        invite.map(|invite| invite.reference.clone())
    };
    let leave = LEAVE;
    match step.what {
        0..=2 => Change::Invite {
            identity: target.identity,
            handle: target.handle,
            role,
        },
        3..=5 => invite_of(&signer).map_or(leave, |invite| Change::Accept { invite }),
        6 => invite_of(&target).map_or(leave, |invite| Change::Uninvite { invite }),
        7 => Change::Join {
            handle: signer.handle,
        },
        8 => Change::Remove {
            identity: target.identity,
            cut_off: None,
        },
        9 => leave,
        10 => Change::Role {
            identity: target.identity,
            role,
        },
        _ => Change::Policy {
            policy: policy(join, role),
        },
    }
}

fn found() -> Roster {
    let founder = Agent::new(1);
    let changes = vec![create_change(&founder, policy(JoinPolicy::Invite, Role::Member))];
    let plan = Roster::plan_create(&founder.identity, &changes).unwrap();
    let mut commit = first(&founder, changes);
    commit.rekey = Some(rekey_of(&plan, commit.suite));
    Roster::create(&founder.sign(&commit)).unwrap()
}

fn assert_invariants(roster: &Roster) {
    let members = roster.members();
    assert_eq!(members.is_empty(), roster.has_ended());
    if !members.is_empty() {
        assert!(
            members.iter().any(|member| member.role == Role::Admin),
            "no admin"
        );
    }
    for (index, member) in members.iter().enumerate() {
        assert!(
            members[..index]
                .iter()
                .all(|other| other.identity != member.identity)
        );
        assert!(members[..index].iter().all(|other| other.joined <= member.joined));
        assert!(roster.departure(&member.identity).is_none());
        assert!(roster.invites().all(|invite| invite.identity != member.identity));
    }
    for invite in roster.invites() {
        assert!(roster.member(&invite.inviter).is_some());
        assert_eq!(
            roster
                .invites()
                .filter(|other| other.identity == invite.identity)
                .count(),
            1
        );
    }
    for debt in [roster.hard_debt(), roster.soft_debt()].into_iter().flatten() {
        assert!(debt > roster.rekey_position() && debt <= roster.position());
    }
    assert_eq!(roster.hash(), roster.clone().hash());
}

fn damaged(commit: &Commit, damage: u8) -> Commit {
    let mut bad = commit.clone();
    match (damage % 7, bad.rekey.as_mut()) {
        (0, _) => bad.position += 1,
        (1, _) => bad.previous = Some(sha256(b"other")),
        (2, _) => bad.group = None,
        (3, _) => bad.suite = Suite::HYBRID,
        (4, Some(rekey)) => rekey.epoch += 1,
        (5, Some(rekey)) => rekey.leaves += 1,
        (6, Some(rekey)) => rekey.roster = sha256(b"other"),
        _ => bad.position -= 1,
    }
    bad
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// docs/protocol.md, 6.1 and 6.3: validity is a function of the log; nobody moves in roster order.
    #[test]
    fn random_logs_keep_the_invariants(steps in steps()) {
        let mut roster = found();
        let mut log = Vec::new();
        let mut commitments = 0_u64;
        for step in steps {
            let signer = Agent::new(step.signer);
            let changes = vec![change(&roster, &step)];
            let mut commit = next(&roster, &signer, changes);
            let planned = roster.plan(&signer.identity, &commit.changes);
            if let Ok(plan) = &planned
                && (step.rekey || plan.must_rekey)
                && plan.members.iter().any(|member| member.identity == signer.identity)
            {
                commitments += 1;
                let mut rekey = rekey_of(plan, commit.suite);
                rekey.commitment = sha256(&commitments.to_le_bytes());
                commit.rekey = Some(rekey);
            }
            let before = roster.clone();
            let bad = damaged(&commit, step.damage);
            prop_assert!(roster.apply(&signer.sign(&bad)).is_err());
            prop_assert_eq!(&roster, &before);

            let commit = signer.sign(&commit);
            match (roster.apply(&commit), planned) {
                (Ok(applied), Ok(plan)) => {
                    prop_assert_eq!(&plan.members, &roster.parts.members);
                    prop_assert_eq!(plan.roster, roster.hash());
                    prop_assert_eq!(applied.epoch, commit.body().rekey.as_ref().map(|rekey| rekey.epoch));
                    log.push(commit);
                }
                (Err(error), Err(planned)) => {
                    prop_assert_eq!(error, planned);
                    prop_assert_eq!(&roster, &before);
                }
                (found, planned) => prop_assert!(false, "{found:?} {planned:?}"),
            }
            assert_invariants(&roster);
            if roster.has_ended() {
                break;
            }
        }
        // The same log gives the same roster.
        let mut again = found();
        for commit in &log {
            again.apply(commit).unwrap();
        }
        prop_assert_eq!(again, roster);
    }
}
