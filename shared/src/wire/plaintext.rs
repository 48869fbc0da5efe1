//! The sealed plaintext: kind magic, length, signed object, zeros to a bucket (docs/protocol.md, 3).

use super::Kind;
use crate::limits;

/// The first seven bytes of every plaintext; the kind is the eighth.
const MAGIC: &[u8; 7] = b"waxwire";

/// Why a plaintext is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    /// The object does not fit into the largest bucket.
    #[error("plaintext of {actual} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Longest object, in bytes.
        max: usize,
        /// Length found.
        actual: usize,
    },
    /// The length is not that of the object's bucket, the magic is wrong or the rest is not zero.
    #[error("malformed plaintext")]
    Malformed,
    /// The kind is not one of this version, or never padded: an epoch key has a plaintext of its own.
    #[error("unknown kind {number}")]
    UnknownKind {
        /// The number found.
        number: u8,
    },
}

/// `magic 7 || kind u8 || length u32 big-endian || object || zeros`, filled to the smallest of the
/// buckets 512, 1024, ... 65536 bytes.
///
/// # Errors
/// [`PaddingError::TooLarge`].
pub fn pad(kind: Kind, object: &[u8]) -> Result<Vec<u8>, PaddingError> {
    let bucket = bucket_of(object.len())?;
    let length = u32::try_from(object.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(bucket);
    out.extend_from_slice(MAGIC);
    out.push(kind.number());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(object);
    out.resize(bucket, 0);
    Ok(out)
}

/// The kind and the object of a padded plaintext. Bucket and zeros are checked.
///
/// # Errors
/// [`PaddingError::Malformed`], [`PaddingError::UnknownKind`].
pub fn unpad(plaintext: &[u8]) -> Result<(Kind, &[u8]), PaddingError> {
    let (prefix, rest) = plaintext
        .split_first_chunk::<{ limits::PLAINTEXT_PREFIX }>()
        .ok_or(PaddingError::Malformed)?;
    let [m0, m1, m2, m3, m4, m5, m6, number, l0, l1, l2, l3] = *prefix;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if &[m0, m1, m2, m3, m4, m5, m6] != MAGIC {
        return Err(PaddingError::Malformed);
    }
    let (object, zeros) = rest.split_at_checked(length).ok_or(PaddingError::Malformed)?;
    if bucket_of(length) != Ok(plaintext.len()) || zeros.iter().any(|b| *b != 0) {
        return Err(PaddingError::Malformed);
    }
    match Kind::from_number(number) {
        Some(kind) if kind != Kind::EpochKey => Ok((kind, object)),
        _ => Err(PaddingError::UnknownKind { number }),
    }
}

fn bucket_of(length: usize) -> Result<usize, PaddingError> {
    let max = limits::BUCKET_MAX - limits::PLAINTEXT_PREFIX;
    if length > max {
        return Err(PaddingError::TooLarge { max, actual: length });
    }
    Ok((length + limits::PLAINTEXT_PREFIX)
        .next_power_of_two()
        .max(limits::BUCKET_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 3.4: only bucket sizes appear, zeros and bucket are checked.
    #[test]
    fn padding_round_trips_and_only_buckets_appear() {
        for length in [0, 1, 500, 501, 1_012, 1_013, 65_524] {
            let object = vec![7; length];
            let padded = pad(Kind::Direct, &object).unwrap();
            assert!(padded.len().is_power_of_two() && (512..=65_536).contains(&padded.len()));
            assert_eq!(unpad(&padded), Ok((Kind::Direct, object.as_slice())));
        }
        let max = 65_524;
        assert_eq!(
            pad(Kind::Direct, &vec![0; max + 1]),
            Err(PaddingError::TooLarge { max, actual: max + 1 })
        );
    }

    /// docs/protocol.md, 3.4: another magic, kind, length, bucket or rest is refused.
    #[test]
    fn unpad_refuses_any_other_form() {
        let good = pad(Kind::Direct, b"object").unwrap();
        let mut dirty = good.clone();
        dirty[511] = 1;
        assert_eq!(unpad(&dirty), Err(PaddingError::Malformed));
        let mut larger = good.clone();
        larger.resize(1024, 0);
        assert_eq!(unpad(&larger), Err(PaddingError::Malformed));
        let mut foreign = good.clone();
        foreign[0] ^= 1;
        assert_eq!(unpad(&foreign), Err(PaddingError::Malformed));
        let mut unknown = good.clone();
        unknown[7] = 0;
        assert_eq!(unpad(&unknown), Err(PaddingError::UnknownKind { number: 0 }));
        unknown[7] = Kind::EpochKey.number();
        assert_eq!(unpad(&unknown), Err(PaddingError::UnknownKind { number: 32 }));
        assert_eq!(unpad(&good[..11]), Err(PaddingError::Malformed));
    }
}
