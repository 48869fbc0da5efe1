//! Envelopes that a relay, a stranger or a peer forged: refused, told, and nothing is blocked.

use rand_core::SeedableRng as _;
use waxwire_shared::{
    api::frames::Queue,
    ids::{AgentId, ConversationId, Hash, Mid, SessionId},
    suite::Suite,
    wire::{
        Context, Core, DirectHeader, Document as _, Envelope, Kind, Lane, MessageBytes, Receipt,
        ReceiptState, Resend, VERSION,
    },
};

use super::net::{Net, Node, START, relay_id};
use crate::{
    crypto::{message, secret::IdentitySecret},
    engine::Settings,
    model::Status,
    state::Direction,
};

/// Everything that a sender decides about one message.
struct Forgery {
    lane: Lane,
    kind: Kind,
    to: usize,
    context_to: usize,
    claimed: String,
    signer: u8,
    n: u64,
    text: String,
    message_type: &'static str,
    foreign_conversation: bool,
    session: u8,
    incarnation: u64,
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            lane: Lane::Mail,
            kind: Kind::Direct,
            to: 1,
            context_to: 1,
            claimed: "alice".into(),
            signer: 1,
            n: 1,
            text: "{\"text\":\"forged\"}".into(),
            message_type: "text",
            foreign_conversation: false,
            session: 1,
            incarnation: START,
        }
    }
}

impl Forgery {
    fn envelope(&self, net: &Net) -> Vec<u8> {
        let (header, signed) = self.signed(net);
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([98; 32]);
        let key = net.nodes[self.to].public();
        let ciphertext = message::seal_direct(&mut rng, &key, self.kind, &signed).unwrap();
        Envelope {
            header: &header,
            ciphertext: &ciphertext,
        }
        .to_bytes()
    }

    /// The header and the signed message.
    fn signed(&self, net: &Net) -> (Vec<u8>, MessageBytes) {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([99; 32]);
        let signer = Node::new("signer", self.signer, Settings::default()).keys().0;
        let recipient = &net.nodes[self.to];
        let (audience, _) = net.nodes[self.context_to].keys();
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: self.lane,
            to: recipient.agent_id,
            key_number: START,
            mid: Mid::from_bytes([3; 16]),
        };
        let header = header.encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: Some(net.nodes[self.context_to].handle.clone()),
            recipient: Some(audience.public().clone()),
            recipient_key_number: Some(START),
            sender_key_number: Some(START),
            sender_bundle: Some(Hash::from_bytes([4; 32])),
            log_head: None,
        };
        let other = IdentitySecret::generate(&mut rng);
        let partner = if self.foreign_conversation {
            other.public()
        } else {
            signer.public()
        };
        let core = Core {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind: self.kind,
            handle: self.claimed.parse().unwrap(),
            identity: signer.public().clone(),
            conversation: ConversationId::direct(audience.public(), partner),
            session: SessionId::from_bytes([self.session; 16]),
            incarnation: self.incarnation,
            n: self.n,
            previous: (self.n > 1).then(|| Hash::from_bytes([5; 32])),
            void: Vec::new(),
            client_msg_id: "forged".into(),
            time: START,
            expires: None,
            ack: None,
            message_type: self.message_type.into(),
            content: self.text.clone().into_bytes(),
            metadata: None,
            reply_to: None,
            attachments: None,
        };
        let signed = message::sign_message(&signer, self.kind, &context, &core.encode());
        (header, signed)
    }

    /// Delivers the forgery and a genuine message behind it.
    fn deliver(&self, net: &mut Net) {
        let envelope = self.envelope(net);
        let to = net.nodes[self.to].agent_id;
        net.stored.push((to, self.lane, envelope));
        net.send(0, "bob", "genuine");
        net.run();
    }
}

/// The forgery ends in this alert and the next message arrives.
fn assert_refused(forgery: &Forgery, alert: &str) {
    let mut net = Net::pair();
    forgery.deliver(&mut net);
    net.pass(3_000);
    let kinds: Vec<&str> = net.nodes[1]
        .alerts
        .iter()
        .map(|alert| alert.kind.as_str())
        .collect();
    assert!(net.nodes[1].alerted(alert), "{kinds:?}");
    assert_eq!(net.nodes[1].inbound(), ["genuine"]);
}

/// docs/protocol.md, 5.7, step 7: another identity under a pinned handle is held, `unknown_key`.
/// Attack 39: anyone can seal to a public key; the claimed sender's pin decides.
#[test]
fn forged_sender_is_held_and_alerted() {
    let mut net = Net::pair();
    net.send(0, "bob", "first");
    net.run();
    Forgery {
        signer: 5,
        ..Forgery::default()
    }
    .deliver(&mut net);
    assert!(net.nodes[1].alerted("unknown_key"));
    assert_eq!(net.nodes[1].inbound(), ["first", "genuine"]);
}

/// docs/protocol.md, 5.7, step 6: the recipient is oneself.
/// Attack 40: what was signed for one recipient is refused by another.
#[test]
fn message_signed_for_another_recipient_is_refused() {
    assert_refused(
        &Forgery {
            context_to: 0,
            signer: 5,
            ..Forgery::default()
        },
        "wrong_context",
    );
}

/// docs/protocol.md, 5.7, step 6: the conversation is that of sender and recipient.
/// Attack 41: a message of another conversation is refused.
#[test]
fn message_of_another_conversation_is_refused() {
    assert_refused(
        &Forgery {
            foreign_conversation: true,
            ..Forgery::default()
        },
        "wrong_context",
    );
}

/// docs/protocol.md, 5.7, step 6: the sender is not oneself.
/// Attack 43: an own message cannot come back as a peer's.
#[test]
fn reflected_message_is_refused() {
    assert_refused(
        &Forgery {
            signer: 2,
            claimed: "bob".into(),
            ..Forgery::default()
        },
        "reflected",
    );
}

/// docs/protocol.md, 5.7, step 3: the kind belongs into the lane.
/// Content cannot take the lane that escapes the backlog's cap.
#[test]
fn content_in_the_control_lane_is_refused() {
    assert_refused(
        &Forgery {
            lane: Lane::Control,
            ..Forgery::default()
        },
        "wrong_lane",
    );
}

/// docs/protocol.md, 5.8: content is a JSON object.
#[test]
fn content_that_is_no_json_object_is_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let long = format!("{{\"a\":{}}}", "9".repeat(5_000));
    for text in ["", "no json", "[1]", "\"text\"", "{\"a\":}", &deep, &long] {
        assert_refused(
            &Forgery {
                text: text.into(),
                ..Forgery::default()
            },
            "message_malformed",
        );
    }
}

/// docs/protocol.md, 5.7, steps 1 to 6: no altered envelope passes all of them.
/// Attack 50: no single flipped byte of an envelope is accepted.
#[test]
fn flipped_bytes_are_never_accepted() {
    let mut net = Net::pair();
    net.send(0, "bob", "genuine");
    let (to, lane, envelope) = net.stored.remove(0);
    for index in (0..envelope.len()).step_by(7) {
        let mut broken = envelope.clone();
        broken[index] ^= 1;
        net.stored.push((to, lane, broken));
    }
    net.stored.push((to, lane, envelope));
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["genuine"]);
    assert!(!net.nodes[1].alerts.is_empty());
}

/// docs/protocol.md, 5.8: system events are the proxy's own; a peer's are shown as text, with an alert.
#[test]
fn peer_cannot_speak_as_the_system() {
    let mut net = Net::pair();
    Forgery {
        message_type: "system",
        ..Forgery::default()
    }
    .deliver(&mut net);
    let forged = net.nodes[1]
        .shown
        .iter()
        .find(|message| message.client_msg_id == "forged")
        .unwrap();
    assert_eq!(forged.message_type, "text");
    assert!(net.nodes[1].alerted("system_claimed"));
}

/// docs/protocol.md, 5.7: every envelope is acknowledged alike, whichever step failed.
/// Attacks 52 and 70: garbage and plaintext at the head of the queue are no messages and block nothing.
#[test]
fn garbage_does_not_block_the_queue() {
    let mut net = Net::pair();
    let to = net.nodes[1].agent_id;
    for garbage in [vec![], vec![0; 3], vec![0xff; 700], b"{\"json\":1}".to_vec()] {
        net.stored.push((to, Lane::Mail, garbage));
    }
    net.send(0, "bob", "genuine");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["genuine"]);
    assert!(net.nodes[1].alerted("envelope_malformed"));
}

/// docs/protocol.md, 5.4: a hole of any size is shown as a gap.
/// Attack 72: a number far ahead costs nothing and shows as a gap.
#[test]
fn huge_number_shows_as_gap() {
    let mut net = Net::pair();
    Forgery {
        n: u64::MAX / 4,
        ..Forgery::default()
    }
    .deliver(&mut net);
    net.pass(3_000);
    let forged = net.nodes[1]
        .shown
        .iter()
        .find(|message| message.client_msg_id == "forged")
        .unwrap();
    assert!(forged.security.gap.is_some());
    assert!(net.nodes[1].inbound().contains(&"genuine".to_owned()));
}

/// docs/protocol.md, 5.4: one number, two cores: `SENDER_FORK`.
/// Two messages with one number: the second is refused, loudly.
#[test]
fn sender_fork_is_refused_and_alerted() {
    let mut net = Net::pair();
    net.send(0, "bob", "genuine");
    net.run();
    Forgery::default().deliver(&mut net);
    assert!(net.nodes[1].alerted("sender_fork"));
    assert_eq!(net.nodes[1].inbound(), ["genuine"]);
}

#[test]
fn agent_ids_follow_from_identities() {
    let net = Net::pair();
    let (identity, _) = net.nodes[0].keys();
    assert_eq!(net.nodes[0].agent_id, AgentId::of(&relay_id(), identity.public()));
}

/// docs/protocol.md, 5.7: every envelope is acknowledged alike, whichever step refused it.
/// Attack 64: the relay learns nothing from how a bad envelope is taken.
#[test]
fn refused_envelopes_are_acknowledged_like_any_other() {
    let mut net = Net::pair();
    let bob = net.nodes[1].agent_id;
    let forgeries = [
        Forgery {
            context_to: 0,
            ..Forgery::default()
        },
        Forgery {
            foreign_conversation: true,
            ..Forgery::default()
        },
        Forgery {
            signer: 7,
            ..Forgery::default()
        },
        Forgery {
            text: "no json".into(),
            ..Forgery::default()
        },
    ];
    let mut damaged = Forgery::default().envelope(&net);
    *damaged.last_mut().unwrap() ^= 1;
    let envelopes = forgeries.iter().map(|forgery| forgery.envelope(&net));
    let envelopes: Vec<_> = envelopes.chain([vec![0; 9], damaged]).collect();
    for (envelope, position) in envelopes.into_iter().zip(1..) {
        net.stored.push((bob, Lane::Mail, envelope));
        net.run();
        assert_eq!(net.acked(1, Queue::Mail), position);
    }
    assert!(net.nodes[1].inbound().is_empty());
    assert!(
        net.stored.iter().all(|(to, ..)| *to == bob),
        "nothing is answered"
    );
}

/// docs/protocol.md, 8.4: an unknown session comes with a higher incarnation, and the agent is told;
/// anything else is a clone and refused.
#[test]
fn unknown_session_needs_a_higher_incarnation() {
    for (session, incarnation, alert, taken) in [
        (8, START + 1, "session_reset", true),
        (8, START, "clone", false),
        (8, START - 1, "clone", false),
        (1, START + 1, "clone", false),
    ] {
        let mut net = Net::pair();
        net.send(0, "bob", "genuine");
        net.run();
        let forgery = Forgery {
            session,
            incarnation,
            ..Forgery::default()
        };
        let envelope = forgery.envelope(&net);
        let bob = net.nodes[1].agent_id;
        net.stored.push((bob, Lane::Mail, envelope));
        net.run();
        let case = (session, incarnation);
        assert!(net.nodes[1].alerted(alert), "{case:?}");
        let shown = net.nodes[1].inbound().contains(&"forged".to_owned());
        assert_eq!(shown, taken, "{case:?}");
    }
}

/// docs/protocol.md, 9: the items of a direct resend are the sender's own messages.
#[test]
fn resend_brings_messages_of_its_sender_only() {
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, Settings::default()),
        Node::new("carol", 3, Settings::default()),
    ]);
    for author in [0, 2] {
        net.send(author, "bob", "hello");
    }
    net.send(1, "alice", "hello");
    net.send(1, "carol", "hello");
    net.run();
    // Alice wrote it to bob, and it never came.
    let forgery = Forgery {
        session: 8,
        incarnation: START + 1,
        ..Forgery::default()
    };
    let resend = Resend {
        conversation: ConversationId::direct(net.nodes[1].keys().0.public(), net.nodes[2].keys().0.public()),
        items: vec![forgery.signed(&net).1.encode()],
    };
    for (from, taken) in [(2, false), (0, true)] {
        net.control(from, "bob", Kind::Resend, resend.encode());
        net.run();
        assert_eq!(
            net.nodes[1].alerted("resend_refused"),
            !taken || from == 0,
            "{from}"
        );
        assert_eq!(
            net.nodes[1].inbound().contains(&"forged".to_owned()),
            taken,
            "{from}"
        );
    }
}

/// docs/protocol.md, 7.3: a receipt names the author's own core, or it is a lie and told.
#[test]
fn receipt_of_another_core_is_told_and_raises_nothing() {
    for (hash, alerted) in [(None, false), (Some(Hash::from_bytes([9; 32])), true)] {
        let mut net = Net::pair();
        net.send(1, "alice", "hello");
        net.run();
        net.send(0, "bob", "mine");
        let (alice, bob) = (net.nodes[0].keys().0, net.nodes[1].keys().0);
        let conversation = ConversationId::direct(alice.public(), bob.public());
        let session = net.nodes[0].engine.own_session();
        let sent = |net: &Net| {
            let store = net.nodes[0].engine.store();
            let row = store.conversation_by_protocol(&conversation).unwrap().unwrap();
            store
                .message_by_n(row.conversation_id, row.peer_id, Direction::Out, &session, 1)
                .unwrap()
                .unwrap()
        };
        let receipt = Receipt {
            conversation,
            session,
            n: 1,
            core_hash: Some(hash.unwrap_or(sent(&net).core_hash)),
            later: Vec::new(),
            state: ReceiptState::Read,
        };
        net.control(1, "alice", Kind::Receipt, receipt.encode());
        net.run();
        assert_eq!(net.nodes[0].alerted("receipt_mismatch"), alerted);
        assert_eq!(sent(&net).status == Status::Read, !alerted);
    }
}
