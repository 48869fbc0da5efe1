//! Signatures of webhooks, in both directions: from a crypto proxy to its agent, and from a relay to a
//! crypto proxy (docs/proxy-api.md, Webhooks; docs/relay-api.md, Wake-ups).
//!
//! `t=<Unix seconds>,v1=<hex>`, where hex is HMAC-SHA-256(secret, `<t>.<body>`) (RFC 2104). The time bounds
//! for how long a call that was recorded can be repeated.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header with which a relay signs its calls.
pub const HEADER: &str = "x-waxwire-signature";
/// How far the time of a signature may be from now, in seconds.
pub const TOLERANCE: u64 = 300;
/// Bytes that a secret may have.
pub const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Why a call is not taken for one of whoever knows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not of the form.
    #[error("the signature is malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("the signature is too old or too new")]
    Time,
    /// Another secret, time or body.
    #[error("the signature is wrong")]
    Wrong,
}

fn mac(secret: &[u8], seconds: u64, body: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// Signs a call.
#[must_use]
pub fn sign(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let digest = mac(secret, seconds, body).map(|mac| mac.finalize().into_bytes());
    format!("t={seconds},v1={}", hex::encode(digest.unwrap_or_default()))
}

/// Verifies a call; gives the digest, which is another for every call.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(secret: &[u8], header: &str, body: &[u8], now: u64) -> Result<[u8; 32], SignatureError> {
    let (mut time, mut digest) = (None, None);
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) if time.is_none() => time = Some(value),
            Some(("v1", value)) if digest.is_none() => digest = Some(value),
            Some(("t" | "v1", _)) | None => return Err(SignatureError::Malformed),
            Some(_) => {}
        }
    }
    let (Some(time), Some(digest)) = (time, digest) else {
        return Err(SignatureError::Malformed);
    };
    let plain = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = time.parse().map_err(|_| SignatureError::Malformed)?;
    let mut given = [0; 32];
    let decoded = hex::decode_to_slice(digest, &mut given);
    // The signed text has the number in its plain form.
    if !plain || seconds.to_string() != time || decoded.is_err() {
        return Err(SignatureError::Malformed);
    }
    if seconds.abs_diff(now) > TOLERANCE {
        return Err(SignatureError::Time);
    }
    let mac = mac(secret, seconds, body).ok_or(SignatureError::Wrong)?;
    // In constant time.
    mac.verify_slice(&given).map_err(|_| SignatureError::Wrong)?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    const AT: u64 = 1_700_000_000;

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

    #[test]
    fn signature_is_the_known_one() {
        let made = sign(b"whsec_test", AT, br#"{"event":"message.new"}"#);
        assert_eq!(
            made,
            "t=1700000000,v1=863103f3ee3d11caa0cf38c70a2fad9f3311eeaba3e6fd460f23a46d5138a81f"
        );
    }

    #[test]
    fn verifier_of_the_contract_accepts_what_was_signed() {
        for secret in ["0123456789abcdef".to_owned(), "k".repeat(64), "k".repeat(200)] {
            let made = sign(secret.as_bytes(), AT, b"{}");
            let expected = hmac_sha256(secret.as_bytes(), format!("{AT}.{{}}").as_bytes());
            assert_eq!(made, format!("t={AT},v1={}", hex::encode(expected)));
            assert_eq!(verify(secret.as_bytes(), &made, b"{}", AT), Ok(expected));
        }
    }

    #[test]
    fn attack_87_verify_rejects_what_was_not_signed() {
        let secret = b"a secret of a hook";
        let made = sign(secret, AT, b"{}");
        for (secret, header, body, now, error) in [
            (
                &b"another secret 123"[..],
                made.clone(),
                &b"{}"[..],
                AT,
                SignatureError::Wrong,
            ),
            (secret, made.clone(), b"{ }", AT, SignatureError::Wrong),
            (
                secret,
                made.replace("t=17000000", "t=17000001"),
                b"{}",
                AT,
                SignatureError::Wrong,
            ),
            (secret, made.clone(), b"{}", AT + 301, SignatureError::Time),
            (secret, made.clone(), b"{}", AT - 301, SignatureError::Time),
            (
                secret,
                made.replace("t=", "t=0"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (
                secret,
                made.replace("t=", "t=+"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (secret, made.clone(), b"", AT, SignatureError::Wrong),
            (
                secret,
                format!("{made},{made}"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (
                secret,
                made.replace("v1", "v2"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (
                secret,
                made[..made.len() - 2].to_owned(),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            // A part that comes twice could be read in two ways.
            (
                secret,
                format!("t=1,{made}"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (
                secret,
                format!("v1=00,{made}"),
                b"{}",
                AT,
                SignatureError::Malformed,
            ),
            (secret, String::new(), b"{}", AT, SignatureError::Malformed),
        ] {
            assert_eq!(verify(secret, &header, body, now), Err(error), "{header}");
        }
        for now in [AT + 300, AT - 300] {
            assert!(verify(secret, &format!("v0=1, {made}"), b"{}", now).is_ok());
        }
    }
}
