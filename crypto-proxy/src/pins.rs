//! Files of pins: which identities handles have at a relay, for a proxy that is set up before it meets anybody
//! (docs/operations/trust.md).
//!
//! ```json
//! {"waxwire_pins": 1, "relay": "FINGERPRINT", "pins": [{"handle": "bob", "fingerprint": "...", "state": "verified"}]}
//! ```
//!
//! Read strictly: nothing unknown, nothing twice, nothing without a place. `state` says what the author of the file
//! knows; what the reader makes of it is the reader's decision.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use waxwire_shared::{fingerprint::Fingerprint, ids::Handle};

use crate::model::PinEntry;

/// Most pins in a file.
pub const MOST: usize = 2_500;
/// Largest file, in bytes.
pub const LARGEST: usize = 512 * 1024;
/// The version that this program reads and writes.
const VERSION: u64 = 1;

/// A file of pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pins)]
pub struct PinFile {
    /// Version of the format: 1.
    waxwire_pins: u64,
    /// Fingerprint of the relay at which the handles are.
    #[schema(value_type = String)]
    relay: Fingerprint,
    /// Each handle once.
    pins: Vec<PinRow>,
}

/// One handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pin)]
struct PinRow {
    #[schema(value_type = String)]
    handle: Handle,
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    state: PinState,
}

/// What the author of a file knows of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum PinState {
    /// Taken for the agent's.
    Pinned,
    /// Compared over another channel.
    Verified,
}

/// Why a file of pins is refused, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinFileError {
    /// It is not JSON of this form, or has a field that is not known.
    #[error("not a file of pins (line {line}, column {column})")]
    Form {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// It is of another version.
    #[error("version {0} of the format is not known")]
    Version(u64),
    /// It has too many pins.
    #[error("{0} pins are more than {MOST}")]
    TooMany(usize),
    /// It is longer than a file may be.
    #[error("{0} bytes are more than {LARGEST}")]
    TooLarge(usize),
    /// A handle stands in it twice.
    #[error("{0} stands there twice")]
    Twice(Handle),
    /// It is of another relay.
    #[error("the pins are of the relay {0}")]
    Relay(Fingerprint),
}

impl PinFile {
    /// A file of these pins.
    #[must_use]
    pub fn new(relay: Fingerprint, pins: Vec<PinEntry>) -> Self {
        let row = |pin: PinEntry| PinRow {
            handle: pin.handle,
            fingerprint: pin.fingerprint,
            state: if pin.verified {
                PinState::Verified
            } else {
                PinState::Pinned
            },
        };
        Self {
            waxwire_pins: VERSION,
            relay,
            pins: pins.into_iter().map(row).collect(),
        }
    }

    /// The pins of a file, all of them taken as verified or none. What its `state`s say is not relied on: whoever
    /// wrote them is somebody else.
    ///
    /// # Errors
    /// [`PinFileError`], for the file as a whole.
    pub fn read(text: &str, relay: &Fingerprint, verified: bool) -> Result<Vec<PinEntry>, PinFileError> {
        if text.len() > LARGEST {
            return Err(PinFileError::TooLarge(text.len()));
        }
        let file: Self = serde_json::from_str(text).map_err(|error| PinFileError::Form {
            line: error.line(),
            column: error.column(),
        })?;
        if file.waxwire_pins != VERSION {
            return Err(PinFileError::Version(file.waxwire_pins));
        }
        if file.relay != *relay {
            return Err(PinFileError::Relay(file.relay));
        }
        if file.pins.len() > MOST {
            return Err(PinFileError::TooMany(file.pins.len()));
        }
        let mut seen = HashSet::new();
        for row in &file.pins {
            if !seen.insert(&row.handle) {
                return Err(PinFileError::Twice(row.handle.clone()));
            }
        }
        let entry = |row: PinRow| PinEntry {
            handle: row.handle,
            fingerprint: row.fingerprint,
            verified,
        };
        Ok(file.pins.into_iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waxwire_shared::identity::IdentityKey;

    use super::*;

    fn fingerprint(of: u8) -> Fingerprint {
        Fingerprint::of(&IdentityKey::ed25519([of; 32]))
    }

    fn pins() -> Vec<PinEntry> {
        let pin = |handle: &str, of, verified| PinEntry {
            handle: handle.parse().unwrap(),
            fingerprint: fingerprint(of),
            verified,
        };
        vec![pin("alice", 1, true), pin("bob", 2, false)]
    }

    fn read(text: &str) -> Result<Vec<PinEntry>, PinFileError> {
        PinFile::read(text, &fingerprint(9), false)
    }

    #[test]
    fn what_is_written_is_read_and_the_reader_decides_on_trust() {
        let file = PinFile::new(fingerprint(9), pins());
        let text = serde_json::to_string(&file).unwrap();
        let expected = json!({"waxwire_pins": 1, "relay": fingerprint(9).to_string(), "pins": [
            {"handle": "alice", "fingerprint": fingerprint(1).to_string(), "state": "verified"},
            {"handle": "bob", "fingerprint": fingerprint(2).to_string(), "state": "pinned"},
        ]});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            expected
        );
        for verified in [false, true] {
            let read = PinFile::read(&text, &fingerprint(9), verified).unwrap();
            assert!(read.iter().all(|pin| pin.verified == verified));
            assert!(
                read.iter()
                    .zip(pins())
                    .all(|(one, other)| one.fingerprint == other.fingerprint)
            );
        }
    }

    #[test]
    fn files_that_are_not_exactly_right_are_refused_as_a_whole() {
        let good = serde_json::to_value(PinFile::new(fingerprint(9), pins())).unwrap();
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut file = good.clone();
            change(&mut file);
            read(&file.to_string())
        };
        let form = |refused: Result<_, _>| matches!(refused, Err(PinFileError::Form { .. }));
        assert!(with(&|_| ()).is_ok());
        assert!(form(with(&|file| file["more"] = json!(1))));
        assert!(form(with(&|file| file["pins"][0]["note"] = json!("x"))));
        assert!(form(with(&|file| file["pins"][0]["state"] = json!("blocked"))));
        assert!(form(with(
            &|file| file["pins"][0]["handle"] = json!("Not A Handle")
        )));
        assert!(form(with(&|file| file["pins"][0]["fingerprint"] = json!("12"))));
        assert!(form(with(&|file| drop(
            file.as_object_mut().unwrap().remove("relay")
        ))));
        let twice = with(&|file| file["pins"][1]["handle"] = json!("alice"));
        assert_eq!(twice, Err(PinFileError::Twice("alice".parse().unwrap())));
        assert_eq!(
            with(&|file| file["waxwire_pins"] = json!(2)),
            Err(PinFileError::Version(2))
        );
        let elsewhere = with(&|file| file["relay"] = json!(fingerprint(8).to_string()));
        assert_eq!(elsewhere, Err(PinFileError::Relay(fingerprint(8))));
        assert!(form(read("{\"waxwire_pins\": 1, \"waxwire_pins\": 1}")));
        assert!(form(read("")));
        let many = with(&|file| file["pins"] = json!(vec![good["pins"][0].clone(); MOST + 1]));
        assert_eq!(many, Err(PinFileError::TooMany(MOST + 1)));
        assert_eq!(
            read(&" ".repeat(LARGEST + 1)),
            Err(PinFileError::TooLarge(LARGEST + 1))
        );
    }
}
