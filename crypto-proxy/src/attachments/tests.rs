//! Sealing into the state folder, without a relay.

use std::{path::Path, sync::Arc};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use waxwire_shared::{
    hash::sha256,
    ids::{BlobId, Hash, Nonce32},
    wire::{AttachmentRef, sealed_length},
};

use super::{AttachmentError, Attachments, Bounds, spool::SEALED};
use crate::{
    crypto::attachment::Chunks,
    link::{Client, RelayUrl},
    model::{AttachmentId, Upload, UploadStage},
};

const LENGTH: usize = 200_000;

fn open(state: &Path, space: u64, uploads: &[AttachmentId]) -> Arc<Attachments> {
    let relay = RelayUrl::parse("http://127.0.0.1:1", false).unwrap();
    let bounds = Bounds {
        attachment: 1_000_000,
        space,
    };
    let client = Arc::new(Client::new(relay).unwrap());
    Arc::new(Attachments::open(client, state, bounds, uploads).unwrap())
}

fn upload(length: usize, sha256: Option<[u8; 32]>) -> Upload {
    let length = length as u64;
    Upload {
        id: AttachmentId::upload([7; 16]),
        reference: AttachmentRef {
            blob: BlobId::from_bytes([1; 16]),
            key: Nonce32::from_bytes([2; 32]),
            nonce_prefix: vec![3; 19],
            ciphertext_hash: Hash::from_bytes([0; 32]),
            ciphertext_length: sealed_length(length).unwrap(),
            length,
            filename: "a.csv".to_owned(),
            content_type: "text/csv".to_owned(),
        },
        sha256,
        stage: UploadStage::Open,
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|n| (n % 251) as u8).collect()
}

/// What a recipient reads of a spool's file: the plaintext with its padding.
fn unseal(all: &Attachments, upload: &Upload) -> (Vec<u8>, Hash) {
    let sealed = std::fs::read(all.spool_file(&upload.id)).unwrap();
    assert_eq!(sealed.len() as u64, upload.reference.ciphertext_length);
    let chunks = Chunks::of(&upload.reference).unwrap();
    let count = sealed.len().div_ceil(SEALED);
    let mut plaintext = Vec::new();
    for (index, chunk) in sealed.chunks(SEALED).enumerate() {
        let opened = chunks.open(index as u32, index + 1 == count, chunk).unwrap();
        plaintext.extend_from_slice(&opened);
    }
    (plaintext, sha256(&sealed))
}

/// docs/protocol.md, 7.2: padded, in chunks, whatever pieces it came in.
#[tokio::test]
async fn spool_is_what_the_protocol_says() {
    let folder = TempDir::new().unwrap();
    let all = open(folder.path(), 1 << 30, &[]);
    for length in [0, 1, 512, 513, 65_535, 65_536, 65_537, 131_072, LENGTH] {
        let content = &content()[..length];
        let upload = upload(length, Some(Sha256::digest(content).into()));
        let mut spool = all.spool(&upload).await.unwrap();
        for piece in content.chunks(10_007) {
            spool.write(piece).await.unwrap();
        }
        assert!(spool.is_whole());
        let hash = spool.finish().await.unwrap();
        let (mut plaintext, found) = unseal(&all, &upload);
        assert_eq!(hash, found, "{length}");
        assert!(plaintext.split_off(length).iter().all(|byte| *byte == 0));
        assert_eq!(plaintext, content);
        all.discard(&upload.id);
    }
}

#[tokio::test]
async fn spool_goes_on_where_its_last_whole_chunk_ends() {
    let folder = TempDir::new().unwrap();
    let content = content();
    let upload = upload(LENGTH, Some(Sha256::digest(&content).into()));
    let all = open(folder.path(), 1 << 30, &[]);
    let mut spool = all.spool(&upload).await.unwrap();
    spool.write(&content[..150_000]).await.unwrap();
    spool.pause().await.unwrap();
    // Half of a chunk, as a crash may leave it.
    let file = all.spool_file(&upload.id);
    let mut sealed = std::fs::read(&file).unwrap();
    assert_eq!(sealed.len(), 2 * SEALED);
    sealed.extend_from_slice(&[0; 1_000]);
    std::fs::write(&file, &sealed).unwrap();

    // Another run, which knows the upload.
    let all = open(folder.path(), 1 << 30, &[upload.id]);
    let mut spool = all.spool(&upload).await.unwrap();
    assert_eq!(spool.offset(), 131_072);
    spool.write(&content[131_072..]).await.unwrap();
    let hash = spool.finish().await.unwrap();
    let (plaintext, found) = unseal(&all, &upload);
    assert_eq!((hash, &plaintext[..LENGTH]), (found, &content[..]));

    // Under another key, what was sealed is the same to whoever has that key, and to nobody else.
    sealed.truncate(2 * SEALED);
    std::fs::write(&file, &sealed).unwrap();
    let mut fresh = upload.clone();
    (fresh.reference.key, fresh.reference.blob) = (Nonce32::from_bytes([8; 32]), BlobId::from_bytes([9; 16]));
    assert!(!all.is_fresh(&upload));
    all.reseal(&upload, &fresh).await.unwrap();
    assert_ne!(std::fs::read(&file).unwrap()[..SEALED], sealed[..SEALED]);
    let mut spool = all.spool(&fresh).await.unwrap();
    assert_eq!(spool.offset(), 131_072);
    spool.write(&content[131_072..]).await.unwrap();
    let hash = spool.finish().await.unwrap();
    let (plaintext, found) = unseal(&all, &fresh);
    assert_eq!((hash, &plaintext[..LENGTH]), (found, &content[..]));

    // What was altered on the disk is not built upon.
    sealed[SEALED + 5] ^= 1;
    std::fs::write(&file, &sealed).unwrap();
    assert_eq!(all.spool(&upload).await.unwrap().offset(), 65_536);
    // A run that does not know the upload has no use for it.
    open(folder.path(), 1 << 30, &[]);
    assert!(!file.exists());
}

#[tokio::test]
async fn other_bytes_than_were_announced_are_refused() {
    let folder = TempDir::new().unwrap();
    let all = open(folder.path(), 1 << 30, &[]);
    let mut spool = all.spool(&upload(10, Some([1; 32]))).await.unwrap();
    spool.write(b"0123456789").await.unwrap();
    assert!(matches!(spool.write(b"0").await, Err(AttachmentError::Excess)));
    assert!(matches!(spool.finish().await, Err(AttachmentError::Hash)));
}

/// attacks: attachment bombs; disk is bounded before anything is written.
#[tokio::test]
async fn room_is_taken_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let all = open(folder.path(), 1_000, &[]);
    let refused = all.spool(&upload(LENGTH, None)).await.unwrap_err();
    assert!(matches!(refused, AttachmentError::Space { max: 1_000, .. }));
    let refused = all.fetch(upload(LENGTH, None).reference).await.unwrap_err();
    assert!(matches!(refused, AttachmentError::Space { max: 1_000, .. }));
    let refused = all.fetch(upload(1_000_001, None).reference).await.unwrap_err();
    assert!(matches!(
        refused,
        AttachmentError::TooLarge { max: 1_000_000, .. }
    ));
    assert_eq!(all.folder.read_dir().unwrap().count(), 0);
}

#[test]
fn one_request_at_a_time_works_on_an_upload() {
    let folder = TempDir::new().unwrap();
    let all = open(folder.path(), 1_000, &[]);
    let id = AttachmentId::upload([1; 16]);
    let turn = all.turn(id);
    assert!(turn.is_some() && all.turn(id).is_none());
    drop(turn);
    assert!(all.turn(id).is_some());
}
