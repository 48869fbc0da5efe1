//! By which a receiver knows that a call comes from its proxy, is complete, and is not an old one.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::HookSecret;

/// Value of `X-AgentChat-Signature`: `t=<Unix seconds>,v1=<hex>`, where hex is
/// HMAC-SHA-256(secret, `<t>.<body>`) (RFC 2104).
pub(super) fn signature(secret: &HookSecret, seconds: u64, body: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_text().as_bytes()) else {
        return String::new();
    };
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    /// RFC 2104, written out.
    fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
        let mut block = [0; 64];
        if key.len() > 64 {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36), text].concat());
        Sha256::digest([&block.map(|byte| byte ^ 0x5c), inner.as_slice()].concat()).into()
    }

    /// What AgentChat's SDKs do with the header.
    fn verifies(header: &str, secret: &str, body: &str) -> bool {
        let part = |name: &str| {
            let parts = header.split(',').filter_map(|part| part.split_once('='));
            parts
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .next()
        };
        let (Some(time), Some(digest)) = (part("t"), part("v1")) else {
            return false;
        };
        let time: u64 = time.parse().unwrap();
        let signed = format!("{time}.{body}");
        hex::encode(hmac_sha256(secret.as_bytes(), signed.as_bytes())) == digest
    }

    #[test]
    fn signature_is_the_known_one() {
        let secret = HookSecret::new("whsec_test".to_owned());
        let made = signature(&secret, 1_700_000_000, r#"{"event":"message.new"}"#);
        assert_eq!(
            made,
            "t=1700000000,v1=863103f3ee3d11caa0cf38c70a2fad9f3311eeaba3e6fd460f23a46d5138a81f"
        );
    }

    #[test]
    fn verifier_of_the_contract_accepts_only_what_was_signed() {
        for secret in ["0123456789abcdef".to_owned(), "k".repeat(64), "k".repeat(200)] {
            let made = signature(&HookSecret::new(secret.clone()), 1_700_000_000, "{}");
            assert!(verifies(&made, &secret, "{}"));
            assert!(!verifies(&made, &secret, "{ }"));
            assert!(!verifies(&made, "another secret 1234", "{}"));
            assert!(!verifies(&made.replace("t=17", "t=18"), &secret, "{}"));
        }
    }
}
