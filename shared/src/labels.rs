//! Domain separation: every label that is ever signed, hashed or derived under (docs/protocol.md, 3).
//!
//! One enum, one exhaustive match, one test that all of them are distinct and prefix-free. A label
//! travels NUL-terminated and nothing after it is of variable length unless it comes last.

/// A domain-separation label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// Signature over a key bundle.
    SigBundle,
    /// Signature over a group commit.
    SigCommit,
    /// Signature over context and core of a content message.
    SigMessage,
    /// Signature over context and body of a control message.
    SigControl,
    /// Signature over an instance lease.
    SigLease,
    /// Signature of the new identity over a succession.
    SigSuccessionNew,
    /// Signature of the old identity over a succession.
    SigSuccessionOld,
    /// Signature of the recovery key over a succession.
    SigSuccessionRecovery,
    /// Signature of an agent over a challenge that a relay issued.
    SigProof,
    /// Signature of a relay over a challenge that it issues.
    SigChallenge,
    /// Signature of a relay over its description.
    SigRelay,
    /// Signature of a relay over a transparency log head.
    SigLogHead,

    /// Relay id: hash of the relay's identity key.
    HashRelayId,
    /// Agent id: hash of relay id and identity key.
    HashAgentId,
    /// Direct conversation id: hash of both identity keys in order.
    HashConversation,
    /// End-to-end message id: hash of the core.
    HashMessageId,
    /// Fingerprint of an identity key.
    HashFingerprint,
    /// Safety number of two identity keys.
    HashSafetyNumber,
    /// Roster hash.
    HashRoster,
    /// Hash of a recovery public key, as bundles carry it.
    HashRecovery,
    /// API key or other bearer credential, as it is stored.
    HashCredential,
    /// `handle tag` salt of the transparency log.
    HashHandleTag,

    /// Derivation of a relay idempotency key (`mid`).
    KdfSendId,
    /// Derivation of the commitment to an epoch key.
    KdfEpochCommit,
    /// Derivation of a sender's first chain key in an epoch.
    KdfChain,
    /// Derivation of a message key from a chain key.
    KdfMessageKey,
    /// Derivation of the next chain key.
    KdfChainNext,
    /// Derivation of a key store's commitment to its key-encryption key.
    KdfStoreCommit,
    /// Derivation of the key that wraps the slots of a key store.
    KdfStoreWrap,
    /// Derivation of a sub-key of the local database.
    KdfStateKey,
    /// Derivation of a keyed hash by which the local database is searched.
    KdfColumnTag,
    /// Derivation of the local API's proof that it knows its bearer token.
    KdfLocalToken,
    /// Derivation of the chunk key of an attachment.
    KdfAttachment,
    /// Derivation of the key of a backup archive.
    KdfBackup,

    /// Associated data of a key store slot.
    AadStoreSlot,
    /// Associated data of a sealed database column.
    AadStateColumn,
    /// Associated data of a sealed backup.
    AadBackup,
}

impl Label {
    /// Every label, for tests and vectors.
    pub const ALL: &'static [Self] = &[
        Self::SigBundle,
        Self::SigCommit,
        Self::SigMessage,
        Self::SigControl,
        Self::SigLease,
        Self::SigSuccessionNew,
        Self::SigSuccessionOld,
        Self::SigSuccessionRecovery,
        Self::SigProof,
        Self::SigChallenge,
        Self::SigRelay,
        Self::SigLogHead,
        Self::HashRelayId,
        Self::HashAgentId,
        Self::HashConversation,
        Self::HashMessageId,
        Self::HashFingerprint,
        Self::HashSafetyNumber,
        Self::HashRoster,
        Self::HashRecovery,
        Self::HashCredential,
        Self::HashHandleTag,
        Self::KdfSendId,
        Self::KdfEpochCommit,
        Self::KdfChain,
        Self::KdfMessageKey,
        Self::KdfChainNext,
        Self::KdfStoreCommit,
        Self::KdfStoreWrap,
        Self::KdfStateKey,
        Self::KdfColumnTag,
        Self::KdfLocalToken,
        Self::KdfAttachment,
        Self::KdfBackup,
        Self::AadStoreSlot,
        Self::AadStateColumn,
        Self::AadBackup,
    ];

    /// The label's bytes, NUL-terminated.
    #[must_use]
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::SigBundle => b"waxwire-1/sig/bundle\0",
            Self::SigCommit => b"waxwire-1/sig/commit\0",
            Self::SigMessage => b"waxwire-1/sig/message\0",
            Self::SigControl => b"waxwire-1/sig/control\0",
            Self::SigLease => b"waxwire-1/sig/lease\0",
            Self::SigSuccessionNew => b"waxwire-1/sig/succession-new\0",
            Self::SigSuccessionOld => b"waxwire-1/sig/succession-old\0",
            Self::SigSuccessionRecovery => b"waxwire-1/sig/succession-recovery\0",
            Self::SigProof => b"waxwire-1/sig/proof\0",
            Self::SigChallenge => b"waxwire-1/sig/challenge\0",
            Self::SigRelay => b"waxwire-1/sig/relay\0",
            Self::SigLogHead => b"waxwire-1/sig/log-head\0",
            Self::HashRelayId => b"waxwire-1/hash/relay-id\0",
            Self::HashAgentId => b"waxwire-1/hash/agent-id\0",
            Self::HashConversation => b"waxwire-1/hash/conversation\0",
            Self::HashMessageId => b"waxwire-1/hash/message-id\0",
            Self::HashFingerprint => b"waxwire-1/hash/fingerprint\0",
            Self::HashSafetyNumber => b"waxwire-1/hash/safety-number\0",
            Self::HashRoster => b"waxwire-1/hash/roster\0",
            Self::HashRecovery => b"waxwire-1/hash/recovery\0",
            Self::HashCredential => b"waxwire-1/hash/credential\0",
            Self::HashHandleTag => b"waxwire-1/hash/handle-tag\0",
            Self::KdfSendId => b"waxwire-1/kdf/send-id\0",
            Self::KdfEpochCommit => b"waxwire-1/kdf/epoch-commit\0",
            Self::KdfChain => b"waxwire-1/kdf/chain\0",
            Self::KdfMessageKey => b"waxwire-1/kdf/message-key\0",
            Self::KdfChainNext => b"waxwire-1/kdf/chain-next\0",
            Self::KdfStoreCommit => b"waxwire-1/kdf/store-commit\0",
            Self::KdfStoreWrap => b"waxwire-1/kdf/store-wrap\0",
            Self::KdfStateKey => b"waxwire-1/kdf/state-key\0",
            Self::KdfColumnTag => b"waxwire-1/kdf/column-tag\0",
            Self::KdfLocalToken => b"waxwire-1/kdf/local-token\0",
            Self::KdfAttachment => b"waxwire-1/kdf/attachment\0",
            Self::KdfBackup => b"waxwire-1/kdf/backup\0",
            Self::AadStoreSlot => b"waxwire-1/aad/store-slot\0",
            Self::AadStateColumn => b"waxwire-1/aad/state-column\0",
            Self::AadBackup => b"waxwire-1/aad/backup\0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Label;

    /// docs/protocol.md, 3.1 and 14.1: labels are distinct and prefix-free.
    #[test]
    fn attack_29_labels_are_distinct_and_prefix_free() {
        for (i, a) in Label::ALL.iter().enumerate() {
            assert_eq!(a.bytes().last(), Some(&0));
            assert_eq!(a.bytes().iter().filter(|b| **b == 0).count(), 1);
            for b in &Label::ALL[i + 1..] {
                assert!(!a.bytes().starts_with(b.bytes()), "{a:?} {b:?}");
                assert!(!b.bytes().starts_with(a.bytes()), "{a:?} {b:?}");
            }
        }
    }
}
