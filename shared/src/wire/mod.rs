//! Every binary format: deterministic CBOR with integer keys (docs/protocol.md, 3 and 13).
//!
//! Each format is one table of field numbers. A number is never used again for another meaning;
//! retired ones stay reserved. Positive unknown keys are refused, negative ones are skipped: they
//! are room for later versions and stay under the signature because bytes are carried verbatim. Rules
//! that need nothing but the document itself are part of decoding ([`Wire::check_rules`]).

mod attachment;
mod bundle;
mod challenge;
mod codec;
mod control;
mod envelope;
mod lease;
mod message;
mod plaintext;
mod rekey;
mod roster;
mod rules;
mod table;
mod transparency;
mod values;

pub use attachment::{AttachmentRef, CHUNK, is_filename, padme, sealed_length};
pub use bundle::{Bundle, BundleKey, BundleRule, Succession, SuccessionBytes, is_contributory_x25519};
pub use challenge::{Challenge, ChallengePurpose, RelayDescription};
pub use codec::{DecodeError, Document, MapReader, Reader, Wire, Writer, check_item};
pub use control::{HistoryGrant, InviteNotice, Presence, Profile, Resend, ResendRequest, Typing, Unreadable};
pub use envelope::{DirectHeader, Envelope, EnvelopeError, GroupHeader, Header, Lane};
pub use lease::Lease;
pub use message::{Context, ControlBody, Core, Kind, MessageBytes, NRange, Receipt, ReceiptState, VERSION};
pub use plaintext::{PaddingError, pad, unpad};
pub use rekey::{EmptyReason, EpochKeyPlaintext, Leaf, LeafContent, LeafProof, Leaves, Rekey};
pub use roster::{Change, Commit, CutOff, InviteRef, JoinPolicy, Member, Policy, Role, RosterSnapshot};
pub use transparency::{LogConsistency, LogHead, LogLeaf, LogProof};
pub(crate) use {
    codec::Field,
    table::{wire_enum, wire_map},
};

#[cfg(test)]
mod tests;
