//! A random value of every document that keeps the rules of its fields.

use proptest::{prelude::Rng as _, test_runner::TestRng};

use crate::{
    identity::{IdentityKey, Signature},
    ids::{AgentId, BlobId, ConversationId, GroupId, Handle, Hash, Mid, Nonce32, RelayId, SessionId},
    sign::SignedBytes,
    suite::Suite,
    wire::*,
};

/// A source of random values.
pub(super) struct Gen(pub(super) TestRng);

impl Gen {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// Numbers of every encoded length.
    fn number(&mut self) -> u64 {
        let bits = self.below(65);
        self.0.next_u64().checked_shr(bits as u32).unwrap_or(0)
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 0
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn bytes(&mut self, range: std::ops::Range<u64>) -> Vec<u8> {
        let length = range.start + self.below(range.end - range.start);
        let mut bytes = vec![0; length as usize];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn text(&mut self, range: std::ops::Range<u64>) -> String {
        let length = range.start + self.below(range.end - range.start);
        let alphabet: Vec<char> = "abcxyz019 .-_üß漢🦀".chars().collect();
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len() as u64) as usize])
            .collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bool().then(|| make(self))
    }

    fn list<T>(&mut self, range: std::ops::Range<u64>, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = range.start + self.below(range.end - range.start);
        (0..length).map(|_| make(self)).collect()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn identity(&mut self) -> IdentityKey {
        IdentityKey::ed25519(self.array())
    }

    fn handle(&mut self) -> Handle {
        format!("a{}", self.below(1_000_000) + 10).parse().unwrap()
    }

    fn signature(&mut self) -> Signature {
        Signature::new(self.array::<64>())
    }

    fn hash(&mut self) -> Hash {
        Hash::from_bytes(self.array())
    }

    fn suite(&mut self) -> Suite {
        Suite(self.below(3) as u16)
    }

    /// Ranges above `after`, apart from each other.
    fn ranges(&mut self, after: u64, count: std::ops::Range<u64>) -> Vec<NRange> {
        let mut last = after;
        self.list(count, |g| {
            let first = last + 2 + g.below(9);
            last = first + g.below(9);
            NRange { first, last }
        })
    }

    fn invite_ref(&mut self) -> InviteRef {
        InviteRef {
            commit: self.hash(),
            index: self.below(64) as u32,
        }
    }

    fn cut_off(&mut self) -> CutOff {
        CutOff {
            incarnation: self.number(),
            session: SessionId::from_bytes(self.array()),
            n: self.number().max(1),
        }
    }

    fn policy(&mut self) -> Policy {
        Policy {
            join: self.one_of(JoinPolicy::ALL),
            invite_role: self.one_of(Role::ALL),
            slug: self.maybe(Self::handle),
        }
    }

    fn change(&mut self) -> Change {
        match self.below(10) {
            0 => Change::Create {
                nonce: Nonce32::from_bytes(self.array()),
                handle: self.handle(),
                policy: self.policy(),
            },
            1 => Change::Invite {
                identity: self.identity(),
                handle: self.handle(),
                role: self.one_of(Role::ALL),
            },
            2 => Change::Uninvite {
                invite: self.invite_ref(),
            },
            3 => Change::Accept {
                invite: self.invite_ref(),
            },
            4 => Change::Join {
                handle: self.handle(),
            },
            5 => Change::Remove {
                identity: self.identity(),
                cut_off: self.maybe(Self::cut_off),
            },
            6 => Change::Leave {
                cut_off: self.maybe(Self::cut_off),
            },
            7 => Change::Role {
                identity: self.identity(),
                role: self.one_of(Role::ALL),
            },
            8 => Change::Policy {
                policy: self.policy(),
            },
            _ => Change::Disband,
        }
    }

    fn attachment(&mut self) -> AttachmentRef {
        let length = self.below(1 << 40);
        AttachmentRef {
            blob: BlobId::from_bytes(self.array()),
            key: Nonce32::from_bytes(self.array()),
            nonce_prefix: self.bytes(19..20),
            ciphertext_hash: self.hash(),
            ciphertext_length: sealed_length(length).unwrap(),
            length,
            filename: format!("f{}", self.text(0..20)),
            content_type: "image/png".to_owned(),
        }
    }
}

/// A random value that keeps its rules.
pub(super) trait Sample: Document + Clone + PartialEq + std::fmt::Debug {
    fn sample(g: &mut Gen) -> Self;
}

/// Declares how values are made: field by field, `g` being the source.
macro_rules! samples {
    ($($name:ident |$g:ident| $value:expr;)*) => {$(
        impl Sample for $name {
            fn sample($g: &mut Gen) -> Self {
                $value
            }
        }
    )*

        /// Calls `$each!(Type)` for every document.
        macro_rules! for_each_document {
            ($each:ident) => { $($each!($name);)* };
        }
    };
}

samples! {
    SignedBytes |g| SignedBytes { body: g.bytes(0..300), signature: g.signature() };
    Bundle |g| Bundle {
        version: VERSION,
        relay: RelayId::from_bytes(g.array()),
        handle: g.handle(),
        identity: g.identity(),
        number: g.number(),
        not_before: g.number(),
        not_after: g.number(),
        previous: g.maybe(Gen::hash),
        min_suite: g.suite(),
        keys: g.list(1..9, |g| BundleKey { suite: g.suite(), number: g.number(), public: g.bytes(1..70) }),
        recovery: g.hash(),
    };
    Succession |g| Succession {
        version: VERSION,
        relay: RelayId::from_bytes(g.array()),
        handle: g.handle(),
        old: g.identity(),
        new: g.identity(),
        time: g.number(),
    };
    SuccessionBytes |g| {
        let recovery = g.maybe(Gen::identity);
        let by_recovery = recovery.is_some().then(|| g.signature());
        let by_old = (recovery.is_none() || g.bool()).then(|| g.signature());
        SuccessionBytes { body: g.bytes(0..300), by_new: g.signature(), by_old, recovery, by_recovery }
    };
    Lease |g| Lease {
        version: VERSION,
        relay: RelayId::from_bytes(g.array()),
        identity: g.identity(),
        incarnation: g.number(),
        session: SessionId::from_bytes(g.array()),
        time: g.number(),
    };
    Challenge |g| Challenge {
        version: VERSION,
        relay: RelayId::from_bytes(g.array()),
        purpose: g.one_of(ChallengePurpose::ALL),
        handle: g.handle(),
        identity: g.identity(),
        relay_nonce: Nonce32::from_bytes(g.array()),
        agent_nonce: Nonce32::from_bytes(g.array()),
        time: g.number(),
    };
    RelayDescription |g| RelayDescription {
        version: VERSION,
        identity: g.identity(),
        nonce: Nonce32::from_bytes(g.array()),
        time: g.number(),
    };
    DirectHeader |g| DirectHeader {
        suite: g.suite(),
        lane: g.one_of(Lane::ALL),
        to: AgentId::from_bytes(g.array()),
        key_number: g.number(),
        mid: Mid::from_bytes(g.array()),
    };
    GroupHeader |g| GroupHeader {
        suite: g.suite(),
        mid: Mid::from_bytes(g.array()),
        group: GroupId::from_bytes(g.array()),
        epoch: g.number().max(1),
        roster_head: g.hash(),
        sender: AgentId::from_bytes(g.array()),
        i: g.below(65_536),
    };
    Header |g| if g.bool() {
        Header::Direct(DirectHeader::sample(g))
    } else {
        Header::Group(GroupHeader::sample(g))
    };
    Context |g| {
        let direct = g.bool();
        Context {
            header: g.bytes(1..200),
            recipient_handle: direct.then(|| g.handle()),
            recipient: direct.then(|| g.identity()),
            recipient_key_number: direct.then(|| g.number()),
            sender_key_number: direct.then(|| g.number()),
            sender_bundle: direct.then(|| g.hash()),
            log_head: g.maybe(|g| g.bytes(1..300)),
        }
    };
    MessageBytes |g| MessageBytes {
        context: g.bytes(1..300),
        core: g.bytes(1..600),
        signature: g.signature(),
    };
    Receipt |g| {
        let n = g.below(1 << 40) * g.below(2);
        Receipt {
            conversation: ConversationId::from_bytes(g.array()),
            session: SessionId::from_bytes(g.array()),
            n,
            core_hash: (n > 0).then(|| g.hash()),
            later: g.ranges(n, 0..65),
            state: g.one_of(ReceiptState::ALL),
        }
    };
    Core |g| {
        let kind = g.one_of(&[Kind::Direct, Kind::Group, Kind::Broadcast]);
        let conversation = ConversationId::from_bytes(g.array());
        let void = g.ranges(0, 0..10);
        let n = void.last().map_or(1, |range| range.last + 1) + g.below(3);
        let ack = Receipt { conversation, ..Receipt::sample(g) };
        Core {
            version: VERSION,
            suite: g.suite(),
            kind,
            handle: g.handle(),
            identity: g.identity(),
            conversation,
            session: SessionId::from_bytes(g.array()),
            incarnation: g.number(),
            n,
            previous: (n > 1).then(|| g.hash()),
            void,
            client_msg_id: g.text(1..129),
            time: g.number(),
            expires: g.maybe(Gen::number),
            ack: (kind != Kind::Group && g.bool()).then_some(ack),
            message_type: format!("t{}", g.below(1_000)),
            content: g.text(1..300).into_bytes(),
            metadata: g.maybe(|g| g.text(1..100).into_bytes()),
            reply_to: g.maybe(Gen::hash),
            attachments: g.maybe(|g| g.list(1..5, Gen::attachment)),
        }
    };
    ControlBody |g| ControlBody {
        version: VERSION,
        suite: g.suite(),
        kind: loop {
            let kind = g.one_of(Kind::ALL);
            if kind.is_control() {
                break kind;
            }
        },
        handle: g.handle(),
        identity: g.identity(),
        conversation: ConversationId::from_bytes(g.array()),
        session: SessionId::from_bytes(g.array()),
        incarnation: g.number(),
        time: g.number(),
        body: g.bytes(1..300),
    };
    Unreadable |g| Unreadable { envelope_hash: g.hash(), mid: Mid::from_bytes(g.array()) };
    ResendRequest |g| ResendRequest {
        conversation: ConversationId::from_bytes(g.array()),
        session: SessionId::from_bytes(g.array()),
        ranges: g.ranges(0, 1..65),
    };
    Resend |g| Resend {
        conversation: ConversationId::from_bytes(g.array()),
        items: g.list(1..6, |g| g.bytes(1..300)),
    };
    InviteNotice |g| InviteNotice {
        group: GroupId::from_bytes(g.array()),
        invite: g.invite_ref(),
        roster_head: g.hash(),
        position: g.number(),
        name: g.text(0..60),
    };
    HistoryGrant |g| {
        let part = g.below(9) as u32;
        HistoryGrant {
            group: GroupId::from_bytes(g.array()),
            part,
            parts: part + 1 + g.below(3) as u32,
            items: g.list(1..6, |g| g.bytes(1..300)),
            joined: g.hash(),
        }
    };
    Profile |g| Profile {
        group: GroupId::from_bytes(g.array()),
        revision: g.number(),
        name: g.text(0..60),
        topic: g.maybe(|g| g.text(1..60)),
        avatar: g.maybe(|g| g.text(1..60)),
    };
    Typing |g| Typing {
        active: g.bool(),
        group: g.maybe(|g| GroupId::from_bytes(g.array())),
    };
    Presence |g| Presence {
        status: g.one_of(&["online", "busy", "offline"]).to_owned(),
        text: g.maybe(|g| g.text(0..60)),
    };
    Commit |g| Commit {
        version: VERSION,
        suite: g.suite(),
        group: g.maybe(|g| GroupId::from_bytes(g.array())),
        position: g.number(),
        previous: g.maybe(Gen::hash),
        signer: g.identity(),
        changes: g.list(0..20, Gen::change),
        rekey: g.maybe(|g| Rekey {
            epoch: g.number().max(1),
            suite: g.suite(),
            commitment: g.hash(),
            root: g.hash(),
            leaves: g.below(10_000) as u32 + 1,
            roster: g.hash(),
        }),
        time: g.number(),
    };
    RosterSnapshot |g| RosterSnapshot {
        position: g.number(),
        members: g.list(0..9, |g| Member {
            identity: g.identity(),
            handle: g.handle(),
            role: g.one_of(Role::ALL),
            joined: g.number(),
        }),
        policy: g.policy(),
    };
    Leaf |g| Leaf {
        index: g.below(10_000) as u32,
        identity: g.identity(),
        content: if g.bool() {
            LeafContent::Sealed { key_number: g.number(), suite: g.suite(), sealed: g.bytes(1..200) }
        } else {
            LeafContent::Empty(g.one_of(EmptyReason::ALL))
        },
    };
    Leaves |g| Leaves { leaves: g.list(1..9, |g| g.bytes(1..200)) };
    LeafProof |g| LeafProof { leaf: g.bytes(1..200), path: g.list(0..15, Gen::hash) };
    LogLeaf |g| LogLeaf { handle_tag: g.hash(), number: g.number(), bundle: g.hash() };
    LogHead |g| LogHead {
        version: VERSION,
        relay: RelayId::from_bytes(g.array()),
        log: g.hash(),
        size: g.number(),
        root: g.hash(),
        time: g.number(),
        map_root: g.maybe(Gen::hash),
        co_signatures: g.maybe(|g| g.list(1..5, |g| g.bytes(1..80))),
    };
    LogProof |g| LogProof {
        head: g.bytes(1..400),
        index: g.number(),
        path: g.list(0..65, Gen::hash),
    };
    LogConsistency |g| LogConsistency {
        earlier: g.bytes(1..400),
        later: g.bytes(1..400),
        path: g.list(0..65, Gen::hash),
    };
}

pub(super) use for_each_document;
