//! What an author may have sealed, and is refused all the same.

use std::path::Path;

use futures_util::TryStreamExt as _;
use tempfile::TempDir;
use waxwire_shared::{
    ids::{BlobId, Hash, Nonce32},
    wire::sealed_length,
};

use super::*;
use crate::{
    attachments::Bounds,
    link::{Client, RelayUrl},
};

fn all(state: &Path) -> Arc<Attachments> {
    let relay = RelayUrl::parse("http://127.0.0.1:1", false).unwrap();
    let bounds = Bounds {
        attachment: 1_000_000,
        space: 1_000_000,
    };
    Arc::new(Attachments::open(Arc::new(Client::new(relay).unwrap()), state, bounds, &[]).unwrap())
}

fn reference(length: u64) -> AttachmentRef {
    AttachmentRef {
        blob: BlobId::from_bytes([1; 16]),
        key: Nonce32::from_bytes([2; 32]),
        nonce_prefix: vec![3; 19],
        ciphertext_hash: Hash::from_bytes([0; 32]),
        ciphertext_length: sealed_length(length).unwrap(),
        length,
        filename: "a.csv".to_owned(),
        content_type: "text/csv".to_owned(),
    }
}

/// As if this ciphertext had been fetched and had the hash that is cited.
async fn fetched(all: &Arc<Attachments>, reference: &AttachmentRef, sealed: &[u8]) -> Fetched {
    let (number, path) = all.fetch_file();
    std::fs::write(&path, sealed).unwrap();
    Fetched {
        file: File::open(&path).await.unwrap(),
        chunks: Chunks::of(reference).unwrap(),
        reference: reference.clone(),
        _room: Room {
            all: Arc::clone(all),
            number,
            path,
        },
    }
}

/// docs/protocol.md, 7.2: every chunk opens in its place, and the padding is zero, or nothing is given away.
#[tokio::test]
async fn what_does_not_open_to_its_end_is_refused() {
    let folder = TempDir::new().unwrap();
    let all = all(folder.path());
    let reference = reference(100_000);
    let chunks = Chunks::of(&reference).unwrap();
    let padded = waxwire_shared::wire::padme(100_000).unwrap() as usize;
    let mut plaintext = vec![7; 100_000];
    plaintext.resize(padded, 0);
    let seal = |index: u32, last: bool, plaintext: &[u8]| chunks.seal(index, last, plaintext);
    let (first, rest) = plaintext.split_at(PLAIN);
    let good = [seal(0, false, first), seal(1, true, rest)].concat();
    let mut spoilt = rest.to_vec();
    *spoilt.last_mut().unwrap() = 1;
    for (what, sealed) in [
        (
            "padding",
            [seal(0, false, first), seal(1, true, &spoilt)].concat(),
        ),
        (
            "no last chunk",
            [seal(0, false, first), seal(1, false, rest)].concat(),
        ),
        (
            "two last chunks",
            [seal(0, true, first), seal(1, true, rest)].concat(),
        ),
        ("numbers", [seal(1, false, first), seal(0, true, rest)].concat()),
    ] {
        let refused = fetched(&all, &reference, &sealed).await.verify().await;
        assert!(matches!(refused, Err(AttachmentError::Unopenable)), "{what}");
    }
    let mut fetched = fetched(&all, &reference, &good).await;
    fetched.verify().await.unwrap();
    let parts: Vec<Bytes> = fetched.into_stream().try_collect().await.unwrap();
    assert_eq!(parts.concat(), plaintext[..100_000]);
    assert_eq!(all.folder.read_dir().unwrap().count(), 0, "nothing is left");
}
