use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::{
    identity::{Signature, signing_input},
    ids::{GroupId, Mid},
    wire::{Lane, VERSION},
};

struct Agent {
    key: SigningKey,
    handle: Handle,
}

impl Agent {
    fn new(seed: u8, handle: &str) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let handle = handle.parse().unwrap();
        Self { key, handle }
    }

    fn identity(&self) -> IdentityKey {
        IdentityKey::ed25519(self.key.verifying_key().to_bytes())
    }

    fn sign(&self, kind: Kind, context: &Context, core: Vec<u8>) -> MessageBytes {
        let context = context.encode();
        let hashes = MessageBytes::signed_hashes(&context, &core);
        let signature = self
            .key
            .sign(&signing_input(MessageBytes::label(kind), &[&hashes]));
        MessageBytes {
            context,
            core,
            signature: Signature::new(signature.to_bytes()),
        }
    }
}

fn agents() -> (Agent, Agent) {
    (Agent::new(1, "alice"), Agent::new(2, "bob"))
}

fn relay() -> RelayId {
    RelayId::from_bytes([9; 32])
}

fn direct_header(to: &IdentityKey) -> DirectHeader {
    DirectHeader {
        suite: Suite::CLASSIC,
        lane: Lane::Mail,
        to: AgentId::of(&relay(), to),
        key_number: 5,
        mid: Mid::from_bytes([3; 16]),
    }
}

fn direct_context(header: &DirectHeader, to: &Agent) -> Context {
    Context {
        header: header.encode(),
        recipient_handle: Some(to.handle.clone()),
        recipient: Some(to.identity()),
        recipient_key_number: Some(5),
        sender_key_number: Some(1),
        sender_bundle: Some(Hash::from_bytes([4; 32])),
        log_head: None,
    }
}

fn core(kind: Kind, from: &Agent, conversation: ConversationId) -> Core {
    Core {
        version: VERSION,
        suite: Suite::CLASSIC,
        kind,
        handle: from.handle.clone(),
        identity: from.identity(),
        conversation,
        session: SessionId::from_bytes([6; 16]),
        incarnation: 1,
        n: 1,
        previous: None,
        void: Vec::new(),
        client_msg_id: "1".to_owned(),
        time: 0,
        expires: None,
        ack: None,
        message_type: "text".to_owned(),
        content: b"{}".to_vec(),
        metadata: None,
        reply_to: None,
        attachments: None,
    }
}

/// A direct message of alice to bob after `change`, checked by bob.
fn check(change: impl FnOnce(&mut DirectHeader, &mut Context, &mut Core)) -> Result<(), ContextError> {
    let (alice, bob) = agents();
    let mut header = direct_header(&bob.identity());
    let mut context = direct_context(&header, &bob);
    let conversation = ConversationId::direct(&alice.identity(), &bob.identity());
    let mut core = core(Kind::Direct, &alice, conversation);
    change(&mut header, &mut context, &mut core);
    context.header = header.encode();
    let message = alice.sign(core.kind, &context, core.encode());
    let message = UnverifiedMessage::decode(core.kind, &message.encode()).unwrap();
    let message = message.verify().unwrap();
    message
        .check_direct(&header.encode(), &relay(), &bob.identity(), &bob.handle)
        .map(drop)
}

/// docs/protocol.md, 5.7, step 6: a message is accepted by the recipient, key, lane and conversation it was
/// made for and nowhere else.
#[test]
fn direct_audience_is_compared_field_by_field() {
    let carol = Agent::new(3, "carol");
    assert_eq!(check(|_, _, _| ()), Ok(()));
    let cases: [(ContextError, Result<(), ContextError>); 8] = [
        (
            ContextError::Kind,
            check(|header, _, _| header.lane = Lane::Control),
        ),
        (
            ContextError::Recipient,
            check(|_, context, _| context.recipient = Some(carol.identity())),
        ),
        (
            ContextError::Recipient,
            check(|_, context, _| context.recipient_handle = Some(carol.handle.clone())),
        ),
        (
            ContextError::Recipient,
            check(|header, _, _| header.key_number = 6),
        ),
        (
            ContextError::Recipient,
            check(|header, _, _| header.to = AgentId::of(&relay(), &carol.identity())),
        ),
        (
            ContextError::Conversation,
            check(|_, _, core| core.conversation = ConversationId::from_bytes([0; 32])),
        ),
        (
            ContextError::Suite,
            check(|_, _, core| core.suite = Suite::HYBRID),
        ),
        (ContextError::Suite, check(|header, _, _| header.suite = Suite(0))),
    ];
    for (expected, found) in cases {
        assert_eq!(found, Err(expected));
    }
}

/// docs/protocol.md, 5.7, steps 4 to 6: neither a moved signature nor an echo is accepted.
#[test]
fn envelope_header_kind_and_author_are_bound() {
    let (alice, bob) = agents();
    let header = direct_header(&bob.identity());
    let conversation = ConversationId::direct(&alice.identity(), &bob.identity());
    let core = core(Kind::Direct, &alice, conversation).encode();
    let message = alice.sign(Kind::Direct, &direct_context(&header, &bob), core.clone());
    let object = message.encode();
    assert_eq!(
        UnverifiedMessage::decode(Kind::Broadcast, &object),
        Err(MessageError::Kind)
    );
    let verified = UnverifiedMessage::decode(Kind::Direct, &object)
        .unwrap()
        .verify()
        .unwrap();
    let other = DirectHeader {
        mid: Mid::from_bytes([8; 16]),
        ..header.clone()
    };
    assert_eq!(
        verified.check_direct(&other.encode(), &relay(), &bob.identity(), &bob.handle),
        Err(ContextError::Header)
    );
    assert_eq!(
        verified.check_group(&header.encode(), &relay()),
        Err(ContextError::Form)
    );
    assert_eq!(
        verified.signer(),
        &alice.identity(),
        "the author is whoever the body names"
    );
    // Played back to alice, the recipient is already another; a message to oneself is no message.
    let own = direct_header(&alice.identity());
    let message = alice.sign(Kind::Direct, &direct_context(&own, &alice), core);
    let verified = UnverifiedMessage::decode(Kind::Direct, &message.encode())
        .unwrap()
        .verify()
        .unwrap();
    assert_eq!(
        verified.check_recipient(&relay(), &alice.identity(), &alice.handle),
        Err(ContextError::Reflected)
    );
    let forged = bob.sign(Kind::Direct, &direct_context(&header, &bob), message.core);
    let forged = UnverifiedMessage::decode(Kind::Direct, &forged.encode()).unwrap();
    assert_eq!(forged.verify(), Err(VerifyError::Signature));
}

/// docs/protocol.md, 6.8, step 5: header sender, author, group and conversation agree.
#[test]
fn group_audience_is_compared_field_by_field() {
    let (alice, bob) = agents();
    let group = GroupId::from_bytes([5; 32]);
    let header = GroupHeader {
        suite: Suite::CLASSIC,
        mid: Mid::from_bytes([3; 16]),
        group,
        epoch: 1,
        roster_head: Hash::from_bytes([1; 32]),
        sender: AgentId::of(&relay(), &alice.identity()),
        i: 0,
    };
    let check = |header: &GroupHeader, kind: Kind, to: Option<&Agent>, group: &GroupId| {
        let mut context = direct_context(&direct_header(&bob.identity()), &bob);
        if to.is_none() {
            context.recipient_handle = None;
            context.recipient = None;
            context.recipient_key_number = None;
            context.sender_key_number = None;
            context.sender_bundle = None;
        }
        context.header = header.encode();
        let core = core(kind, &alice, ConversationId::group(group)).encode();
        let message = alice.sign(kind, &context, core);
        let message = UnverifiedMessage::decode(kind, &message.encode()).unwrap();
        let message = message.verify().unwrap();
        message.check_group(&header.encode(), &relay()).map(drop)
    };
    assert_eq!(check(&header, Kind::Group, None, &group), Ok(()));
    assert_eq!(
        check(&header, Kind::Group, Some(&bob), &group),
        Err(ContextError::Form)
    );
    assert_eq!(
        check(&header, Kind::Direct, None, &group),
        Err(ContextError::Kind)
    );
    let other = GroupId::from_bytes([6; 32]);
    assert_eq!(
        check(&header, Kind::Group, None, &other),
        Err(ContextError::Conversation)
    );
    let sender = AgentId::of(&relay(), &bob.identity());
    let header = GroupHeader { sender, ..header };
    assert_eq!(
        check(&header, Kind::Group, None, &group),
        Err(ContextError::Sender)
    );
}
