use super::*;
use crate::crypto::testing::unhex;

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn pieces<const N: usize>(salt: Option<&str>, key: &str, info: &str) -> String {
    let (salt, info) = (salt.map(unhex), unhex(info));
    let (one, other) = info.split_at(info.len() / 3);
    let mut out = [0; N];
    expand(salt.as_deref(), &unhex(key), &[one, other], &mut out);
    hex(&out)
}

/// RFC 5869, A.1 to A.3, with `info` in two pieces.
#[test]
fn expansion_matches_rfc_5869() {
    assert_eq!(
        pieces::<42>(
            Some("000102030405060708090a0b0c"),
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "f0f1f2f3f4f5f6f7f8f9"
        ),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    );
    let range = |from: u8, to: u8| (from..=to).map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        pieces::<82>(Some(&range(0x60, 0xaf)), &range(0, 0x4f), &range(0xb0, 0xff)),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
         da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
    );
    // Without salt: what every derivation here does.
    assert_eq!(
        pieces::<42>(None, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", ""),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    );
}

const KEY: [u8; 32] = [0x11; 32];

/// docs/protocol.md, 2.2: one pinned output for each derivation, made by an independent HKDF.
#[test]
fn derivations_are_pinned() {
    let send_id = SendIdKey::from_slice(&KEY).unwrap();
    let conversation = ConversationId::from_bytes([0x22; 32]);
    let mid = mid(&send_id, &conversation, "client-msg-1", 7);
    assert_eq!(mid.to_string(), "7e1bf9ce59f9fc58099c5c6d0b5840b3");

    let epoch = EpochKey::from_slice(&KEY).unwrap();
    assert_eq!(
        epoch_commitment(&epoch).to_string(),
        "2dcdb3fdc8917f685707d8cacbc1567aeae787f425068b8b9fffd73a161dc99c"
    );
    let (group, commit) = (GroupId::from_bytes([0x33; 32]), Hash::from_bytes([0x44; 32]));
    let chain = first_chain_key(&epoch, &group, 9, &commit, &IdentityKey::ed25519([0x55; 32]));
    assert_eq!(
        hex(chain.expose_bytes()),
        "5dacb47fa48cde68c30dd833fe950496af035a1ecfcaec404cbd4db6ff39fbd5"
    );

    let chain = ChainKey::from_slice(&KEY).unwrap();
    assert_eq!(
        hex(message_key(&chain).expose_bytes()),
        "fcc9cdf563d3b3041114ecb8e2d9b1c950550e43d5a1066fa916fe692d182edb"
    );
    assert_eq!(
        hex(next_chain_key(&chain).expose_bytes()),
        "60262f6c876bbaebfd2e3549a8e2b14fc97eba6ab87f9afe65b75e9bf7f147a2"
    );

    let kek = StoreKek::from_slice(&KEY).unwrap();
    assert_eq!(
        hex(&store_commitment(&kek)),
        "2b09cafabaf0fa66609afa534432af3c234fd76ea16476d932fe7ea1c9a5fd0f"
    );
    assert_eq!(
        hex(store_wrap_key(&kek).expose_bytes()),
        "7bf0787935ec02f963ab3ed4855c7b3faebe965d8d7b912ec419ef4c7e46b182"
    );
    assert_eq!(
        hex(backup_key(&kek).expose_bytes()),
        "68cf467d8f834e5794d2f68e427b60c9a67caa6a89ac0bc1440de1a79b81a41f"
    );

    let state = state_key(&StateMasterKey::from_slice(&KEY).unwrap(), 5);
    assert_eq!(
        hex(state.expose_bytes()),
        "3ae205d07d3d432ff85ad3cd45ef8829bcae89310a869fd86a6a373b6dc55ec0"
    );
    let tags = StateKey::from_slice(&KEY).unwrap();
    assert_eq!(
        hex(&column_tag(&tags, "peers.handle", b"alice")),
        "a83cfc65f9601824af0ee25153e02fe4"
    );

    let attachment = attachment_chunk_key(&AttachmentKey::from_slice(&KEY).unwrap());
    assert_eq!(
        hex(attachment.expose_bytes()),
        "630ff561ff900da493c0aaca8fa7b4c1f43000f6eb28cc6654d4e4e8a7f84487"
    );

    assert_eq!(
        hex(&local_proof(&KEY, &[0x66; 32], "http://127.0.0.1:7700")),
        "e804639ff2dcb0e63a8db182cbb2ee63c097ac9d1ebd9e1592d3d7ee726468b9"
    );
}

/// docs/protocol.md, 2.2: every field of a derivation changes its output.
#[test]
fn mid_depends_on_every_field() {
    let key = SendIdKey::from_slice(&KEY).unwrap();
    let other_key = SendIdKey::from_slice(&[0x12; 32]).unwrap();
    let (a, b) = (
        ConversationId::from_bytes([1; 32]),
        ConversationId::from_bytes([2; 32]),
    );
    let first = mid(&key, &a, "x", 0);
    assert_eq!(first, mid(&key, &a, "x", 0));
    for other in [
        mid(&other_key, &a, "x", 0),
        mid(&key, &b, "x", 0),
        mid(&key, &a, "y", 0),
        mid(&key, &a, "x", 1),
    ] {
        assert_ne!(first, other);
    }
}

/// docs/protocol.md, 2.2 and 6.7: the first chain is that of group, epoch, rekey commit and sender.
#[test]
fn first_chain_key_depends_on_every_field() {
    let chain = |key: u8, group: u8, epoch: u64, commit: u8, sender: u8| {
        let chain = first_chain_key(
            &EpochKey::from_slice(&[key; 32]).unwrap(),
            &GroupId::from_bytes([group; 32]),
            epoch,
            &Hash::from_bytes([commit; 32]),
            &IdentityKey::ed25519([sender; 32]),
        );
        *chain.expose_bytes()
    };
    let first = chain(1, 2, 3, 4, 5);
    for other in [
        chain(9, 2, 3, 4, 5),
        chain(1, 9, 3, 4, 5),
        chain(1, 2, 9, 4, 5),
        chain(1, 2, 3, 9, 5),
        chain(1, 2, 3, 4, 9),
    ] {
        assert_ne!(first, other);
    }
}
