//! Attachments: files beside a message.

use std::{fmt, str::FromStr};

use waxwire_shared::wire::AttachmentRef;

use super::{LocalIdError, MessageId, parse_hex};

/// Names an attachment here: `att_` and 32 hexadecimal digits, of an upload or of the message that cites
/// it; behind `_` its place if the message cites several. Means nothing to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttachmentId {
    /// Of the upload, or of the message.
    pub id: [u8; 16],
    /// Which of those that the message cites.
    pub place: u8,
}

impl AttachmentId {
    /// An upload.
    #[must_use]
    pub const fn upload(id: [u8; 16]) -> Self {
        Self { id, place: 0 }
    }

    /// What a message cites in a place.
    #[must_use]
    pub const fn cited(message: MessageId, place: u8) -> Self {
        Self { id: message.0, place }
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "att_{}", hex::encode(self.id))?;
        match self.place {
            0 => Ok(()),
            place => write!(f, "_{place}"),
        }
    }
}

impl FromStr for AttachmentId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        let (digits, place) = match text.strip_prefix("att_").and_then(|rest| rest.split_once('_')) {
            Some((digits, place)) => (digits, place.parse().map_err(|_| LocalIdError)?),
            None => (text.strip_prefix("att_").ok_or(LocalIdError)?, 0),
        };
        let id = Self {
            id: parse_hex(digits, "")?,
            place,
        };
        // One text for each.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(LocalIdError)
        }
    }
}

/// `POST /v1/uploads` after parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// File name.
    pub filename: String,
    /// MIME type.
    pub content_type: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
    /// SHA-256 of the ticket that lets the bytes in.
    pub ticket: [u8; 32],
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UploadStage {
    /// The agent has not given all of it.
    Open,
    /// It is sealed and lies in the state folder; the relay may have a part of it.
    Sealed,
    /// The relay has it.
    Stored,
}

/// An own attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: AttachmentId,
    /// What a message will cite; until it is sealed, without the hash.
    pub reference: AttachmentRef,
    /// SHA-256 that the plaintext must have.
    pub sha256: Option<[u8; 32]>,
    /// How far it is.
    pub stage: UploadStage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachment_ids_have_one_text_each() {
        let digits = "0123456789abcdef0123456789abcdef";
        for place in [0, 1, 15] {
            let message = MessageId(*b"0123456789abcdef");
            let id = AttachmentId::cited(message, place);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in [
            digits.to_owned(),
            format!("att_{digits}_0"),
            format!("att_{digits}_01"),
            format!("att_{digits}_256"),
            format!("att_{digits}_"),
            format!("att_{}", digits.to_uppercase()),
            format!("att_{}", &digits[1..]),
            "att_".to_owned(),
        ] {
            assert_eq!(bad.parse::<AttachmentId>(), Err(LocalIdError), "{bad}");
        }
    }
}
