use proptest::prelude::*;
use waxwire_shared::{
    ids::{Hash, RelayId},
    merkle::{Frontier, leaf_hash, root},
    wire::{Document as _, LogConsistency, LogLeaf},
};

use super::{
    testing::{TestLog, leaf},
    *,
};

fn verified(log: &TestLog, size: u64) -> Head {
    Head::verify(&log.head(size), log.owner()).unwrap()
}

/// Another history after the first `common` leaves.
fn forked(log: &TestLog, common: usize) -> TestLog {
    let mut other = TestLog::of_size(log.leaves.len() as u64);
    other.leaves[common..]
        .iter_mut()
        .for_each(|leaf| leaf.number += 1_000);
    other
}

/// docs/protocol.md, 10: heads are signed by the relay's identity.
#[test]
fn heads_of_others_and_of_nothing_are_refused() {
    let log = TestLog::of_size(3);
    assert!(Head::verify(&log.head(3), log.owner()).is_ok());
    let elsewhere = RelayId::from_bytes([8; 32]);
    let other = LogOwner {
        relay: &elsewhere,
        ..log.owner()
    };
    assert_eq!(Head::verify(&log.head(3), other), Err(HeadError::Relay));
    assert_eq!(Head::verify(&log.head(0), log.owner()), Err(HeadError::Empty));
    let mut bytes = log.head(3);
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Head::verify(&bytes, log.owner()),
        Err(HeadError::Signed(_))
    ));
    assert!(Head::verify(b"no head", log.owner()).is_err());
}

/// docs/protocol.md, 10: same size and another root is a fork; another log id is another log.
#[test]
fn heads_are_the_same_apart_a_fork_or_of_another_log() {
    let log = TestLog::of_size(7);
    let known = verified(&log, 5);
    let relation = |shown: &Head| relate(Some(&known), shown);
    assert_eq!(relate(None, &known), Relation::First);
    let later = log.sign(&waxwire_shared::wire::LogHead {
        time: 99_999,
        ..log.body(5)
    });
    let later = Head::verify(&later, log.owner()).unwrap();
    assert_eq!(relation(&later), Relation::Same, "signed again");
    for (size, from, to) in [(7, 5, 7), (2, 2, 5)] {
        assert_eq!(relation(&verified(&log, size)), Relation::Apart { from, to });
    }
    assert_eq!(relation(&verified(&forked(&log, 4), 5)), Relation::Fork);
    let mut lost = TestLog::of_size(5);
    lost.id = Hash::from_bytes([2; 32]);
    assert_eq!(relation(&verified(&lost, 5)), Relation::OtherLog);
}

/// docs/protocol.md, 10: a relay that has signed two heads of one size is found out by its own answer.
#[test]
fn answer_about_another_head_of_the_same_size_is_a_fork() {
    let log = TestLog::of_size(9);
    let other = forked(&log, 6);
    let (five, nine, theirs) = (verified(&log, 5), verified(&log, 9), verified(&other, 9));
    let check = |a: &Head, b: &Head, answer: &[u8]| check_consistency(a, b, answer, log.owner());
    assert_eq!(
        check(&five, &nine, &other.consistency(5, 9)),
        Consistency::Fork(Box::new((nine, theirs.clone())))
    );
    // Of the fork that is shown, no proof leads from what is known.
    let eight = verified(&log, 8);
    let mut answer = LogConsistency::decode(&other.consistency(8, 9)).unwrap();
    assert!(matches!(
        check(&eight, &theirs, &answer.encode()),
        Consistency::Fork(_)
    ));
    answer.earlier = log.head(8);
    assert_eq!(check(&eight, &theirs, &answer.encode()), Consistency::False);
    // What is about other sizes proves nothing.
    assert_eq!(check(&five, &eight, &log.consistency(5, 7)), Consistency::False);
    assert_eq!(check(&five, &eight, b"nonsense"), Consistency::False);
}

fn own(number: u64, previous: Option<u64>) -> OwnBundle {
    OwnBundle {
        hash: leaf(number).bundle,
        number,
        previous: previous.map(|number| leaf(number).bundle),
    }
}

/// docs/protocol.md, 10: an owner who scans the log tells what it has not signed.
#[test]
fn leaves_are_judged_by_the_chain_of_own_bundles() {
    // Nothing is known of what was signed between 4 and 8.
    let mut account = OwnBundles {
        bundles: vec![own(2, None), own(4, Some(2)), own(8, Some(7)), own(9, Some(8))],
        begins_late: false,
    };
    for (number, verdict) in [
        (1, Verdict::Rogue),
        (2, Verdict::Own),
        (3, Verdict::Rogue),
        (4, Verdict::Own),
        (5, Verdict::Unaccounted),
        (7, Verdict::Own),
        (8, Verdict::Own),
        (10, Verdict::Rogue),
    ] {
        assert_eq!(judge(&leaf(number), &account), verdict, "{number}");
    }
    let second = LogLeaf {
        bundle: leaf(1).bundle,
        ..leaf(4)
    };
    assert_eq!(judge(&second, &account), Verdict::Rogue, "a number twice");
    let renumbered = LogLeaf { number: 6, ..leaf(4) };
    assert_eq!(judge(&renumbered, &account), Verdict::Rogue);
    account.begins_late = true;
    assert_eq!(judge(&leaf(1), &account), Verdict::Unaccounted);
    assert_eq!(judge(&leaf(3), &account), Verdict::Rogue);
    account.bundles.clear();
    assert_eq!(judge(&leaf(1), &account), Verdict::Rogue);
}

#[test]
fn what_is_no_leaf_is_refused() {
    let mut tree = Frontier::new(0, Vec::new()).unwrap();
    let leaves = [leaf(1).encode(), b"none".to_vec()];
    assert!(append(&mut tree, &leaves, &leaf(1).handle_tag).is_err());
}

proptest! {
    /// docs/protocol.md, 10: what the log really holds is proven, and nothing else is.
    #[test]
    fn proofs_hold_for_their_leaf_and_no_other(size in 1..60_u64, index in any::<u64>(), flip in any::<(usize, u8)>()) {
        let log = TestLog::of_size(size);
        let index = index % size;
        let proof = log.proof(index, size);
        let head = check_inclusion(&leaf(index), &proof, log.owner()).unwrap();
        prop_assert_eq!((head.size(), head.log()), (size, log.id));
        for other in [leaf(index + 1), LogLeaf { number: 99, ..leaf(index) }] {
            prop_assert_eq!(check_inclusion(&other, &proof, log.owner()), Err(ProofError::Path));
        }
        let mut damaged = proof.clone();
        damaged[flip.0 % proof.len()] ^= flip.1 | 1;
        prop_assert!(check_inclusion(&leaf(index), &damaged, log.owner()).is_err());
    }

    /// docs/protocol.md, 10: every later head continues an earlier one exactly if its leaves begin the same.
    #[test]
    fn consistency_holds_for_prefixes_only(to in 2..60_u64, from in any::<u64>(), common in any::<usize>()) {
        let from = 1 + from % (to - 1);
        let log = TestLog::of_size(to);
        let (earlier, later) = (verified(&log, from), verified(&log, to));
        let answer = log.consistency(from, to);
        for (a, b) in [(&earlier, &later), (&later, &earlier)] {
            prop_assert_eq!(check_consistency(a, b, &answer, log.owner()), Consistency::Proven);
        }
        // A head of another history, with whatever proof the relay can make of the two.
        let other = forked(&log, common % from as usize);
        let theirs = verified(&other, to);
        for (from_head, path_of) in [(log.head(from), &other), (log.head(from), &log)] {
            let path = LogConsistency::decode(&path_of.consistency(from, to)).unwrap().path;
            let answer = LogConsistency { earlier: from_head, later: other.head(to), path }.encode();
            prop_assert_eq!(check_consistency(&earlier, &theirs, &answer, log.owner()), Consistency::False);
        }
    }

    /// docs/protocol.md, 10: a scan in pages gives the root that the head has, and every own leaf.
    #[test]
    fn pages_of_leaves_give_the_root_of_all(size in 1..200_u64, page in 1..50_usize) {
        let log = TestLog::of_size(size);
        let encoded: Vec<Vec<u8>> = log.leaves.iter().map(LogLeaf::encode).collect();
        let tag = leaf(3).handle_tag;
        let mut tree = Frontier::new(0, Vec::new()).unwrap();
        let mut own = Vec::new();
        for page in encoded.chunks(page) {
            own.extend(append(&mut tree, page, &tag).unwrap());
            // Kept and read again in between.
            tree = Frontier::new(tree.size(), tree.hashes().to_vec()).unwrap();
        }
        prop_assert_eq!(tree.root(), verified(&log, size).root());
        let hashes: Vec<Hash> = encoded.iter().map(|leaf| leaf_hash(leaf)).collect();
        prop_assert_eq!(tree.root(), root(&hashes));
        let expected: Vec<(u64, LogLeaf)> =
            (0..size).filter(|n| leaf(*n).handle_tag == tag).map(|n| (n, leaf(n))).collect();
        prop_assert_eq!(own, expected);
    }
}
