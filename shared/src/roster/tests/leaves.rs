//! Leaves, evidence and history.

use super::*;

/// docs/protocol.md, 6.5, adopting, steps 1 and 2: a leaf belongs to one place, one member and one root.
#[test]
fn leaves_are_bound_to_root_place_and_member() {
    let group = Group::with(&[(2, Plain), (3, Plain)]);
    let leaf = |(index, member): (u32, &Arc<Member>)| Leaf {
        index,
        identity: member.identity.clone(),
        content: LeafContent::Sealed {
            key_number: 1,
            suite: Suite::CLASSIC,
            sealed: vec![7; 96],
        },
    };
    let members = group.roster.members();
    let leaves: Vec<Leaf> = (0..).zip(members).map(leaf).collect();
    let encoded = |leaves: &[Leaf]| Leaves {
        leaves: leaves.iter().map(Leaf::encode).collect(),
    };
    let rekey = |leaves: &Leaves| Rekey {
        root: leaves_root(leaves),
        ..group.rekey(1, vec![]).rekey.unwrap()
    };
    let good = encoded(&leaves);
    let rekeyed = rekey(&good);
    assert_eq!(check_leaves(&rekeyed, members, &good), Ok(()));
    let hashes: Vec<Hash> = good
        .leaves
        .iter()
        .map(|leaf| crate::merkle::leaf_hash(leaf))
        .collect();
    for (index, member) in (0_u32..).zip(members) {
        let place = index as usize;
        let path = crate::merkle::inclusion_path(&hashes, place);
        let verify = |index: u32, identity: &IdentityKey, leaf: &[u8], path: &[Hash]| {
            verify_leaf(&rekeyed, index, identity, leaf, path).map(drop)
        };
        let bytes = &good.leaves[place];
        assert_eq!(verify(index, &member.identity, bytes, &path), Ok(()));
        assert_eq!(
            verify((index + 1) % 3, &member.identity, bytes, &path),
            Err(LeafError::Proof)
        );
        assert_eq!(verify(index, &member.identity, bytes, &[]), Err(LeafError::Proof));
        let other = &members[(place + 1) % 3].identity;
        assert_eq!(
            verify(index, other, bytes, &path),
            Err(LeafError::Member { index })
        );
    }
    let mut swapped = leaves.clone();
    swapped[1].identity = leaves[2].identity.clone();
    let swapped = encoded(&swapped);
    assert_eq!(check_leaves(&rekeyed, members, &swapped), Err(LeafError::Proof));
    assert_eq!(
        check_leaves(&rekey(&swapped), members, &swapped),
        Err(LeafError::Member { index: 1 })
    );
    let short = encoded(&leaves[..2]);
    assert_eq!(
        check_leaves(&rekeyed, members, &short),
        Err(LeafError::Count {
            expected: 3,
            actual: 2
        })
    );
}

/// docs/protocol.md, 6.9: two commits on one parent are evidence, a commit and its successor are not.
#[test]
fn equivocation_is_two_commits_on_one_parent() {
    let mut group = Group::with(&[(2, Plain)]);
    let a = Agent::new(1).sign(&group.rekey(1, vec![]));
    let b = Agent::new(2).sign(&group.rekey(2, vec![]));
    let evidence = Equivocation::of(&a, &b).unwrap();
    assert_eq!(
        (evidence.first.hash(), evidence.second.hash()),
        (a.hash(), b.hash())
    );
    assert_eq!(Equivocation::of(&a, &a), None);
    group.roster.apply(&a).unwrap();
    let c = Agent::new(1).sign(&group.rekey(1, vec![]));
    assert_eq!(Equivocation::of(&a, &c), None);
}

/// docs/protocol.md, 6.8, step 6, and 6.10: membership is asked at the head that a message cites.
#[test]
fn history_knows_roles_at_every_head() {
    let mut group = Group::by_invite();
    let mut history = RosterHistory::begin(&group.roster);
    let created = group.roster.head();
    let mut step = |group: &mut Group, signer: u8, commit: Commit| {
        let applied = group.roster.apply(&Agent::new(signer).sign(&commit)).unwrap();
        history.record(&group.roster, &applied);
    };
    let commit = group.commit(1, vec![Agent::new(2).invite(Plain)]);
    step(&mut group, 1, commit);
    let invite = group.roster.invites().next().unwrap().reference.clone();
    let commit = group.commit(2, vec![Change::Accept { invite }]);
    step(&mut group, 2, commit);
    let commit = group.commit(1, vec![LEAVE]);
    step(&mut group, 1, commit);
    let left = group.roster.head();
    let commit = group.rekey(2, vec![]);
    step(&mut group, 2, commit);
    let (one, two) = (Agent::new(1).identity, Agent::new(2).identity);
    let roles = |identity| (0..5).map(|at| history.role_at(identity, at)).collect::<Vec<_>>();
    assert_eq!(roles(&one), [Some(Admin), Some(Admin), Some(Admin), None, None]);
    assert_eq!(roles(&two), [None, None, Some(Plain), Some(Admin), Some(Admin)]);
    assert_eq!(history.position_of(&created), Some(0));
    assert_eq!(history.position_of(&left), Some(3));
    assert_eq!(history.position_of(&sha256(b"other")), None);
    let epochs: Vec<_> = (0..4).map(|epoch| history.position_of_epoch(epoch)).collect();
    assert_eq!(epochs, [None, Some(0), Some(4), None]);
}
