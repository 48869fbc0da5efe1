//! Rules of single changes.

use super::*;

/// docs/protocol.md, 6.3, remove, role, policy, disband: removal, roles, policy and disbanding are for admins.
#[test]
fn admin_changes_need_an_admin() {
    let mut group = Group::with(&[(2, Plain), (3, Plain)]);
    let changes = [
        Agent::new(3).role(Admin),
        Change::Policy {
            policy: policy(JoinPolicy::Open, Plain),
        },
        Change::Disband,
        Agent::new(3).remove(),
    ];
    for change in changes {
        let needed = Admin;
        assert_eq!(
            group.change(2, change.clone()),
            Err(CommitError::Role { index: 0, needed }),
            "{change:?}"
        );
        assert_eq!(
            group.change(9, change.clone()),
            Err(CommitError::NotMember),
            "{change:?}"
        );
        let commit = match change {
            Change::Remove { .. } => group.rekey(1, vec![change]),
            _ => group.commit(1, vec![change]),
        };
        group.roster.clone().apply(&Agent::new(1).sign(&commit)).unwrap();
    }
}

/// docs/protocol.md, 6.3, invite: who may invite says the policy, and nobody invites above their own role.
#[test]
fn invite_follows_the_policy() {
    let mut group = Group::with(&[(2, Plain)]);
    let needed = Admin;
    assert_eq!(
        group.invite(2, 3, Plain),
        Err(CommitError::Role { index: 0, needed })
    );
    assert_eq!(group.invite(9, 3, Plain), Err(CommitError::NotMember));
    let policy = policy(JoinPolicy::Invite, Plain);
    group.change(1, Change::Policy { policy }).unwrap();
    assert_eq!(
        group.invite(2, 3, Admin),
        Err(CommitError::Role { index: 0, needed })
    );
    group.invite(2, 3, Plain).unwrap();
    assert_eq!(
        group.invite(1, 3, Plain),
        Err(CommitError::AlreadyInvited { index: 0 })
    );
    assert_eq!(
        group.invite(1, 2, Plain),
        Err(CommitError::AlreadyMember { index: 0 })
    );
    let twice = group.commit(1, vec![Agent::new(4).invite(Plain), Agent::new(4).invite(Admin)]);
    assert_eq!(group.apply(&twice), Err(CommitError::AlreadyInvited { index: 1 }));
}

/// docs/protocol.md, 6.3, accept, and 6.4: an invite is used once, by the identity that it names.
#[test]
fn accept_is_for_the_invited_identity_and_once() {
    let mut group = Group::by_invite();
    let invite = group.invite(1, 2, Plain).unwrap();
    assert_eq!(
        group.accept(3, invite.clone()),
        Err(CommitError::NotInvited { index: 0 })
    );
    let other = InviteRef {
        index: 1,
        ..invite.clone()
    };
    assert_eq!(
        group.accept(2, other),
        Err(CommitError::NoSuchInvite { index: 0 })
    );
    group.accept(2, invite.clone()).unwrap();
    assert_eq!(group.roles(), [(1, Admin), (2, Plain)]);
    assert_eq!(group.roster.members()[1].joined, group.roster.position());
    assert_eq!(
        group.accept(2, invite.clone()),
        Err(CommitError::NoSuchInvite { index: 0 })
    );
    group.change(2, LEAVE).unwrap();
    assert_eq!(
        group.accept(2, invite),
        Err(CommitError::NoSuchInvite { index: 0 })
    );
}

/// docs/protocol.md, 6.3, uninvite: an invite is withdrawn by its inviter or an admin.
#[test]
fn uninvite_is_for_the_inviter_and_admins() {
    let mut group = Group::with(&[(2, Plain), (3, Plain)]);
    let policy = policy(JoinPolicy::Invite, Plain);
    group.change(1, Change::Policy { policy }).unwrap();
    for (by, expected) in [
        (
            3,
            Err(CommitError::Role {
                index: 0,
                needed: Admin,
            }),
        ),
        (9, Err(CommitError::NotMember)),
        (2, Ok(())),
        (1, Ok(())),
    ] {
        let invite = group.invite(2, 4, Plain).unwrap();
        let uninvite = Change::Uninvite {
            invite: invite.clone(),
        };
        assert_eq!(group.change(by, uninvite.clone()).map(drop), expected);
        if expected.is_err() {
            group.change(1, uninvite.clone()).unwrap();
        }
        assert_eq!(
            group.accept(4, invite),
            Err(CommitError::NoSuchInvite { index: 0 })
        );
        assert_eq!(
            group.change(1, uninvite),
            Err(CommitError::NoSuchInvite { index: 0 })
        );
    }
}

/// docs/protocol.md, 6.4: an invite dies with the removal, leave or demotion of its inviter.
#[test]
fn invite_dies_with_its_inviter() {
    let removed = |group: &mut Group| {
        let commit = group.rekey(1, vec![Agent::new(2).remove()]);
        group.apply(&commit).unwrap()
    };
    let left = |group: &mut Group| group.change(2, LEAVE).unwrap();
    let demoted = |group: &mut Group| group.change(1, Agent::new(2).role(Plain)).unwrap();
    let ends: [&dyn Fn(&mut Group) -> Applied; 3] = [&removed, &left, &demoted];
    for end in ends {
        let mut group = Group::with(&[(2, Admin)]);
        let invite = group.invite(2, 3, Plain).unwrap();
        let applied = end(&mut group);
        assert_eq!(applied.dead_invites[0].reference, invite);
        assert_eq!(
            group.accept(3, invite),
            Err(CommitError::NoSuchInvite { index: 0 })
        );
    }
    // Promotion is no demotion.
    let mut group = Group::with(&[(2, Plain)]);
    let policy = policy(JoinPolicy::Invite, Plain);
    group.change(1, Change::Policy { policy }).unwrap();
    let invite = group.invite(2, 3, Plain).unwrap();
    group.change(1, Agent::new(2).role(Admin)).unwrap();
    group.accept(3, invite).unwrap();
}

/// docs/protocol.md, 6.4: an invite can be used at the next 1,000 positions.
#[test]
fn invite_dies_of_age() {
    let mut group = Group::by_invite();
    let young = group.invite(1, 2, Plain).unwrap();
    let policy = policy(JoinPolicy::Invite, Admin);
    for _ in 0..999 {
        group
            .change(
                1,
                Change::Policy {
                    policy: policy.clone(),
                },
            )
            .unwrap();
    }
    assert_eq!(group.roster.invites().count(), 1);
    group.clone_accept(2, young.clone()).unwrap();
    group.change(1, Change::Policy { policy }).unwrap();
    assert_eq!(group.roster.invites().count(), 0);
    assert_eq!(
        group.clone_accept(2, young),
        Err(CommitError::NoSuchInvite { index: 0 })
    );
    group.invite(1, 2, Plain).unwrap();
}

impl Group {
    fn clone_accept(&self, by: u8, invite: InviteRef) -> Result<Applied, CommitError> {
        let commit = self.commit(by, vec![Change::Accept { invite }]);
        self.roster.clone().apply(&Agent::new(by).sign(&commit))
    }
}

/// docs/protocol.md, 6.3, join, and 6.4: join only where the policy is open; an invite of the joiner is used up.
#[test]
fn join_needs_an_open_group() {
    let mut group = Group::by_invite();
    assert_eq!(group.change(2, Agent::new(2).join()), Err(CommitError::NotOpen));
    let invite = group.invite(1, 2, Plain).unwrap();
    let policy = policy(JoinPolicy::Open, Admin);
    group.change(1, Change::Policy { policy }).unwrap();
    group.change(2, Agent::new(2).join()).unwrap();
    assert_eq!(group.roles(), [(1, Admin), (2, Plain)]);
    assert_eq!(
        group.change(2, Agent::new(2).join()),
        Err(CommitError::AlreadyMember { index: 0 })
    );
    group.change(2, LEAVE).unwrap();
    assert_eq!(
        group.accept(2, invite),
        Err(CommitError::NoSuchInvite { index: 0 })
    );
}

/// docs/protocol.md, 6.3, accept and join: a group has at most 10,000 members.
#[test]
fn member_ten_thousand_and_one_cannot_enter() {
    let mut group = Group::new(policy(JoinPolicy::Open, Admin));
    let invite = group.invite(1, 3, Plain).unwrap();
    let one = group.roster.parts.members[0].clone();
    group.roster.parts.members.resize(9_999, one.clone());
    group.clone_accept(3, invite.clone()).unwrap();
    let join = group.commit(2, vec![Agent::new(2).join()]);
    assert!(group.roster.clone().apply(&Agent::new(2).sign(&join)).is_ok());
    group.roster.parts.members.push(one);
    assert_eq!(group.clone_accept(3, invite).map(drop), Err(CommitError::Full));
    assert_eq!(group.apply(&join).map(drop), Err(CommitError::Full));
}

/// docs/protocol.md, 6.2, step 5, and 6.3, remove: a removal carries a rekey without the removed.
#[test]
fn remove_needs_a_rekey_in_the_same_commit() {
    let mut group = Group::with(&[(2, Plain)]);
    let remove = Agent::new(2).remove();
    assert_eq!(
        group.change(1, remove.clone()),
        Err(CommitError::RemoveWithoutRekey)
    );
    assert_eq!(
        group.change(1, Agent::new(1).remove()),
        Err(CommitError::SelfRemove)
    );
    assert_eq!(
        group.change(1, Agent::new(3).remove()),
        Err(CommitError::NoSuchMember { index: 0 })
    );
    let commit = group.rekey(1, vec![remove]);
    assert_eq!(commit.rekey.as_ref().unwrap().leaves, 1);
    let applied = group.apply(&commit).unwrap();
    assert_eq!(applied.epoch, Some(2));
    assert_eq!(group.roles(), [(1, Admin)]);
    assert_eq!(group.roster.hard_debt(), None);
}

/// docs/protocol.md, 6.3, remove and leave, and 6.8, step 7: cut-offs are kept for the departed and end when
/// they are members again.
#[test]
fn cut_offs_are_recorded() {
    let mut group = Group::with(&[(2, Plain), (3, Plain)]);
    let cut_off = CutOff {
        incarnation: 4,
        session: SessionId::from_bytes([1; 16]),
        n: 7,
    };
    let leave = Change::Leave {
        cut_off: Some(cut_off.clone()),
    };
    group.change(2, leave).unwrap();
    let departure = group.roster.departure(&Agent::new(2).identity).unwrap();
    assert_eq!(
        (departure.cut_off.as_ref(), departure.removed),
        (Some(&cut_off), false)
    );
    let commit = group.rekey(1, vec![Agent::new(3).remove()]);
    group.apply(&commit).unwrap();
    let departure = group.roster.departure(&Agent::new(3).identity).unwrap();
    assert_eq!((departure.cut_off.as_ref(), departure.removed), (None, true));
    group.add(2, Plain);
    assert_eq!(group.roster.departure(&Agent::new(2).identity), None);

    let (same, other) = (&cut_off.session, &SessionId::from_bytes([2; 16]));
    assert!(cut_off.admits(4, same, 7) && cut_off.admits(3, other, 99));
    assert!(!cut_off.admits(4, same, 8) && !cut_off.admits(4, other, 1) && !cut_off.admits(5, same, 1));
}

/// docs/protocol.md, 6.3, leave: when the last admin leaves, the earliest-joined member is admin.
#[test]
fn last_admin_leaving_promotes_the_earliest_joined() {
    let mut group = Group::with(&[(3, Plain), (2, Plain)]);
    let applied = group.change(1, LEAVE).unwrap();
    assert_eq!(applied.promoted, [Agent::new(3).identity]);
    assert_eq!(group.roles(), [(3, Admin), (2, Plain)]);
    let mut group = Group::with(&[(3, Plain), (2, Admin)]);
    let applied = group.change(1, LEAVE).unwrap();
    assert!(applied.promoted.is_empty());
    assert_eq!(group.roles(), [(3, Plain), (2, Admin)]);
}

/// docs/protocol.md, 6.3, role: the last admin cannot be demoted, by anybody.
#[test]
fn attack_21_last_admin_cannot_be_demoted() {
    let mut group = Group::with(&[(2, Plain)]);
    assert_eq!(
        group.change(1, Agent::new(1).role(Plain)),
        Err(CommitError::LastAdmin)
    );
    group.change(1, Agent::new(1).role(Admin)).unwrap();
    group.change(1, Agent::new(2).role(Admin)).unwrap();
    group.change(2, Agent::new(1).role(Plain)).unwrap();
    assert_eq!(
        group.change(2, Agent::new(2).role(Plain)),
        Err(CommitError::LastAdmin)
    );
    assert_eq!(
        group.change(2, Agent::new(9).role(Plain)),
        Err(CommitError::NoSuchMember { index: 0 })
    );
}

/// docs/protocol.md, 6.2, step 4: changes are evaluated from left to right.
#[test]
fn later_changes_see_earlier_ones() {
    let mut group = Group::with(&[(2, Plain)]);
    // Promoting the successor first makes the demotion possible; the other way round it is not.
    let promote = Agent::new(2).role(Admin);
    let step_down = Agent::new(1).role(Plain);
    let wrong = group.commit(1, vec![step_down.clone(), promote.clone()]);
    assert_eq!(group.apply(&wrong), Err(CommitError::LastAdmin));
    let right = group.commit(1, vec![promote, step_down.clone(), step_down]);
    assert_eq!(
        group.apply(&right),
        Err(CommitError::Role {
            index: 2,
            needed: Admin
        }),
        "the signer's role is that of the chain position"
    );
    let gone = group.commit(2, vec![LEAVE, LEAVE]);
    assert_eq!(group.apply(&gone), Err(CommitError::NotMember));
    // Remove and invite again: a new identity of the same agent, in one commit.
    let swap = vec![Agent::new(2).remove(), Agent::new(3).invite(Plain)];
    let swap = group.rekey(1, swap);
    let applied = group.apply(&swap).unwrap();
    assert_eq!(applied.invited[0].reference.index, 1);
}

/// docs/protocol.md, 6.2, step 4: at most 64 changes.
#[test]
fn changes_are_bounded() {
    let group = Group::by_invite();
    let policy = Change::Policy {
        policy: group.roster.policy().clone(),
    };
    let founder = Agent::new(1).identity;
    assert!(group.roster.plan(&founder, &vec![policy.clone(); 64]).is_ok());
    assert_eq!(
        group.roster.plan(&founder, &vec![policy.clone(); 65]),
        Err(CommitError::TooManyChanges)
    );
    let commit = group.commit(1, vec![policy; 65]).encode();
    assert_eq!(
        Commit::decode(&commit),
        Err(crate::wire::DecodeError::Value { what: "changes" })
    );
}
