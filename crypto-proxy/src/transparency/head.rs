//! Signed heads: one log that only grows, or not.

use waxwire_shared::{
    identity::{IdentityKey, VerifyError},
    ids::{Hash, RelayId},
    merkle::{leaf_hash, verify_consistency, verify_inclusion},
    sign::{SignedError, Unverified},
    wire::{DecodeError, Document as _, LogConsistency, LogHead, LogLeaf, LogProof},
};

/// The relay whose log it is, as it was pinned.
#[derive(Debug, Clone, Copy)]
pub struct LogOwner<'a> {
    /// Its id.
    pub relay: &'a RelayId,
    /// Its identity, which signs heads.
    pub identity: &'a IdentityKey,
}

/// A head that the relay has signed. Whether it is of the log that is known is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    body: LogHead,
    bytes: Vec<u8>,
}

/// Why something is no head of the relay's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not well-formed, or somebody else has signed it.
    #[error("not a signed head")]
    Signed(#[from] SignedError),
    /// It names another relay.
    #[error("head of another relay's log")]
    Relay,
    /// It covers no leaf, so it says nothing.
    #[error("head of an empty log")]
    Empty,
}

impl From<DecodeError> for HeadError {
    fn from(error: DecodeError) -> Self {
        Self::Signed(error.into())
    }
}

impl From<VerifyError> for HeadError {
    fn from(error: VerifyError) -> Self {
        Self::Signed(error.into())
    }
}

impl Head {
    /// Decodes a signed head and verifies that the log's owner has signed it.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn verify(bytes: &[u8], owner: LogOwner<'_>) -> Result<Self, HeadError> {
        let head = Unverified::<LogHead>::decode(bytes)?.verify_by(owner.identity)?;
        if head.body().relay != *owner.relay {
            return Err(HeadError::Relay);
        }
        if head.body().size == 0 {
            return Err(HeadError::Empty);
        }
        Ok(Self {
            bytes: head.bytes().to_vec(),
            body: head.into_body(),
        })
    }

    /// Names the log.
    #[must_use]
    pub const fn log(&self) -> Hash {
        self.body.log
    }

    /// Number of leaves; at least one.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.body.size
    }

    /// Root over the leaves.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.body.root
    }

    /// When it was signed, Unix milliseconds by the relay's clock.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.body.time
    }

    /// The head as it travelled.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether both say the same of the same log; times may differ.
    fn agrees(&self, other: &Self) -> bool {
        (self.body.log, self.body.size, self.body.root) == (other.body.log, other.body.size, other.body.root)
    }

    /// Whether both cannot be of one log.
    fn contradicts(&self, other: &Self) -> bool {
        self.body.log == other.body.log
            && self.body.size == other.body.size
            && self.body.root != other.body.root
    }
}

/// How a head that is shown stands to the highest one that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// None was verified before.
    First,
    /// It says the same.
    Same,
    /// It is of another size: the relay has to prove that the smaller is a prefix of the larger.
    Apart {
        /// Size of the smaller.
        from: u64,
        /// Size of the larger.
        to: u64,
    },
    /// Same log and size, another root: the two are the proof of a fork.
    Fork,
    /// It is of another log.
    OtherLog,
}

/// Compares a head that is shown with the highest one that was verified.
#[must_use]
pub fn relate(known: Option<&Head>, shown: &Head) -> Relation {
    let Some(known) = known else {
        return Relation::First;
    };
    if shown.log() != known.log() {
        Relation::OtherLog
    } else if shown.agrees(known) {
        Relation::Same
    } else if shown.contradicts(known) {
        Relation::Fork
    } else {
        Relation::Apart {
            from: known.size().min(shown.size()),
            to: known.size().max(shown.size()),
        }
    }
}

/// What an answer to the question how two heads continue each other shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consistency {
    /// The smaller is a prefix of the larger.
    Proven,
    /// The relay has signed another head of the size of one of the two: that one and this are the proof of a fork.
    Fork(Box<(Head, Head)>),
    /// It proves nothing.
    False,
}

/// Judges an encoded [`LogConsistency`] about two heads of one log and of different sizes, in any order.
#[must_use]
pub fn check_consistency(a: &Head, b: &Head, answer: &[u8], owner: LogOwner<'_>) -> Consistency {
    let (earlier, later) = if a.size() < b.size() { (a, b) } else { (b, a) };
    let Ok(proof) = LogConsistency::decode(answer) else {
        return Consistency::False;
    };
    let signed = (
        Head::verify(&proof.earlier, owner),
        Head::verify(&proof.later, owner),
    );
    let (Ok(proof_earlier), Ok(proof_later)) = signed else {
        return Consistency::False;
    };
    for (ours, theirs) in [(earlier, &proof_earlier), (later, &proof_later)] {
        if theirs.contradicts(ours) {
            return Consistency::Fork(Box::new((ours.clone(), theirs.clone())));
        }
    }
    let same_heads = proof_earlier.agrees(earlier) && proof_later.agrees(later);
    let (first, second) = (earlier.size(), later.size());
    if same_heads && verify_consistency(first, &earlier.root(), second, &later.root(), &proof.path) {
        Consistency::Proven
    } else {
        Consistency::False
    }
}

/// Why a leaf is not proven to be in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The proof is not well-formed.
    #[error("malformed proof")]
    Malformed(#[from] DecodeError),
    /// Its head is none.
    #[error("proof without a head of the log")]
    Head(#[from] HeadError),
    /// The path does not lead from the leaf to the head's root.
    #[error("path leads to another root")]
    Path,
}

/// Verifies that a leaf is where an encoded [`LogProof`] says, and gives the head that covers it.
///
/// # Errors
/// [`ProofError`].
pub fn check_inclusion(leaf: &LogLeaf, proof: &[u8], owner: LogOwner<'_>) -> Result<Head, ProofError> {
    let proof = LogProof::decode(proof)?;
    let head = Head::verify(&proof.head, owner)?;
    let leaf = leaf_hash(&leaf.encode());
    if verify_inclusion(&leaf, proof.index, head.size(), &proof.path, &head.root()) {
        Ok(head)
    } else {
        Err(ProofError::Path)
    }
}
