//! Envelopes that a relay, a stranger or a peer forged: refused, told, and nothing is blocked.

use rand_core::SeedableRng as _;
use waxwire_shared::{
    ids::{AgentId, ConversationId, Hash, Mid, SessionId},
    suite::Suite,
    wire::{Context, Core, DirectHeader, Document as _, Envelope, Kind, Lane, VERSION},
};

use super::net::{Net, Node, START, relay_id};
use crate::{
    crypto::{message, secret::IdentitySecret},
    engine::Settings,
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
        }
    }
}

impl Forgery {
    fn envelope(&self, net: &Net) -> Vec<u8> {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([99; 32]);
        let signer = Node::new("signer", self.signer, Settings::default()).keys().0;
        let recipient = &net.nodes[self.to];
        let (audience, _) = net.nodes[self.context_to].keys();
        let key = net.nodes[self.to].public();
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
            session: SessionId::from_bytes([self.signer; 16]),
            incarnation: START,
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
        let ciphertext = message::seal_direct(&mut rng, &key, self.kind, &signed).unwrap();
        Envelope {
            header: &header,
            ciphertext: &ciphertext,
        }
        .to_bytes()
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

/// docs/protocol.md, 5: system events are the proxy's own; a peer's are shown as text, with an alert.
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

/// Attack 70: garbage at the head of the queue blocks nothing.
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
