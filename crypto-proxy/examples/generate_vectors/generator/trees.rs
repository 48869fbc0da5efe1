//! Merkle trees and leaves of rekeys.

use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::{kdf, secret::EpochKey},
    vectors::Layer,
};
use waxwire_shared::{
    ids::Hash,
    merkle,
    roster::leaves_root,
    suite::Suite,
    wire::{Commit, Document as _, EmptyReason, Leaf, LeafContent, Leaves, Rekey, VERSION},
};

use super::{Cases, bytes, flipped, hex, world::*};

fn hashes(path: &[Hash]) -> Value {
    path.iter().map(|hash| hex(hash.as_bytes())).collect()
}

pub(super) fn merkle() -> Cases {
    let mut cases = Cases::new("2.6", "roots, inclusion and consistency");
    let all: Vec<Vec<u8>> = (0..9_u8).map(|i| vec![i; usize::from(i)]).collect();
    let leaf_hashes: Vec<Hash> = all.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
    for size in 0..=9 {
        let leaves: Value = all[..size].iter().map(hex).collect();
        cases.valid(
            &format!("{size} leaves"),
            "merkle_root",
            json!({"leaves": leaves}),
        );
    }
    let size = 7;
    let tree = &leaf_hashes[..size];
    let root = merkle::root(tree);
    let inclusion = |leaf: &[u8], index: usize, size: usize, path: &[Hash], root: &Hash| json!({"leaf": hex(leaf), "index": index, "size": size, "path": hashes(path), "root": hex(root.as_bytes())});
    for (index, leaf) in all[..size].iter().enumerate() {
        let path = merkle::inclusion_path(tree, index);
        cases.valid(
            "included",
            "merkle_inclusion",
            inclusion(leaf, index, size, &path, &root),
        );
    }
    let path = merkle::inclusion_path(tree, 4);
    let mut bad = |comment: &str, input: Value| {
        cases.invalid(comment, "merkle_inclusion", input, Layer::Context);
    };
    bad("another leaf", inclusion(&all[3], 4, size, &path, &root));
    bad("another index", inclusion(&all[4], 5, size, &path, &root));
    bad("index beyond the tree", inclusion(&all[4], 7, size, &path, &root));
    bad("another size", inclusion(&all[4], 4, 5, &path, &root));
    bad("another root", inclusion(&all[4], 4, size, &path, &hash(0)));
    bad(
        "a hash too few",
        inclusion(&all[4], 4, size, &path[..path.len() - 1], &root),
    );
    bad(
        "a hash too many",
        inclusion(&all[4], 4, size, &[&path[..], &[root]].concat(), &root),
    );
    bad(
        "a hash changed",
        inclusion(&all[4], 4, size, &[&path[..2], &[hash(9)]].concat(), &root),
    );
    bad("empty tree", inclusion(&all[0], 0, 0, &[], &merkle::root(&[])));
    // Without its prefix a leaf could be passed off as a node.
    let node = [tree[0].as_bytes().as_slice(), tree[1].as_bytes()].concat();
    bad(
        "a node as a leaf",
        inclusion(&node, 0, 4, &merkle::inclusion_path(tree, 0)[1..], &root),
    );

    let consistency = |first: usize, a: &Hash, second: usize, b: &Hash, path: &[Hash]| {
        json!({"first": first, "first_root": hex(a.as_bytes()), "second": second,
            "second_root": hex(b.as_bytes()), "path": hashes(path)})
    };
    for (first, second) in [
        (0, 5),
        (1, 2),
        (2, 7),
        (3, 7),
        (4, 7),
        (4, 8),
        (6, 9),
        (7, 7),
        (8, 9),
    ] {
        let tree = &leaf_hashes[..second];
        let (a, b) = (merkle::root(&tree[..first]), merkle::root(tree));
        let path = merkle::consistency_path(tree, first);
        let comment = format!("{first} leaves continued to {second}");
        cases.valid(
            &comment,
            "merkle_consistency",
            consistency(first, &a, second, &b, &path),
        );
    }
    let (a, b) = (merkle::root(&leaf_hashes[..3]), merkle::root(&leaf_hashes[..7]));
    let path = merkle::consistency_path(&leaf_hashes[..7], 3);
    let mut bad = |comment: &str, input: Value| {
        cases.invalid(comment, "merkle_consistency", input, Layer::Context);
    };
    bad("another earlier root", consistency(3, &hash(0), 7, &b, &path));
    bad("another later root", consistency(3, &a, 7, &hash(0), &path));
    bad(
        "a hash too few",
        consistency(3, &a, 7, &b, &path[..path.len() - 1]),
    );
    bad(
        "a hash too many",
        consistency(3, &a, 7, &b, &[&path[..], &[a]].concat()),
    );
    bad("the earlier is larger", consistency(8, &a, 7, &b, &path));
    bad("one size, two roots", consistency(7, &a, 7, &b, &[]));
    bad(
        "from nothing, with a path",
        consistency(0, &merkle::root(&[]), 7, &b, &[a]),
    );
    bad("from nothing, another root", consistency(0, &a, 7, &b, &[]));
    cases
}

pub(super) fn leaf() -> Cases {
    let mut cases = Cases::new("6.5", "the epoch key in a leaf, and the leaf under its root");
    let members = [alice(), bob(), carol()];
    let key = EpochKey::from_slice(&[0x61; 32]).unwrap();
    let commitment = kdf::epoch_commitment(&key);
    let epoch = 4_u64;
    let sealed: Vec<Vec<u8>> = (0_u8..)
        .zip(&members)
        .map(|(index, member)| {
            let input = json!({"member": hex(member.encryption.public().as_bytes()), "key": hex(key.expose_bytes()),
                "epoch": epoch, "ephemeral": hex([0x62 + index; 32])});
            bytes(&cases.valid("sealed", "leaf_seal", input), "sealed")
        })
        .collect();
    let bob = &members[1];
    let open = |sealed: &[u8], epoch: u64, commitment: &Hash| {
        json!({"secret": hex(bob.encryption.expose_bytes()), "epoch": epoch,
            "commitment": hex(commitment.as_bytes()), "sealed": hex(sealed)})
    };
    cases.valid("opened", "leaf_open", open(&sealed[1], epoch, &commitment));
    let boxed = |plaintext: &[u8]| {
        waxwire_proxy::crypto::sealed_box::seal(&mut rng(10), bob.encryption.public(), plaintext)
    };
    let plaintext = |magic: &[u8], epoch: u64, key: &[u8]| [magic, &epoch.to_be_bytes(), key].concat();
    let zero = EpochKey::from_slice(&[0; 32]).unwrap();
    let mut bad = |comment: &str, input: Value| cases.invalid(comment, "leaf_open", input, Layer::Open);
    bad("another member's", open(&sealed[0], epoch, &commitment));
    bad(
        "a bit flipped",
        open(&flipped(&sealed[1], 50), epoch, &commitment),
    );
    bad("another epoch", open(&sealed[1], 5, &commitment));
    bad("misses its commitment", open(&sealed[1], epoch, &hash(0)));
    let zeros = boxed(&plaintext(b"waxwire\x20", epoch, &[0; 32]));
    bad(
        "a key of zeros",
        open(&zeros, epoch, &kdf::epoch_commitment(&zero)),
    );
    let other_kind = boxed(&plaintext(b"waxwire\x01", epoch, key.expose_bytes()));
    bad("another kind", open(&other_kind, epoch, &commitment));
    let other_magic = boxed(&plaintext(b"waxwirf\x20", epoch, key.expose_bytes()));
    bad("another magic", open(&other_magic, epoch, &commitment));
    let short = boxed(&plaintext(b"waxwire\x20", epoch, &key.expose_bytes()[..31]));
    bad("one byte short", open(&short, epoch, &commitment));
    let long = boxed(&plaintext(
        b"waxwire\x20",
        epoch,
        &[&key.expose_bytes()[..], &[0]].concat(),
    ));
    bad("one byte long", open(&long, epoch, &commitment));
    proofs(&mut cases, &members, &sealed, epoch, &commitment);
    cases
}

fn proofs(cases: &mut Cases, members: &[Agent], sealed: &[Vec<u8>], epoch: u64, commitment: &Hash) {
    let content = |index: usize| match index {
        2 => LeafContent::Empty(EmptyReason::Expired),
        _ => LeafContent::Sealed {
            key_number: KEY_NUMBER,
            suite: Suite::CLASSIC,
            sealed: sealed[index].clone(),
        },
    };
    let leaf = |place: usize, index: usize, member: &Agent| {
        let leaf = Leaf {
            index: u32::try_from(index).unwrap(),
            identity: member.key(),
            content: content(place),
        };
        leaf.encode()
    };
    let commit = |leaves: &[Vec<u8>]| {
        let leaves = Leaves {
            leaves: leaves.to_vec(),
        };
        let rekey = Rekey {
            epoch,
            suite: Suite::CLASSIC,
            commitment: *commitment,
            root: leaves_root(&leaves),
            leaves: u32::try_from(leaves.leaves.len()).unwrap(),
            roster: hash(0x63),
        };
        let commit = Commit {
            version: VERSION,
            suite: Suite::CLASSIC,
            group: Some(super::samples::group_id()),
            position: 9,
            previous: Some(hash(0x64)),
            signer: members[0].key(),
            changes: Vec::new(),
            rekey: Some(rekey),
            time: NOW,
        };
        commit.encode()
    };
    let path = |leaves: &[Vec<u8>], index: usize| {
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        merkle::inclusion_path(&hashes, index)
    };
    let good: Vec<Vec<u8>> = (0..3).map(|i| leaf(i, i, &members[i])).collect();
    let input = |leaves: &[Vec<u8>], index: usize, member: &Agent, leaf: &[u8], path: &[Hash]| {
        json!({"commit": hex(commit(leaves)), "index": index, "member": hex(member.key().to_prefixed()),
            "leaf": hex(leaf), "path": hashes(path)})
    };
    cases.valid(
        "all leaves",
        "leaves_root",
        json!({"bytes": hex(Leaves { leaves: good.clone() }.encode())}),
    );
    for index in 0..3 {
        let path = path(&good, index);
        cases.valid(
            "under the root",
            "leaf_proof",
            input(&good, index, &members[index], &good[index], &path),
        );
    }
    let bobs = path(&good, 1);
    let mut bad =
        |comment: &str, input: Value, layer: Layer| cases.invalid(comment, "leaf_proof", input, layer);
    bad(
        "another member's leaf",
        input(&good, 1, &members[1], &good[0], &bobs),
        Layer::Context,
    );
    bad(
        "a bit flipped in the leaf",
        input(&good, 1, &members[1], &flipped(&good[1], 60), &bobs),
        Layer::Context,
    );
    bad(
        "a leaf from nowhere",
        input(&good, 1, &members[1], &leaf(0, 1, &members[1]), &bobs),
        Layer::Context,
    );
    bad(
        "a path too short",
        input(&good, 1, &members[1], &good[1], &bobs[..1]),
        Layer::Context,
    );
    bad(
        "another place",
        input(&good, 0, &members[1], &good[1], &bobs),
        Layer::Context,
    );
    let swapped: Vec<Vec<u8>> = vec![good[0].clone(), leaf(1, 1, &members[2]), good[2].clone()];
    bad(
        "the rekeyer named another member",
        input(&swapped, 1, &members[1], &swapped[1], &path(&swapped, 1)),
        Layer::Rule,
    );
    let misplaced: Vec<Vec<u8>> = vec![good[0].clone(), leaf(1, 2, &members[1]), good[2].clone()];
    bad(
        "the rekeyer gave another index",
        input(&misplaced, 1, &members[1], &misplaced[1], &path(&misplaced, 1)),
        Layer::Rule,
    );
    let garbage: Vec<Vec<u8>> = vec![good[0].clone(), vec![0xff], good[2].clone()];
    bad(
        "the rekeyer made no leaf",
        input(&garbage, 1, &members[1], &garbage[1], &path(&garbage, 1)),
        Layer::Decode,
    );
}
