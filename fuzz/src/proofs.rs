//! Boxes, attachments, proofs of trees and of the transparency log.

use std::sync::LazyLock;

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use waxwire_proxy::{
    crypto::{
        attachment::Chunks,
        message,
        secret::{EncryptionSecret, IdentitySecret},
    },
    transparency::{Consistency, Head, LogOwner, check_consistency, check_inclusion},
};
use waxwire_shared::{
    ids::{BlobId, Hash, Nonce32, RelayId},
    merkle::{self, Frontier, Plan},
    sign::SignedBytes,
    wire::{
        AttachmentRef, Document as _, Kind, LogConsistency, LogHead, LogLeaf, LogProof, MessageBytes, Reader,
        Wire as _, Writer,
    },
};

use crate::feed::{Feed, parts};

table! {
    "sealed_message" => sealed_message,
    "attachment_chunk" => attachment_chunk,
    "merkle" => merkle_proofs,
    "log_inclusion" => log_inclusion,
    "log_consistency" => log_consistency,
    "log_leaves" => log_leaves,
}

/// The key of vectors' readers, so that the vectors are seeds.
pub(crate) const READER: [u8; 32] = [0x42; 32];

/// A ciphertext to a known key opens to what its padding and encoding allow.
fn sealed_message(bytes: &[u8]) -> bool {
    let secret = EncryptionSecret::from_slice(&READER).unwrap();
    let Ok((kind, message)) = message::open_direct(&secret, bytes) else {
        return false;
    };
    assert!(kind.direct_lane().is_some());
    assert!(message.encode().len() <= waxwire_shared::limits::OBJECT);
    true
}

/// A reference out of a message, and a chunk: nothing opens that was not sealed there.
fn attachment_chunk(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let Ok(reference) = AttachmentRef::take(&mut Reader::new(feed.part())) else {
        return false;
    };
    let Ok(chunks) = Chunks::of(&reference) else {
        return false;
    };
    let (index, last) = (feed.byte().into(), feed.byte() & 1 == 1);
    if let Ok(plaintext) = chunks.open(index, last, feed.0) {
        assert_eq!(chunks.seal(index, last, &plaintext), feed.0);
        return true;
    }
    assert!(
        chunks
            .open(index, last, &chunks.seal(index, last, feed.0))
            .is_ok()
    );
    true
}

fn relay() -> &'static IdentitySecret {
    static RELAY: LazyLock<IdentitySecret> = LazyLock::new(|| IdentitySecret::from_slice(&[7; 32]).unwrap());
    &RELAY
}

/// What the relay signs, whatever it says: behind its signature begin the questions.
pub(crate) fn signed_head(body: &[u8]) -> Vec<u8> {
    let label = waxwire_shared::labels::Label::SigLogHead;
    SignedBytes {
        body: body.to_vec(),
        signature: relay().sign(label, &[body]),
    }
    .encode()
}

pub(crate) fn relay_id() -> RelayId {
    RelayId::of(relay().public())
}

fn with_owner<T>(then: impl FnOnce(LogOwner<'_>) -> T) -> T {
    let relay_id = relay_id();
    then(LogOwner {
        relay: &relay_id,
        identity: relay().public(),
    })
}

/// A leaf, a head's body and a proof's remainder: whoever accepts has computed the root.
fn log_inclusion(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let (leaf, body) = (feed.part(), feed.part());
    let Ok(leaf) = LogLeaf::decode(leaf) else {
        return false;
    };
    let index = feed.number();
    let mut path = Vec::new();
    while !feed.is_empty() && path.len() < 64 {
        path.push(feed.hash());
    }
    let head = signed_head(body);
    let proof = LogProof { index, head, path };
    let Ok(head) = with_owner(|owner| check_inclusion(&leaf, &proof.encode(), owner)) else {
        return false;
    };
    assert!(head.size() > index);
    let hash = merkle::leaf_hash(&leaf.encode());
    assert!(merkle::verify_inclusion(
        &hash,
        index,
        head.size(),
        &proof.path,
        &head.root()
    ));
    true
}

/// Two bodies of heads that are known, two that are shown, and a path.
fn log_consistency(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let bodies = [feed.part(), feed.part(), feed.part(), feed.part()];
    let [a, b, earlier, later] = bodies.map(signed_head);
    let mut path = Vec::new();
    while !feed.is_empty() && path.len() < 64 {
        path.push(feed.hash());
    }
    with_owner(|owner| {
        let (Ok(a), Ok(b)) = (Head::verify(&a, owner), Head::verify(&b, owner)) else {
            return false;
        };
        // Engines ask about two heads of one log and of different sizes only.
        if a.size() == b.size() || a.log() != b.log() {
            return false;
        }
        let proof = LogConsistency { earlier, later, path };
        let answer = check_consistency(&a, &b, &proof.encode(), owner);
        assert_eq!(answer, check_consistency(&b, &a, &proof.encode(), owner));
        match answer {
            Consistency::Proven => {
                let (first, second) = if a.size() < b.size() { (&a, &b) } else { (&b, &a) };
                let (from, to) = (first.root(), second.root());
                assert!(merkle::verify_consistency(
                    first.size(),
                    &from,
                    second.size(),
                    &to,
                    &proof.path
                ));
            }
            Consistency::Fork(heads) => {
                assert_eq!((heads.0.log(), heads.0.size()), (heads.1.log(), heads.1.size()));
                assert_ne!(heads.0.root(), heads.1.root());
            }
            Consistency::False => return false,
        }
        true
    })
}

/// A page of leaves: the tree over them has a proof for each, and none for another place.
fn log_leaves(bytes: &[u8]) -> bool {
    let pages = Feed(bytes).parts();
    let leaves: Vec<Vec<u8>> = pages.iter().map(|page| page.to_vec()).collect();
    let mut tree = Frontier::new(0, Vec::new()).unwrap();
    let whole = waxwire_proxy::transparency::append(&mut tree, &leaves, &Hash::from_bytes([5; 32])).is_ok();
    let taken = usize::try_from(tree.size()).unwrap();
    assert!(taken <= leaves.len() && whole == (taken == leaves.len()));
    let hashes: Vec<Hash> = leaves[..taken]
        .iter()
        .map(|leaf| merkle::leaf_hash(leaf))
        .collect();
    assert_eq!(merkle::root(&hashes), tree.root());
    taken > 0
}

/// Sizes, a place and a path, of anybody's choosing.
fn merkle_proofs(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let (index, size) = (feed.number(), feed.number());
    let (leaf, root, other) = (feed.hash(), feed.hash(), feed.hash());
    let mut path = Vec::new();
    while !feed.is_empty() {
        path.push(feed.hash());
    }
    let included = merkle::verify_inclusion(&leaf, index, size, &path, &root);
    let consistent = merkle::verify_consistency(index, &root, size, &other, &path);
    assert!(!included || index < size);
    assert!(!consistent || index <= size);
    // Plans are made for logs that were signed, which do not come near this.
    let (index, size) = (index >> 2, size >> 2);
    for plan in [
        Plan::root(size),
        Plan::inclusion(index, size),
        Plan::consistency(index, size),
    ] {
        // However large the tree, few nodes are read for it.
        assert!(plan.nodes().count() <= 64 * 64);
    }
    // The tree over as many leaves as there are hashes proves each of them.
    let leaves: Vec<Hash> = path.iter().take(33).copied().collect();
    let root = merkle::root(&leaves);
    for (at, leaf) in leaves.iter().enumerate() {
        let path = merkle::inclusion_path(&leaves, at);
        let proves =
            |index: usize| merkle::verify_inclusion(leaf, index as u64, leaves.len() as u64, &path, &root);
        assert!(proves(at) && !proves(at + leaves.len()));
    }
    included || consistent || !leaves.is_empty()
}

/// A head's body of a log with these leaves.
pub(crate) fn head(leaves: &[Hash], time: u64) -> Vec<u8> {
    LogHead {
        relay: relay_id(),
        log: Hash::from_bytes([3; 32]),
        size: leaves.len() as u64,
        root: merkle::root(leaves),
        time,
        ..LogHead::decode(&sample_head()).unwrap()
    }
    .encode()
}

fn sample_head() -> Vec<u8> {
    crate::seeds::vector_document("LogHead")
}

/// A message to the reader that anybody could have sealed.
pub(crate) fn sample_sealed() -> Vec<u8> {
    let message = MessageBytes::decode(&crate::seeds::vector_document("Message")).unwrap();
    let reader = EncryptionSecret::from_slice(&READER).unwrap();
    let mut rng = ChaCha20Rng::from_seed([0x43; 32]);
    message::seal_direct(&mut rng, reader.public(), Kind::Direct, &message).unwrap()
}

/// A reference, and the last chunk of what it names.
pub(crate) fn sample_chunk() -> Vec<u8> {
    let reference = AttachmentRef {
        blob: BlobId::from_bytes([1; 16]),
        key: Nonce32::from_bytes([2; 32]),
        nonce_prefix: vec![3; 19],
        ciphertext_hash: Hash::from_bytes([4; 32]),
        ciphertext_length: 4_096 + 16,
        length: 4_000,
        filename: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
    };
    let chunk = Chunks::of(&reference).unwrap().seal(0, true, &[5; 64]);
    let mut w = Writer::default();
    reference.put(&mut w);
    [parts([w.into_bytes()]), vec![0, 1], chunk].concat()
}
