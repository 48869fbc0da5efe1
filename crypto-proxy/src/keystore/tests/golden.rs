//! A key store that another implementation wrote from the format's description, with libsodium's
//! cipher: key file of the bytes 0 to 31, every nonce byte the number of its slot.

use super::*;
use crate::crypto::testing::{counting, unhex};

const FILE: &str = "\
    776178776b65797300010002000000000000000000000000f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1\
    f1f1f1f1f1f1f1f10000000000000006c46b968c872a97a4e9ec86d444f49495911d6a7a3bf4cd5e68f8d6a26641e720\
    00070001000000a4010101010101010101010101010101010101010101010101ab0f5c1e6f4b5f6a5cfabbaa32629a01\
    f51c4e39896abb03177e8fb3981193b52cc6ccb9747e8978caf38916213a2b4bca3999e6a3cb5845b6065613db53725a\
    ff12c309196e133286243da419e686ef2b58c39dec8d2cb7686a5e252e2ba8394514cfff1802c10375e1d0577fa58c16\
    90d82e9ee87cf7e5af3ec15feb3a84023db474a7798c77cebdd2f2ea0002000000480202020202020202020202020202\
    02020202020202020202094e5832cb4e623e43ec58b88638574fe381541a18beca72350d12ad731bd816dd17d1e7c102\
    c5fdb1925ef93137f6f6000300000048030303030303030303030303030303030303030303030303a0376a3073ec1c92\
    fce008746b5bd883d91c43007cf8c521f6e95c103efd824e05a8cc1f0d12d51da349685bc87c700d00040000002f0404\
    04040404040404040404040404040404040404040404a3510b9bcac158ad5fb8b779c9c032d937a8db13837c6c000500\
    0000b40505050505050505050505050505050505050505050505053a56030f169ba2a1cf7624b9d8b84e2be27909081d\
    acee2b4254b6285d3850b13c451b0bc8ed5eedb650037ae0a4072a77593b678a0b21ff43de76852ef4b78cba8df89fbd\
    d14f09fd4815279233cfc713e51dbf811855a197a7ca1f5e36b1e58e9ef43fd504f186ef14be90a715f135f5c425e889\
    bfb4d33dbc92a6cf1bf07a5cf1894b4b822f13282efe63a8199f0260c844dceda41129eff3943b000600000091060606\
    060606060606060606060606060606060606060606a1e243d192b65706c14cc0474beca0befd21d83c45a56a9fbb4a50\
    5d56402858033ca2638c892d7f4daac9e51197659dce4431b90dc3111b8a445e726369c8fcf98271c09779d50b748808\
    3ea2ec28b3866c932c4caa2aa0165ed508bb943cf348b0e9cf179b73abe1717a9965fb56ab8be9646a7bc9b4665e0007\
    00000068070707070707070707070707070707070707070707070707793cfdd6d7ab091ab76defc81c0c688afd4f8da2\
    b52e93fba103ed882badcf2668d97faec12e8b38f6592303b3c49d5b908e645c50eca9ba6f02e9dbceb4f87cbdd4c222\
    cd2cb401e144773f1685da2f";

/// docs/protocol.md, 8.1: the format, byte for byte.
#[test]
fn open_reads_what_another_implementation_wrote() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    fs::write(place.file(), unhex(FILE)).unwrap();
    let key_file = format!("wxk_{}", hex::encode(counting::<32>(0)));
    fs::write(place.dir().join(KEY_FILE), key_file).unwrap();

    let store = place.open().unwrap();
    assert_eq!(store.generation(), 6);
    let keys = store.keys();
    assert_eq!(keys.status, Status::Active);
    assert_eq!(keys.handle.as_str(), "alice");
    assert_eq!(keys.relay.identity, IdentityKey::ed25519([0xd1; 32]));
    assert_eq!(keys.relay.url, "https://relay.example");
    assert_eq!(keys.recovery, Hash::from_bytes([0xd2; 32]));
    assert_eq!(keys.identity.expose_seed(), &[0xa1; 32]);
    assert_eq!(keys.next_identity.as_ref().unwrap().expose_seed(), &[0xa2; 32]);
    assert_eq!(keys.former_identities.len(), 1);
    assert_eq!(keys.former_identities[0].since_ms, 77);
    assert_eq!(keys.former_identities[0].secret.expose_seed(), &[0xa3; 32]);
    assert_eq!(keys.send_id.expose_bytes(), &[0xb1; 32]);
    assert_eq!(keys.state_master.expose_bytes(), &[0xb2; 32]);
    assert_eq!(keys.api_key.as_ref().unwrap().expose_text(), "wax_key");
    let [old, current] = &keys.encryption[..] else {
        panic!("two keys")
    };
    assert_eq!((old.number, old.created_ms), (1_000, 1_000));
    assert_eq!(
        (old.superseded_ms, old.drained_running_ms),
        (Some(2_000), Some(5))
    );
    assert_eq!(old.secret.expose_bytes(), &[0xc1; 32]);
    assert_eq!((current.number, current.created_ms), (2_000, 2_001));
    assert_eq!((current.superseded_ms, current.drained_running_ms), (None, None));
    assert_eq!(current.secret.expose_bytes(), &[0xc2; 32]);
    assert_eq!(
        (keys.incarnation, keys.session),
        (3_000, SessionId::from_bytes([0xe1; 16]))
    );
    assert_eq!(
        (keys.bundle_number, keys.bundle),
        (4_000, Some(Hash::from_bytes([0xe2; 32])))
    );
}
