//! Group commits (docs/protocol.md, 6).

use super::{DecodeError, Reader, Rekey, Wire, Writer, rules, wire_enum, wire_map};
use crate::{
    identity::IdentityKey,
    ids::{GroupId, Handle, Hash, Nonce32, SessionId},
    labels::Label,
    limits,
    sign::SignedDocument,
    suite::Suite,
};

wire_enum! {
    /// What a member may do.
    pub enum Role {
        /// Sends, invites if the policy says so, leaves, rekeys.
        1 => Member,
        /// Also invites, removes, changes roles, policy and profile.
        2 => Admin,
    }
}

wire_enum! {
    /// How one becomes a member.
    pub enum JoinPolicy {
        /// By invite and accept.
        1 => Invite,
        /// By a self-signed join; such a group is not confidential from the relay.
        2 => Open,
    }
}

wire_map! {
    /// The rules of a group.
    pub struct Policy {
        /// How one becomes a member.
        1 => join: JoinPolicy,
        /// Least role that may invite.
        2 => invite_role: Role,
        /// Slug of a named channel, in clear, in the grammar of a handle.
        3 => slug: Option<Handle>,
    }
}

/// The most changes of a commit as an invite's index counts them.
const CHANGES: u32 = 64;
const _: () = assert!(CHANGES as usize == limits::COMMIT_CHANGES);

wire_map! {
    /// Where an invite stands: the hash of its commit and its index among the changes.
    pub struct InviteRef {
        /// Hash of the signed commit.
        1 => commit: Hash,
        /// Index of the change, from 0.
        2 => index: u32 where rules::within(0..=CHANGES - 1),
    }
}

wire_map! {
    /// A sender's last message: beyond it nothing of the departed is accepted.
    pub struct CutOff {
        /// The sender's incarnation.
        1 => incarnation: u64,
        /// The sender's session.
        2 => session: SessionId,
        /// Highest number.
        3 => n: u64 where rules::within(1..=u64::MAX),
    }
}

impl CutOff {
    /// Whether a message of the departed may still be accepted: everything of an earlier
    /// incarnation, and of this one in this session up to `n`.
    #[must_use]
    pub fn admits(&self, incarnation: u64, session: &SessionId, n: u64) -> bool {
        incarnation < self.incarnation
            || incarnation == self.incarnation && *session == self.session && n <= self.n
    }
}

/// One change of a roster: a CBOR array `[type, fields...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// 1: the first change of the first commit; its signer becomes the first admin.
    Create {
        /// Random, makes the group id unique.
        nonce: Nonce32,
        /// The creator's handle.
        handle: Handle,
        /// The first rules.
        policy: Policy,
    },
    /// 2: invites an identity.
    Invite {
        /// Who may accept.
        identity: IdentityKey,
        /// Their handle.
        handle: Handle,
        /// Their role once they accept.
        role: Role,
    },
    /// 3: withdraws an invite.
    Uninvite {
        /// Which.
        invite: InviteRef,
    },
    /// 4: the invited signer becomes a member.
    Accept {
        /// By which invite.
        invite: InviteRef,
    },
    /// 5: the signer becomes a member of an open group.
    Join {
        /// The signer's handle.
        handle: Handle,
    },
    /// 6: removes a member; needs a rekey in the same commit.
    Remove {
        /// Who.
        identity: IdentityKey,
        /// Highest message of theirs that the remover verified, if any.
        cut_off: Option<CutOff>,
    },
    /// 7: the signer leaves.
    Leave {
        /// Their last message, if any.
        cut_off: Option<CutOff>,
    },
    /// 8: changes a role.
    Role {
        /// Whose.
        identity: IdentityKey,
        /// To what.
        role: Role,
    },
    /// 9: changes the rules.
    Policy {
        /// The new rules.
        policy: Policy,
    },
    /// 10: ends the group.
    Disband,
}

impl Change {
    /// The number on the wire.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Create { .. } => 1,
            Self::Invite { .. } => 2,
            Self::Uninvite { .. } => 3,
            Self::Accept { .. } => 4,
            Self::Join { .. } => 5,
            Self::Remove { .. } => 6,
            Self::Leave { .. } => 7,
            Self::Role { .. } => 8,
            Self::Policy { .. } => 9,
            Self::Disband => 10,
        }
    }
}

fn put_change(w: &mut Writer, number: u8, fields: &[&dyn Fn(&mut Writer)]) {
    w.array(1 + fields.len());
    w.uint(number.into());
    for field in fields {
        field(w);
    }
}

impl Wire for Change {
    fn put(&self, w: &mut Writer) {
        let number = self.number();
        match self {
            Self::Create {
                nonce,
                handle,
                policy,
            } => put_change(
                w,
                number,
                &[&|w| nonce.put(w), &|w| handle.put(w), &|w| policy.put(w)],
            ),
            Self::Invite {
                identity,
                handle,
                role,
            } => put_change(
                w,
                number,
                &[&|w| identity.put(w), &|w| handle.put(w), &|w| role.put(w)],
            ),
            Self::Uninvite { invite } | Self::Accept { invite } => {
                put_change(w, number, &[&|w| invite.put(w)]);
            }
            Self::Join { handle } => put_change(w, number, &[&|w| handle.put(w)]),
            Self::Remove {
                identity,
                cut_off: Some(cut_off),
            } => {
                put_change(w, number, &[&|w| identity.put(w), &|w| cut_off.put(w)]);
            }
            Self::Remove {
                identity,
                cut_off: None,
            } => {
                put_change(w, number, &[&|w| identity.put(w)]);
            }
            Self::Leave {
                cut_off: Some(cut_off),
            } => {
                put_change(w, number, &[&|w| cut_off.put(w)]);
            }
            Self::Leave { cut_off: None } | Self::Disband => put_change(w, number, &[]),
            Self::Role { identity, role } => {
                put_change(w, number, &[&|w| identity.put(w), &|w| role.put(w)]);
            }
            Self::Policy { policy } => put_change(w, number, &[&|w| policy.put(w)]),
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let items = r.array()?;
        if items == 0 {
            return Err(DecodeError::Value { what: "change" });
        }
        let change = match (r.uint()?, items - 1) {
            (1, 3) => Self::Create {
                nonce: Wire::take(r)?,
                handle: Wire::take(r)?,
                policy: Wire::take(r)?,
            },
            (2, 3) => Self::Invite {
                identity: Wire::take(r)?,
                handle: Wire::take(r)?,
                role: Wire::take(r)?,
            },
            (3, 1) => Self::Uninvite {
                invite: Wire::take(r)?,
            },
            (4, 1) => Self::Accept {
                invite: Wire::take(r)?,
            },
            (5, 1) => Self::Join {
                handle: Wire::take(r)?,
            },
            (6, 1) => Self::Remove {
                identity: Wire::take(r)?,
                cut_off: None,
            },
            (6, 2) => Self::Remove {
                identity: Wire::take(r)?,
                cut_off: Some(Wire::take(r)?),
            },
            (7, 0) => Self::Leave { cut_off: None },
            (7, 1) => Self::Leave {
                cut_off: Some(Wire::take(r)?),
            },
            (8, 2) => Self::Role {
                identity: Wire::take(r)?,
                role: Wire::take(r)?,
            },
            (9, 1) => Self::Policy {
                policy: Wire::take(r)?,
            },
            (10, 0) => Self::Disband,
            _ => return Err(DecodeError::Value { what: "change" }),
        };
        r.leave();
        Ok(change)
    }

    fn check_rules(&self) -> Result<(), DecodeError> {
        match self {
            Self::Uninvite { invite } | Self::Accept { invite } => invite.check_rules(),
            Self::Remove { cut_off, .. } | Self::Leave { cut_off } => {
                cut_off.as_ref().map_or(Ok(()), Wire::check_rules)
            }
            _ => Ok(()),
        }
    }
}

wire_map! {
    /// One signed step of a group's roster log. Signed under [`Label::SigCommit`]; its hash is
    /// SHA-256 of the signed document, and that of the create commit is the group id.
    pub struct Commit, max(limits::COMMIT) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// Suite of the group.
        2 => suite: Suite,
        /// The group; absent in the create commit.
        3 => group: Option<GroupId>,
        /// Place in the log, from 0.
        4 => position: u64,
        /// Hash of the previous signed commit; absent in the create commit.
        5 => previous: Option<Hash>,
        /// Who signs.
        6 => signer: IdentityKey,
        /// At most 64; none in a commit that only rekeys.
        7 => changes: Vec<Change> where rules::items(0..=limits::COMMIT_CHANGES),
        /// A new epoch.
        8 => rekey: Option<Rekey>,
        /// Unix milliseconds by the signer's clock; displayed, never decided upon.
        9 => time: u64,
    }
}

impl SignedDocument for Commit {
    const LABEL: Label = Label::SigCommit;
}

wire_map! {
    /// A member as the roster hash counts it.
    pub struct Member {
        /// The member's key: this is the member.
        1 => identity: IdentityKey,
        /// A label.
        2 => handle: Handle,
        /// What they may do.
        3 => role: Role,
        /// Position of the commit that made them a member.
        4 => joined: u64,
    }
}

wire_map! {
    /// What a rekey's roster hash covers: `SHA-256(label || snapshot)`.
    pub struct RosterSnapshot, max(4 * 1024 * 1024) {
        /// Position of the commit.
        1 => position: u64,
        /// Members in roster order: by position of joining, in one commit by order of changes.
        2 => members: Vec<Member> where rules::items(0..=limits::GROUP_MEMBERS),
        /// The rules.
        3 => policy: Policy,
    }
}
