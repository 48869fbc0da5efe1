use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use waxwire_shared::wire::{Document as _, GroupHeader};

use super::*;
use crate::{
    crypto::{group, message::open_group, testing::rng},
    group::testing::{cases, expanded},
};

const LAST: u64 = limits::CHAIN_LENGTH - 1;

fn chain(next: u64) -> Chain {
    Chain::from_parts(ChainKey::from_slice(&[7; 32]).unwrap(), next)
}

fn bytes(key: &MessageKey) -> [u8; 32] {
    *key.expose_bytes()
}

/// The keys of the first `count` messages, by taking one after the other.
fn taken(count: usize) -> Vec<[u8; 32]> {
    let mut chain = chain(0);
    (0..count as u64)
        .map(|expected| {
            let (index, key, after) = chain.take().unwrap();
            assert_eq!((index, after.next()), (expected, expected + 1));
            chain = after;
            bytes(&key)
        })
        .collect()
}

const KDF: &str = include_str!("../../../../vectors/kdf.json");

/// docs/protocol.md, 6.7: the keys that other implementations derive.
#[test]
fn chain_gives_the_keys_of_the_vectors() {
    let case = cases(KDF, "chain").remove(0);
    let first = || Chain::from_parts(ChainKey::from_slice(&case.input("key")).unwrap(), 0);
    let keys = case.0["out"]["message_keys"].as_array().unwrap();
    let expected: Vec<Vec<u8>> = keys.iter().map(expanded).collect();
    let mut chain = first();
    for expected in &expected {
        let (_, key, after) = chain.take().unwrap();
        assert_eq!(bytes(&key).as_slice(), expected);
        chain = after;
    }
    let behind = case.output("chain_key");
    assert_eq!(chain.key().expose_bytes().as_slice(), behind);
    let walk = first().walk(4).unwrap();
    assert_eq!(bytes(&walk.key).as_slice(), expected[4]);
    assert_eq!(walk.chain.key().expose_bytes().as_slice(), behind);
    assert_eq!(walk.skipped.len(), 4);
    for ((index, key), (place, expected)) in walk.skipped.iter().zip((0..).zip(&expected)) {
        assert_eq!((*index, bytes(key).as_slice()), (place, expected.as_slice()));
    }
}

#[test]
fn first_chain_is_that_of_the_vectors() {
    let cases = cases(KDF, "first_chain_key");
    assert!(cases.len() > 4);
    for case in cases {
        let chain = Chain::first(
            &EpochKey::from_slice(&case.input("key")).unwrap(),
            &GroupId::from_slice(&case.input("group")).unwrap(),
            case.0["in"]["epoch"].as_u64().unwrap(),
            &Hash::from_slice(&case.input("rekey_commit")).unwrap(),
            &IdentityKey::from_prefixed(&case.input("sender")).unwrap(),
        );
        assert_eq!(chain.key().expose_bytes().as_slice(), case.output("out"));
        assert_eq!(chain.next(), 0);
    }
}

/// The vectors' group messages are number 5 of a chain that stands there.
#[test]
fn walk_opens_the_group_messages_of_the_vectors() {
    let messages = cases(include_str!("../../../../vectors/message.json"), "group_message");
    let valid = messages.iter().filter(|case| case.0["result"] == "valid");
    assert!(valid.clone().count() > 4);
    for case in valid {
        let envelope = case.input("envelope");
        let (length, rest) = envelope.split_first_chunk().unwrap();
        let (header, ciphertext) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let at = Chain::from_parts(ChainKey::from_slice(&[0x71; 32]).unwrap(), 5);
        let walk = at.walk(GroupHeader::decode(header).unwrap().i).unwrap();
        open_group(&walk.key, header, ciphertext).unwrap();
        let later = walk.chain.walk(6).unwrap();
        assert!(open_group(&later.key, header, ciphertext).is_err());
    }
}

/// Ciphertexts that other implementations make under one key.
#[test]
fn key_of_the_vectors_opens_their_ciphertexts() {
    for case in cases(include_str!("../../../../vectors/group.json"), "group_open") {
        let key = MessageKey::from_slice(&case.input("key")).unwrap();
        let opened = group::open(&key, &case.input("header"), &case.input("ciphertext"));
        assert_eq!(opened.is_ok(), case.0["result"] == "valid");
    }
}

/// docs/protocol.md, 6.7: `i` runs from 0 to 65,535.
#[test]
fn chain_ends_after_65_536_messages() {
    let (index, _, end) = chain(LAST).take().unwrap();
    assert_eq!((index, end.next()), (65_535, 65_536));
    assert_eq!(end.take().unwrap_err(), ChainExhausted);
    assert_eq!(end.walk(LAST).unwrap_err(), WalkError::Behind { next: 65_536 });
    assert_eq!(end.walk(65_536).unwrap_err(), WalkError::Beyond { index: 65_536 });
    assert_eq!(
        chain(0).walk(u64::MAX).unwrap_err(),
        WalkError::Beyond { index: u64::MAX }
    );
    assert_eq!(chain(u64::MAX).take().unwrap_err(), ChainExhausted);
}

/// docs/protocol.md, 6.7: a chain that has stepped forward gives no earlier key.
#[test]
fn walk_never_goes_back() {
    let behind = chain(5).walk(4).unwrap_err();
    assert_eq!(behind, WalkError::Behind { next: 5 });
    assert!(chain(5).walk(5).unwrap().skipped.is_empty());
}

/// docs/protocol.md, 6.7: at most 2,048 keys are kept, the oldest are dropped.
#[test]
fn walk_keeps_the_newest_2048_keys() {
    let keys = taken(2_060);
    for (i, dropped) in [(2_047, 0), (2_048, 0), (2_049, 1), (2_059, 11)] {
        let walk = chain(0).walk(i).unwrap();
        assert_eq!(walk.dropped, dropped);
        assert_eq!(walk.skipped.len() as u64, i - dropped);
        assert_eq!(bytes(&walk.key), keys[i as usize]);
        for (expected, (index, key)) in (dropped..i).zip(&walk.skipped) {
            assert_eq!((*index, bytes(key)), (expected, keys[expected as usize]));
        }
    }
}

#[test]
fn walk_to_the_end_of_a_chain_holds_2048_keys() {
    let walk = chain(0).walk(LAST).unwrap();
    assert_eq!((walk.skipped.len(), walk.dropped), (2_048, LAST - 2_048));
    assert_eq!(walk.chain.next(), 65_536);
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?}", chain(1).walk(2).unwrap());
    assert!(text.contains("MessageKey") && text.contains("ChainKey"));
    assert!(!text.contains("[7, 7"), "{text}");
}

/// A reader: what it stores between messages.
struct Reader {
    chain: Chain,
    skipped: BTreeMap<u64, MessageKey>,
}

impl Reader {
    fn new() -> Self {
        Self {
            chain: chain(0),
            skipped: BTreeMap::new(),
        }
    }

    /// Opens and, only if that went well, replaces its state and erases the key.
    fn open(&mut self, i: u64, ciphertext: &[u8]) -> Option<Vec<u8>> {
        if let Some(key) = self.skipped.get(&i) {
            let plaintext = group::open(key, &i.to_be_bytes(), ciphertext).ok()?;
            self.skipped.remove(&i);
            return Some(plaintext.to_vec());
        }
        let walk = self.chain.walk(i).ok()?;
        let plaintext = group::open(&walk.key, &i.to_be_bytes(), ciphertext).ok()?;
        self.chain = walk.chain;
        self.skipped.extend(walk.skipped);
        Some(plaintext.to_vec())
    }
}

/// `count` messages of one sender, each with its index as header.
fn sent(count: u64) -> Vec<Vec<u8>> {
    let mut chain = chain(0);
    let seal = |_| {
        let (i, key, after) = chain.take().unwrap();
        chain = after;
        group::seal(
            &mut rng(i),
            key,
            &i.to_be_bytes(),
            format!("message {i}").as_bytes(),
        )
    };
    (0..count).map(seal).collect()
}

proptest! {
    /// docs/protocol.md, 6.7: in whatever order they come and however often, each opens once.
    #[test]
    fn any_order_of_deliveries_opens_each_message_once(
        order in Just((0..24_u64).collect::<Vec<_>>()).prop_shuffle(),
        repeats in vec(0..24_u64, 0..24),
    ) {
        let ciphertexts = sent(24);
        let mut reader = Reader::new();
        for &i in &order {
            let opened = reader.open(i, &ciphertexts[i as usize]).unwrap();
            prop_assert_eq!(opened, format!("message {i}").into_bytes());
            prop_assert!(reader.open(i, &ciphertexts[i as usize]).is_none());
        }
        for i in repeats {
            prop_assert!(reader.open(i, &ciphertexts[i as usize]).is_none());
        }
        prop_assert!(reader.skipped.is_empty());
        prop_assert_eq!(reader.chain.next(), 24);
    }

    /// docs/protocol.md, 6.7: a receiver steps forward on a copy.
    /// What does not open changes nothing, and no key opens another's message.
    #[test]
    fn key_of_an_index_opens_its_own_message_only(at in 0..12_u64, other in 0..12_u64) {
        prop_assume!(at != other);
        let ciphertexts = sent(12);
        let mut reader = Reader::new();
        // The relay says that the message is another one.
        prop_assert!(reader.open(at, &ciphertexts[other as usize]).is_none());
        prop_assert_eq!((reader.chain.next(), reader.skipped.len()), (0, 0));
        reader.open(11, &ciphertexts[11]).unwrap();
        for (i, key) in &reader.skipped {
            for (place, ciphertext) in (0_u64..).zip(&ciphertexts) {
                let opened = group::open(key, &place.to_be_bytes(), ciphertext);
                prop_assert_eq!(opened.is_ok(), *i == place);
            }
        }
    }

    /// One step or many, from wherever: the same keys.
    #[test]
    fn walk_is_deterministic(stops in vec(0..300_u64, 1..6)) {
        let mut stops = stops;
        stops.sort_unstable();
        stops.dedup();
        let mut by_stops = chain(0);
        for &stop in &stops {
            let direct = chain(0).walk(stop).unwrap();
            let walk = by_stops.walk(stop).unwrap();
            prop_assert_eq!(bytes(&walk.key), bytes(&direct.key));
            prop_assert_eq!(walk.chain.key().expose_bytes(), direct.chain.key().expose_bytes());
            prop_assert_eq!(walk.skipped.len() as u64, stop - by_stops.next());
            for ((i, key), (j, other)) in walk.skipped.iter().rev().zip(direct.skipped.iter().rev()) {
                prop_assert_eq!((i, bytes(key)), (j, bytes(other)));
            }
            by_stops = walk.chain;
        }
    }
}
