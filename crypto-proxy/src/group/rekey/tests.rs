use proptest::prelude::*;
use serde_json::Value;
use waxwire_shared::{
    ids::Nonce32,
    roster::{Roster, check_leaves},
    sign::Verified,
    wire::{Change, Commit, JoinPolicy, Policy, Role, VERSION},
};

use super::*;
use crate::{
    crypto::{
        OpenError, sealed_box,
        secret::IdentitySecret,
        testing::{flips, rng},
    },
    group::testing::{Case, cases, expanded},
};

const EPOCH: u64 = 4;
const NUMBER: u64 = 1_767_225_600_000;

/// A member with its keys.
struct Person {
    member: Arc<Member>,
    secret: EncryptionSecret,
}

impl Person {
    fn new(index: usize) -> Self {
        let mut rng = rng(1_000 + index as u64);
        let member = Member {
            identity: IdentitySecret::generate(&mut rng).public().clone(),
            handle: format!("agent-{index}").parse().unwrap(),
            role: Role::Member,
            joined: 0,
        };
        Self {
            member: Arc::new(member),
            secret: EncryptionSecret::generate(&mut rng),
        }
    }

    fn key(&self) -> LeafKey {
        LeafKey {
            key: Ok((NUMBER, Suite::CLASSIC, *self.secret.public())),
        }
    }

    fn adopt(&self, rekey: &Rekey, index: u32, proof: &LeafProof) -> Result<EpochKey, AdoptError> {
        adopt(rekey, index, &self.member.identity, proof, |number, suite| {
            ((number, suite) == (NUMBER, Suite::CLASSIC)).then_some(&self.secret)
        })
    }
}

fn people(count: usize) -> Vec<Person> {
    (0..count).map(Person::new).collect()
}

fn keys(people: &[Person]) -> Vec<LeafKey> {
    people.iter().map(Person::key).collect()
}

fn plan(people: &[Person]) -> Plan {
    Plan {
        position: 9,
        previous: Some(Hash::from_bytes([3; 32])),
        epoch: EPOCH,
        members: people.iter().map(|person| Arc::clone(&person.member)).collect(),
        roster: Hash::from_bytes([9; 32]),
        must_rekey: true,
    }
}

fn prepared(seed: u64, people: &[Person]) -> Prepared {
    prepare(&mut rng(seed), &plan(people), Suite::CLASSIC, &keys(people)).unwrap()
}

/// What a rekeyer commits to that chose these leaves.
fn committed(leaves: Vec<Vec<u8>>, commitment: Hash) -> (Rekey, Vec<u8>) {
    let leaves = Leaves { leaves };
    let rekey = Rekey {
        epoch: EPOCH,
        suite: Suite::CLASSIC,
        commitment,
        root: leaves_root(&leaves),
        leaves: u32::try_from(leaves.leaves.len()).unwrap(),
        roster: Hash::from_bytes([9; 32]),
    };
    (rekey, leaves.encode())
}

/// Bob's verdict on a rekey in which this stands in his place, the second of three.
fn verdict(leaf: Vec<u8>, commitment: Hash) -> AdoptError {
    let people = people(3);
    let mut leaves = Leaves::decode(&prepared(1, &people).leaves).unwrap().leaves;
    leaves[1] = leaf;
    let (rekey, leaves) = committed(leaves, commitment);
    people[1]
        .adopt(&rekey, 1, &own_leaf(&leaves, 1).unwrap())
        .unwrap_err()
}

/// A leaf in Bob's place, sealed around `plaintext` to him.
fn leaf_around(plaintext: &[u8]) -> Vec<u8> {
    let bob = Person::new(1);
    let leaf = Leaf {
        index: 1,
        identity: bob.member.identity.clone(),
        content: LeafContent::Sealed {
            key_number: NUMBER,
            suite: Suite::CLASSIC,
            sealed: sealed_box::seal(&mut rng(5), bob.secret.public(), plaintext),
        },
    };
    leaf.encode()
}

fn plaintext(epoch: u64, key: [u8; 32]) -> Vec<u8> {
    [b"waxwire\x20".as_slice(), &epoch.to_be_bytes(), &key].concat()
}

/// docs/protocol.md, 6.5: one leaf for each member, the rekeyer included.
#[test]
fn every_member_adopts_one_key_from_its_own_leaf() {
    for count in [1, 2, 3, 63, 64, 65, 130] {
        let people = people(count);
        let Prepared { rekey, leaves } = prepared(1, &people);
        let decoded = Leaves::decode(&leaves).unwrap();
        check_leaves(&rekey, &plan(&people).members, &decoded).unwrap();
        assert_eq!((rekey.epoch, rekey.roster), (EPOCH, Hash::from_bytes([9; 32])));
        for (index, person) in (0..).zip(&people) {
            let proof = own_leaf(&leaves, index).unwrap();
            let key = person.adopt(&rekey, index, &proof).unwrap();
            assert_eq!(kdf::epoch_commitment(&key), rekey.commitment);
        }
    }
}

/// The first log commit of a group with such a rekey is valid (docs/protocol.md, 6.2 and 6.5).
#[test]
fn rekey_of_a_new_group_is_valid() {
    let founder = IdentitySecret::generate(&mut rng(1));
    let secret = EncryptionSecret::generate(&mut rng(2));
    let changes = vec![Change::Create {
        nonce: Nonce32::from_bytes([1; 32]),
        handle: "alice".parse().unwrap(),
        policy: Policy {
            join: JoinPolicy::Invite,
            invite_role: Role::Admin,
            slug: None,
        },
    }];
    let plan = Roster::plan_create(founder.public(), &changes).unwrap();
    let key = LeafKey {
        key: Ok((1, Suite::CLASSIC, *secret.public())),
    };
    let Prepared { rekey, leaves } = prepare(&mut rng(3), &plan, Suite::CLASSIC, &[key]).unwrap();
    let commit = founder.sign_document(&Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group: None,
        position: 0,
        previous: None,
        signer: founder.public().clone(),
        changes,
        rekey: Some(rekey.clone()),
        time: 0,
    });
    let commit = Verified::from_bytes(&commit, |commit: &Commit| &commit.signer).unwrap();
    let roster = Roster::create(&commit).unwrap();
    let proof = own_leaf(&leaves, 0).unwrap();
    let key = adopt(&rekey, 0, founder.public(), &proof, |_, _| Some(&secret)).unwrap();
    let chains = chains(&key, roster.group(), 1, &roster.rekey_commit(), roster.members());
    assert_eq!(chains.len(), 1);
}

/// However many cores make the boxes, and whatever threads the system refuses.
#[test]
fn leaves_are_a_function_of_the_generator() {
    let people = people(70);
    let key = EpochKey::generate(&mut rng(1));
    let made = |cores: usize| -> Vec<Vec<u8>> {
        let mut rng = rng(2);
        let mut tasks: Vec<Task<'_>> = (0..)
            .zip(&people)
            .map(|(index, person)| Task {
                index,
                identity: &person.member.identity,
                share: Some(Share::new(&mut rng, &person.key())),
                encoded: Vec::new(),
            })
            .collect();
        if cores > 0 {
            run_on(cores, &mut tasks, EPOCH, &key);
        }
        run(&mut tasks, EPOCH, &key);
        tasks.into_iter().map(|task| task.encoded).collect()
    };
    let expected = made(0);
    assert!(expected.iter().all(|leaf| Leaf::decode(leaf).is_ok()));
    for cores in [1, 2, 3, 69, 70, 200] {
        assert_eq!(made(cores), expected, "{cores} cores");
    }
    let (first, second) = (prepared(1, &people), prepared(1, &people));
    assert_eq!((first.rekey, &first.leaves), (second.rekey, &second.leaves));
    assert_ne!(first.leaves, prepared(2, &people).leaves);
}

/// docs/protocol.md, 6.5: an epoch key is independent of every other.
#[test]
fn two_rekeys_of_one_roster_share_nothing() {
    let people = people(3);
    let mut rng = rng(1);
    let mut make = || prepare(&mut rng, &plan(&people), Suite::CLASSIC, &keys(&people)).unwrap();
    let (first, second) = (make(), make());
    assert_ne!(first.rekey.commitment, second.rekey.commitment);
    assert_ne!(first.rekey.root, second.rekey.root);
}

/// docs/protocol.md, 6.5: a leaf is sealed, or empty with a reason.
#[test]
fn member_without_a_key_gets_an_empty_leaf() {
    let people = people(3);
    let mut keys = keys(&people);
    keys[1].key = Err(EmptyReason::Unreachable);
    let Prepared { rekey, leaves } = prepare(&mut rng(1), &plan(&people), Suite::CLASSIC, &keys).unwrap();
    let adopt = |index: u32| {
        let person = &people[index as usize];
        person.adopt(&rekey, index, &own_leaf(&leaves, index).unwrap())
    };
    assert_eq!(adopt(1).unwrap_err(), AdoptError::Empty(EmptyReason::Unreachable));
    assert!(adopt(0).is_ok() && adopt(2).is_ok());
}

#[test]
fn prepare_refuses_what_is_no_group_and_draws_nothing() {
    let people = people(2);
    let (plan, keys) = (plan(&people), keys(&people));
    let refusal = |plan: &Plan, suite: Suite, keys: &[LeafKey]| {
        let mut drawn = rng(1);
        let refusal = prepare(&mut drawn, plan, suite, keys).unwrap_err();
        assert_eq!(drawn.next_u64(), rng(1).next_u64());
        refusal
    };
    let none = Plan {
        members: Vec::new(),
        ..plan.clone()
    };
    let many = Plan {
        members: vec![Arc::clone(&people[0].member); 10_001],
        ..plan.clone()
    };
    assert_eq!(
        refusal(&none, Suite::CLASSIC, &[]),
        PrepareError::Members { actual: 0 }
    );
    assert_eq!(
        refusal(&many, Suite::CLASSIC, &keys),
        PrepareError::Members { actual: 10_001 }
    );
    assert_eq!(
        refusal(&plan, Suite::CLASSIC, &keys[..1]),
        PrepareError::Keys {
            expected: 2,
            actual: 1
        }
    );
    assert_eq!(
        refusal(&plan, Suite::HYBRID, &keys),
        PrepareError::Suite { actual: 2 }
    );
    let mut hybrid = keys.clone();
    hybrid[1].key = Ok((1, Suite(7), *people[1].secret.public()));
    assert_eq!(
        refusal(&plan, Suite::CLASSIC, &hybrid),
        PrepareError::Suite { actual: 7 }
    );
}

/// docs/protocol.md, 6.5: a path that fails is the relay's fault.
#[test]
fn leaf_of_another_member_or_epoch_is_the_relays_fault() {
    let people = people(5);
    let Prepared { rekey, leaves } = prepared(1, &people);
    let earlier = prepared(2, &people);
    let own = own_leaf(&leaves, 1).unwrap();
    let others = [
        own_leaf(&leaves, 2).unwrap(),
        own_leaf(&earlier.leaves, 1).unwrap(),
    ];
    for served in &others {
        assert_eq!(people[1].adopt(&rekey, 1, served).unwrap_err(), AdoptError::Proof);
    }
    // The right leaf, asked for in another place.
    assert_eq!(people[1].adopt(&rekey, 2, &own).unwrap_err(), AdoptError::Proof);
    // The right leaf against another group's rekey.
    assert_eq!(
        people[1].adopt(&earlier.rekey, 1, &own).unwrap_err(),
        AdoptError::Proof
    );
}

#[test]
fn altered_leaf_is_the_relays_fault() {
    let people = people(3);
    let Prepared { rekey, leaves } = prepared(1, &people);
    let own = own_leaf(&leaves, 1).unwrap();
    for leaf in flips(&own.leaf) {
        let path = own.path.clone();
        let served = LeafProof { leaf, path };
        assert_eq!(
            people[1].adopt(&rekey, 1, &served).unwrap_err(),
            AdoptError::Proof
        );
    }
}

/// docs/protocol.md, 6.5: a leaf under the root that is no good is the rekeyer's fault.
#[test]
fn bad_leaf_under_the_root_is_the_rekeyers_fault() {
    let commitment = Hash::from_bytes([1; 32]);
    let fault = |leaf: Vec<u8>, commitment: Hash| match verdict(leaf, commitment) {
        AdoptError::Rekeyer(fault) => fault,
        other => panic!("{other:?}"),
    };
    let carol = own_leaf(&prepared(1, &people(3)).leaves, 2).unwrap().leaf;
    assert_eq!(fault(carol, commitment), RekeyerFault::Member);
    assert!(matches!(
        fault(vec![0xff; 3], commitment),
        RekeyerFault::Malformed(_)
    ));
    let key = |leaf: leaf::LeafError| RekeyerFault::Key(leaf);
    assert_eq!(
        fault(leaf_around(b"something else"), commitment),
        key(leaf::LeafError::Malformed)
    );
    assert_eq!(
        fault(leaf_around(&plaintext(EPOCH + 1, [6; 32])), commitment),
        key(leaf::LeafError::Epoch {
            expected: EPOCH,
            actual: EPOCH + 1
        })
    );
    let zero = EpochKey::from_slice(&[0; 32]).unwrap();
    assert_eq!(
        fault(
            leaf_around(&plaintext(EPOCH, [0; 32])),
            kdf::epoch_commitment(&zero)
        ),
        key(leaf::LeafError::Zero)
    );
    assert_eq!(
        fault(leaf_around(&plaintext(EPOCH, [6; 32])), commitment),
        key(leaf::LeafError::Commitment)
    );
}

/// docs/protocol.md, 6.5, adopting, step 2: the box is to the member's own key.
/// A box to somebody else in one's own place, under one's own name.
#[test]
fn box_to_another_key_is_the_rekeyers_fault() {
    let [alice, bob] = [Person::new(0), Person::new(1)];
    let leaf = Leaf {
        index: 1,
        identity: bob.member.identity.clone(),
        content: LeafContent::Sealed {
            key_number: NUMBER,
            suite: Suite::CLASSIC,
            sealed: sealed_box::seal(&mut rng(5), alice.secret.public(), &plaintext(EPOCH, [6; 32])),
        },
    };
    let refusal = verdict(leaf.encode(), Hash::from_bytes([1; 32]));
    let fault = RekeyerFault::Key(leaf::LeafError::Open(OpenError));
    assert_eq!(refusal, AdoptError::Rekeyer(fault));
}

/// docs/protocol.md, 6.5, healing: a leaf to a key that was erased is not usable.
#[test]
fn leaf_to_an_erased_key_is_nobodys_fault() {
    let people = people(2);
    let Prepared { rekey, leaves } = prepared(1, &people);
    let proof = own_leaf(&leaves, 1).unwrap();
    let asked = std::cell::Cell::new(None);
    let refusal = adopt(&rekey, 1, &people[1].member.identity, &proof, |number, suite| {
        asked.set(Some((number, suite)));
        None
    });
    assert_eq!(refusal.unwrap_err(), AdoptError::KeyErased { number: NUMBER });
    assert_eq!(asked.get(), Some((NUMBER, Suite::CLASSIC)));
}

#[test]
fn own_leaf_is_none_for_what_is_not_there() {
    let leaves = prepared(1, &people(3)).leaves;
    assert_eq!(own_leaf(&leaves, 3), None);
    assert_eq!(own_leaf(&leaves[..leaves.len() - 1], 0), None);
    assert_eq!(own_leaf(b"", 0), None);
}

/// docs/protocol.md, 6.5, adopting, step 3, and 6.7: a chain for each member.
#[test]
fn each_member_has_a_chain_of_its_own_in_roster_order() {
    let people = people(4);
    let key = EpochKey::generate(&mut rng(1));
    let (group, commit) = (GroupId::from_bytes([2; 32]), Hash::from_bytes([5; 32]));
    let chains = chains(&key, &group, EPOCH, &commit, &plan(&people).members);
    for (chain, person) in chains.iter().zip(&people) {
        let first = Chain::first(&key, &group, EPOCH, &commit, &person.member.identity);
        assert_eq!(chain.key().expose_bytes(), first.key().expose_bytes());
    }
    let distinct: std::collections::HashSet<_> =
        chains.iter().map(|chain| *chain.key().expose_bytes()).collect();
    assert_eq!(distinct.len(), 4);
}

/// The leaves that other implementations make and open.
#[test]
fn leaves_of_the_vectors_are_adopted_or_refused() {
    let hash = |hash: &Value| Hash::from_slice(&expanded(hash)).unwrap();
    let mut adopted = 0;
    for case in cases(include_str!("../../../../vectors/leaf.json"), "leaf_proof") {
        let rekey = Commit::decode(&case.input("commit")).unwrap().rekey.unwrap();
        let Case(json) = &case;
        let proof = LeafProof {
            leaf: case.input("leaf"),
            path: json["in"]["path"].as_array().unwrap().iter().map(hash).collect(),
        };
        let me = IdentityKey::from_prefixed(&case.input("member")).unwrap();
        let index = u32::try_from(json["in"]["index"].as_u64().unwrap()).unwrap();
        let bob = EncryptionSecret::from_slice(&[0x82; 32]).unwrap();
        let result = adopt(&rekey, index, &me, &proof, |number, _| {
            (number == 7 && index == 1).then_some(&bob)
        });
        match (json["layer"].as_str(), index) {
            (Some("context"), _) => assert_eq!(result.unwrap_err(), AdoptError::Proof),
            (Some(_), _) => assert!(matches!(result, Err(AdoptError::Rekeyer(_))), "{result:?}"),
            (None, 0) => assert_eq!(result.unwrap_err(), AdoptError::KeyErased { number: 7 }),
            (None, 1) => {
                assert_eq!(result.unwrap().expose_bytes(), &[0x61; 32]);
                adopted += 1;
            }
            (None, _) => assert_eq!(result.unwrap_err(), AdoptError::Empty(EmptyReason::Expired)),
        }
    }
    assert_eq!(adopted, 1);
}

proptest! {
    /// Whatever bytes a relay serves as a leaf: its own fault, unless they are the leaf.
    #[test]
    fn invented_proof_is_the_relays_fault(
        leaf in proptest::collection::vec(any::<u8>(), 0..200),
        path in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let people = [Person::new(0), Person::new(1)];
        let Prepared { rekey, .. } = prepared(1, &people);
        let path = path.into_iter().map(Hash::from_bytes).collect();
        let served = LeafProof { leaf, path };
        prop_assert_eq!(people[1].adopt(&rekey, 1, &served).unwrap_err(), AdoptError::Proof);
    }
}
