use waxwire_shared::{
    identity::Signature,
    ids::{Handle, Hash},
    limits,
};

use super::*;
use crate::crypto::{
    kdf, sealed_box,
    secret::ChainKey,
    testing::{flips, rng},
};

const HEADER: &[u8] = b"header";

fn identity() -> IdentitySecret {
    IdentitySecret::generate(&mut rng(1))
}

fn member() -> EncryptionSecret {
    EncryptionSecret::generate(&mut rng(2))
}

fn message_key() -> MessageKey {
    kdf::message_key(&ChainKey::from_slice(&[3; 32]).unwrap())
}

fn context() -> Context {
    Context {
        header: HEADER.to_vec(),
        recipient_handle: Some("bob".parse::<Handle>().unwrap()),
        recipient: Some(identity().public().clone()),
        recipient_key_number: Some(1),
        sender_key_number: Some(2),
        sender_bundle: Some(Hash::from_bytes([4; 32])),
        log_head: None,
    }
}

fn signed(kind: Kind) -> MessageBytes {
    sign_message(&identity(), kind, &context(), b"core")
}

/// docs/protocol.md, 5.3
#[test]
fn signed_message_verifies_for_its_kind_and_signer_only() {
    let message = signed(Kind::Direct);
    assert_eq!(message.core, b"core");
    assert_eq!(Context::decode(&message.context).unwrap(), context());
    assert_eq!(message.verify(Kind::Direct, identity().public()), Ok(()));
    assert!(message.verify(Kind::Receipt, identity().public()).is_err());
    let other = IdentitySecret::generate(&mut rng(9));
    assert!(message.verify(Kind::Direct, other.public()).is_err());
}

/// docs/protocol.md, 5.3: the signature is over the hashes of context and core.
/// Attack 40: what was signed for one audience is nothing for another.
#[test]
fn signature_covers_context_and_core() {
    for altered in [
        MessageBytes {
            core: b"c0re".to_vec(),
            ..signed(Kind::Direct)
        },
        MessageBytes {
            context: Context {
                header: b"other".to_vec(),
                ..context()
            }
            .encode(),
            ..signed(Kind::Direct)
        },
    ] {
        assert!(altered.verify(Kind::Direct, identity().public()).is_err());
    }
}

/// A head of the log beside this many bytes: what became of the message, its padded length without and with it.
fn carried(core: usize, may_lengthen: bool) -> (MessageBytes, bool, usize, usize) {
    let core = vec![b'c'; core];
    let head = CarriedHead {
        signed: vec![7; 200],
        may_lengthen,
    };
    let with = |head| sign_with_head(&identity(), Kind::Direct, context(), &core, head);
    let (message, carries) = with(Some(head));
    let length = |message: &MessageBytes| padded(Kind::Direct, message).map_or(0, |padded| padded.len());
    let (plain, _) = with(None);
    (message.clone(), carries, length(&plain), length(&message))
}

/// docs/protocol.md, 10: a head travels where there is room for it, and else the message goes without.
#[test]
fn head_is_carried_where_there_is_room() {
    let log_head = |message: &MessageBytes| Context::decode(&message.context).unwrap().log_head;
    let (message, carries, without, with) = carried(4, false);
    assert!(carries && without == with);
    assert_eq!(log_head(&message), Some(vec![7; 200]));
    assert_eq!(message.verify(Kind::Direct, identity().public()), Ok(()));
    // The last length that fits into the bucket without a head.
    let edge = (4..).find(|core| carried(core + 1, true).2 > without).unwrap();
    let (message, carries, ..) = carried(edge, false);
    assert!(!carries && log_head(&message).is_none());
    let (message, carries, without, with) = carried(edge, true);
    assert!(carries && with > without && log_head(&message).is_some());
    // There is no longer bucket.
    let (message, carries, without, _) = carried(limits::OBJECT - 250, true);
    assert!(!carries && without > 0 && log_head(&message).is_none());
}

#[test]
fn direct_message_round_trips_in_its_bucket() {
    let sealed = seal_direct(
        &mut rng(4),
        member().public(),
        Kind::Direct,
        &signed(Kind::Direct),
    )
    .unwrap();
    assert_eq!(sealed.len(), 512 + sealed_box::OVERHEAD);
    assert_eq!(
        open_direct(&member(), &sealed),
        Ok((Kind::Direct, signed(Kind::Direct)))
    );
}

#[test]
fn group_message_round_trips_in_its_bucket() {
    let sealed = seal_group(
        &mut rng(4),
        message_key(),
        HEADER,
        Kind::Group,
        &signed(Kind::Group),
    )
    .unwrap();
    assert_eq!(sealed.len(), 512 + group::OVERHEAD);
    assert_eq!(
        open_group(&message_key(), HEADER, &sealed),
        Ok((Kind::Group, signed(Kind::Group)))
    );
}

/// docs/protocol.md, 2.5: the associated data is the exact header.
#[test]
fn open_group_rejects_another_header_or_key() {
    let sealed = seal_group(
        &mut rng(4),
        message_key(),
        HEADER,
        Kind::Group,
        &signed(Kind::Group),
    )
    .unwrap();
    let refusal = Err(OpenMessageError::Open(OpenError));
    for header in flips(HEADER).chain([Vec::new(), b"header\0".to_vec()]) {
        assert_eq!(open_group(&message_key(), &header, &sealed), refusal);
    }
    let next = kdf::message_key(&kdf::next_chain_key(&ChainKey::from_slice(&[3; 32]).unwrap()));
    assert_eq!(open_group(&next, HEADER, &sealed), refusal);
}

/// Attack 50: no flipped bit anywhere opens.
#[test]
fn open_rejects_every_flipped_bit() {
    let direct = seal_direct(
        &mut rng(4),
        member().public(),
        Kind::Direct,
        &signed(Kind::Direct),
    )
    .unwrap();
    let in_group = seal_group(
        &mut rng(4),
        message_key(),
        HEADER,
        Kind::Group,
        &signed(Kind::Group),
    )
    .unwrap();
    let member = member();
    // Every bit of what stands in front, every byte of the rest.
    for flipped in flips(&direct)
        .enumerate()
        .filter(|(bit, _)| *bit < 8 * 64 || bit % 8 == 3)
        .map(|(_, f)| f)
    {
        assert_eq!(
            open_direct(&member, &flipped),
            Err(OpenMessageError::Open(OpenError))
        );
    }
    for flipped in flips(&in_group) {
        assert_eq!(
            open_group(&message_key(), HEADER, &flipped),
            Err(OpenMessageError::Open(OpenError))
        );
    }
}

/// docs/protocol.md, 5.7, step 3, and 6.8, step 4: kinds have their lanes and forms.
/// Attack 54: kinds stay in the form of envelope that they belong to, on both sides.
#[test]
fn kinds_are_refused_where_they_have_no_place() {
    // What is in a leaf is refused before its place is asked for.
    let refusal = |kind: Kind| match kind {
        Kind::EpochKey => OpenMessageError::Padding(PaddingError::UnknownKind {
            number: kind.number(),
        }),
        kind => OpenMessageError::Kind { kind },
    };
    for kind in Kind::ALL.iter().copied() {
        let message = signed(kind);
        let sealed = seal_direct(&mut rng(5), member().public(), kind, &message);
        let forged = sealed_box::seal(&mut rng(5), member().public(), &padded(kind, &message).unwrap());
        if kind.direct_lane().is_some() {
            assert_eq!(open_direct(&member(), &sealed.unwrap()), Ok((kind, message)));
        } else {
            assert_eq!(sealed, Err(SealMessageError::Kind { kind }));
            assert_eq!(open_direct(&member(), &forged), Err(refusal(kind)));
        }

        let message = signed(kind);
        let sealed = seal_group(&mut rng(5), message_key(), HEADER, kind, &message);
        let forged = group::seal(
            &mut rng(5),
            message_key(),
            HEADER,
            &padded(kind, &message).unwrap(),
        );
        if kind.is_for_groups() {
            assert_eq!(
                open_group(&message_key(), HEADER, &sealed.unwrap()),
                Ok((kind, message))
            );
        } else {
            assert_eq!(sealed, Err(SealMessageError::Kind { kind }));
            assert_eq!(open_group(&message_key(), HEADER, &forged), Err(refusal(kind)));
        }
    }
}

/// Attack 54: an epoch key is no message.
#[test]
fn open_direct_refuses_what_is_no_padded_message() {
    let refused = |plaintext: &[u8]| {
        let sealed = sealed_box::seal(&mut rng(6), member().public(), plaintext);
        open_direct(&member(), &sealed).unwrap_err()
    };
    assert_eq!(refused(b""), OpenMessageError::Padding(PaddingError::Malformed));
    assert_eq!(
        refused(&[b"waxwire ".as_slice(), &[7; 40]].concat()),
        OpenMessageError::Padding(PaddingError::Malformed)
    );
    let not_cbor = pad(Kind::Direct, b"not cbor").unwrap();
    assert!(matches!(refused(&not_cbor), OpenMessageError::Decode(_)));
}

/// docs/protocol.md, 3.4: what does not fit into the largest bucket is refused, nothing is cut.
#[test]
fn seal_refuses_what_does_not_fit() {
    let message = |core: usize| MessageBytes {
        context: vec![1],
        core: vec![1; core],
        signature: Signature::new([1; 64]),
    };
    let overhead = message(60_000).encode().len() - 60_000;
    let most = limits::OBJECT - overhead;
    let seal = |core| seal_direct(&mut rng(7), member().public(), Kind::Direct, &message(core));
    assert_eq!(
        seal(most).unwrap().len(),
        limits::BUCKET_MAX + sealed_box::OVERHEAD
    );
    assert!(matches!(
        seal(most + 1),
        Err(SealMessageError::Padding(PaddingError::TooLarge { .. }))
    ));
}
