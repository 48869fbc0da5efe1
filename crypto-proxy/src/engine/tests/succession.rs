//! Peers that have another identity (docs/protocol.md, 4.6; flow 11, steps 2 and 3).

use waxwire_shared::{
    api::problem::ProblemType,
    fingerprint::Fingerprint,
    ids::RelayId,
    labels::Label,
    sign::SignedBytes,
    wire::{Bundle, Document as _, Succession, SuccessionBytes, VERSION},
};

use super::net::{Fault, Net, Node, relay_id};
use crate::{
    crypto::{recovery::RecoverySecret, secret::IdentitySecret},
    engine::{Command, GroupCommand, Reply, Settings, TrustPolicy},
    model::{AddOutcome, Message, Peer, Refusal, Severity, Status, Trust, TrustDecision},
};

const ALICE: usize = 0;
const BOB: usize = 1;
/// Bob with other keys.
const NEXT: usize = 2;
const DAY: u64 = 25 * 3_600 * 1_000;

fn recovery() -> RecoverySecret {
    use rand_core::SeedableRng as _;
    RecoverySecret::generate(&mut rand_chacha::ChaCha20Rng::from_seed([9; 32]))
}

/// Alice, bob, and bob with the keys that he will have; his bundles name [`recovery`].
fn net(policy: TrustPolicy) -> Net {
    let settings = Settings {
        trust_policy: policy,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, settings),
        Node::new("bob", 2, Settings::default()),
        Node::new("bob", 3, Settings::default()),
    ]);
    show(&mut net, BOB);
    net
}

/// The relay shows the bundle of one of the two bobs.
fn show(net: &mut Net, index: usize) {
    let signed = SignedBytes::decode(&net.nodes[index].bundle).unwrap();
    let mut bundle = Bundle::decode(&signed.body).unwrap();
    bundle.recovery = recovery().hash();
    let signed = net.nodes[index].keys().0.sign_document(&bundle);
    net.bundles.insert("bob".parse().unwrap(), signed);
}

fn body(net: &Net) -> Succession {
    Succession {
        version: VERSION,
        relay: relay_id(),
        handle: "bob".parse().unwrap(),
        old: net.nodes[BOB].keys().0.public().clone(),
        new: net.nodes[NEXT].keys().0.public().clone(),
        time: net.now,
    }
}

fn by_old(net: &Net, body: &Succession, old: &IdentitySecret) -> Vec<u8> {
    let body = body.encode();
    SuccessionBytes {
        by_new: net.nodes[NEXT].keys().0.sign(Label::SigSuccessionNew, &[&body]),
        by_old: Some(old.sign(Label::SigSuccessionOld, &[&body])),
        recovery: None,
        by_recovery: None,
        body,
    }
    .encode()
}

fn by_recovery(net: &Net, key: &RecoverySecret) -> Vec<u8> {
    let body = body(net).encode();
    SuccessionBytes {
        by_new: net.nodes[NEXT].keys().0.sign(Label::SigSuccessionNew, &[&body]),
        by_old: None,
        recovery: Some(key.public().clone()),
        by_recovery: Some(key.sign_succession(&body)),
        body,
    }
    .encode()
}

fn planned(net: &Net) -> Vec<u8> {
    by_old(net, &body(net), &net.nodes[BOB].keys().0)
}

/// The handle is the next bob's from now on, as the relay shows with this chain.
fn change(net: &mut Net, chain: Vec<Vec<u8>>) {
    show(net, NEXT);
    net.successions = chain;
    net.now += DAY;
}

fn sent(net: &mut Net, id: &str) -> Message {
    let request = net.send(ALICE, "bob", id);
    match net.answer(ALICE, request) {
        Some(Ok(Reply::Sent(sent))) => sent.message.clone(),
        other => panic!("{other:?}"),
    }
}

fn refused(net: &mut Net, id: &str) -> Refusal {
    let request = net.send(ALICE, "bob", id);
    match net.answer(ALICE, request) {
        Some(Err(refusal)) => refusal.clone(),
        other => panic!("{other:?}"),
    }
}

fn looked_up(net: &mut Net) -> Peer {
    let request = net.command(ALICE, Command::LookUp("bob".parse().unwrap()));
    match net.answer(ALICE, request) {
        Some(Ok(Reply::Peer(peer))) => (**peer).clone(),
        other => panic!("{other:?}"),
    }
}

fn decide(net: &mut Net, index: usize, decision: TrustDecision, resend: bool) {
    let fingerprint = Fingerprint::of(net.nodes[index].keys().0.public());
    let command = Command::SetTrust("bob".parse().unwrap(), decision, fingerprint, resend);
    let request = net.command(ALICE, command);
    assert!(matches!(net.answer(ALICE, request), Some(Ok(Reply::Peer(_)))));
}

fn status(net: &Net, message: &Message) -> Status {
    let store = net.nodes[ALICE].engine.store();
    store.message_by_id(&message.id).unwrap().unwrap().status
}

fn is_changed(refusal: &Refusal, proof: bool) -> bool {
    matches!(refusal, Refusal::IdentityChanged { proven, .. } if *proven == proof)
}

/// docs/protocol.md, 4.6: a proven change is accepted with an alert; the local conversation goes on.
#[test]
fn proven_change_is_followed_under_tofu() {
    let mut net = net(TrustPolicy::Tofu);
    let first = sent(&mut net, "m1");
    net.run();
    let chain = vec![planned(&net)];
    change(&mut net, chain);
    let second = sent(&mut net, "m2");
    net.run();
    assert_eq!(second.conversation, first.conversation);
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    assert_eq!(net.nodes[NEXT].inbound(), ["m2"]);
    assert!(!net.nodes[ALICE].alerted("identity_changed"));
    let told = net.nodes[ALICE].alerts.iter();
    let told: Vec<_> = told.filter(|alert| alert.kind == "identity_succeeded").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].severity, Severity::Info);
    // Who could still read its mail has read it.
    assert_eq!(status(&net, &first), Status::Stored);
    let peer = looked_up(&mut net);
    assert_eq!(peer.trust, Trust::Pinned);
    assert_eq!(peer.former, [Fingerprint::of(net.nodes[BOB].keys().0.public())]);
    // Numbers begin anew on both sides, in the same conversation.
    let reply = net.send(NEXT, "alice", "r1");
    assert!(matches!(net.answer(NEXT, reply), Some(Ok(Reply::Sent(_)))));
    net.run();
    assert_eq!(net.nodes[ALICE].inbound(), ["r1"]);
    let shown = net.nodes[ALICE].shown.iter().find(|message| !message.own);
    assert_eq!(shown.unwrap().conversation, first.conversation);
    for kind in ["sender_fork", "clone", "receipt_mismatch", "unknown_key"] {
        assert!(net.nodes.iter().all(|node| !node.alerted(kind)), "{kind}");
    }
}

/// docs/protocol.md, 4.6: with lost keys, what was not confirmed has ended; by the recovery key of the pinned bundle.
#[test]
fn recovered_peer_is_followed_and_unconfirmed_messages_fail() {
    let mut net = net(TrustPolicy::Tofu);
    let first = sent(&mut net, "m1");
    let chain = vec![by_recovery(&net, &recovery())];
    change(&mut net, chain);
    sent(&mut net, "m2");
    net.run();
    assert_eq!(net.nodes[NEXT].inbound(), ["m2"]);
    assert_eq!(status(&net, &first), Status::Failed);
    let told = net.nodes[ALICE].alerts.iter();
    let told: Vec<_> = told.filter(|alert| alert.kind == "identity_succeeded").collect();
    assert_eq!((told.len(), told[0].severity), (1, Severity::Warning));
}

/// docs/protocol.md, 4.6: neither another recovery key, nor another's signature, relay or handle prove anything,
/// nor does a chain to somebody else.
#[test]
fn forged_proofs_are_no_proofs() {
    use rand_core::SeedableRng as _;
    let stranger = RecoverySecret::generate(&mut rand_chacha::ChaCha20Rng::from_seed([10; 32]));
    type Make<'a> = &'a dyn Fn(&Net) -> Vec<u8>;
    let forgeries: [(&str, Make<'_>); 6] = [
        ("nothing", &|_| Vec::new()),
        ("another recovery key", &|net| by_recovery(net, &stranger)),
        ("another old key", &|net| {
            by_old(net, &body(net), &net.nodes[ALICE].keys().0)
        }),
        ("another relay", &|net| {
            let mut body = body(net);
            body.relay = RelayId::from_bytes([1; 32]);
            by_old(net, &body, &net.nodes[BOB].keys().0)
        }),
        ("another handle", &|net| {
            let mut body = body(net);
            body.handle = "bobby".parse().unwrap();
            by_old(net, &body, &net.nodes[BOB].keys().0)
        }),
        ("another new identity", &|net| {
            let mut body = body(net);
            body.new = net.nodes[ALICE].keys().0.public().clone();
            by_old(net, &body, &net.nodes[BOB].keys().0)
        }),
    ];
    for (what, make) in forgeries {
        let mut net = net(TrustPolicy::Tofu);
        sent(&mut net, "m1");
        let chain = vec![make(&net)];
        change(&mut net, chain);
        let stored = net.stored.len();
        assert!(is_changed(&refused(&mut net, "m2"), false), "{what}");
        assert_eq!(net.stored.len(), stored, "{what}");
        assert!(net.nodes[ALICE].alerted("identity_changed"), "{what}");
        assert!(!net.nodes[ALICE].alerted("identity_succeeded"), "{what}");
        let peer = looked_up(&mut net);
        let next = Fingerprint::of(net.nodes[NEXT].keys().0.public());
        assert_eq!(peer.trust, Trust::Changed, "{what}");
        assert_eq!(peer.changed, Some((next, false)), "{what}");
    }
}

/// docs/protocol.md, 4.4: under `pinned` and `verified`, by policy or by the pin itself, the operator decides; mail
/// of the new identity is held until then.
#[test]
fn operator_decides_where_keys_were_compared() {
    for (policy, decision) in [
        (TrustPolicy::Tofu, TrustDecision::Verified),
        (TrustPolicy::Tofu, TrustDecision::Pinned),
        (TrustPolicy::Verified, TrustDecision::Verified),
    ] {
        let mut net = net(policy);
        decide(&mut net, BOB, decision, false);
        let first = sent(&mut net, "m1");
        let chain = vec![by_recovery(&net, &recovery())];
        change(&mut net, chain);
        net.send(NEXT, "alice", "r1");
        net.run();
        assert!(net.nodes[ALICE].inbound().is_empty());
        assert!(is_changed(&refused(&mut net, "m2"), true));
        let next = Fingerprint::of(net.nodes[NEXT].keys().0.public());
        assert_eq!(looked_up(&mut net).changed, Some((next, true)));
        assert_eq!(status(&net, &first), Status::Stored);

        decide(&mut net, NEXT, decision, false);
        net.run();
        assert_eq!(net.nodes[ALICE].inbound(), ["r1"]);
        // Nothing was asked to be sent again.
        assert!(net.nodes[NEXT].inbound().is_empty());
        assert_eq!(status(&net, &first), Status::Failed);
        sent(&mut net, "m2");
        net.run();
        assert_eq!(net.nodes[NEXT].inbound(), ["m2"]);
    }
}

/// docs/protocol.md, 4.4: pending messages are sealed to a new identity only if the operator says so for them.
#[test]
fn unconfirmed_messages_are_sent_again_if_asked() {
    let mut net = net(TrustPolicy::Tofu);
    decide(&mut net, BOB, TrustDecision::Verified, false);
    let first = sent(&mut net, "m1");
    // Queued while the relay is away, and nobody waits for it any more.
    net.disconnect(ALICE);
    let chain = vec![by_recovery(&net, &recovery())];
    change(&mut net, chain);
    net.send(ALICE, "bob", "m2");
    net.pass(11_000);
    net.connect(ALICE);
    assert!(is_changed(&refused(&mut net, "m3"), true));
    net.pass(700_000);
    assert_eq!(net.stored.len(), 1);
    assert!(!net.nodes[ALICE].alerted("send_given_up"), "it is frozen");
    decide(&mut net, NEXT, TrustDecision::Verified, true);
    net.run();
    assert_eq!(net.nodes[NEXT].inbound(), ["m1", "m2"]);
    assert_eq!(status(&net, &first), Status::Failed);
    // The new one is what the agent's repeat of its request meets.
    let again = net.send(ALICE, "bob", "m1");
    match net.answer(ALICE, again) {
        Some(Ok(Reply::Sent(sent))) => assert!(sent.repeated && sent.message.id != first.id),
        other => panic!("{other:?}"),
    }
}

/// docs/relay-api.md, Envelopes: 410 says that a handle went to another identity; nothing is sealed to that in
/// place of what was asked, the agent asks again.
#[test]
fn refusal_of_a_former_identity_leads_to_the_new_one() {
    let mut net = net(TrustPolicy::Tofu);
    let first = sent(&mut net, "m1");
    let chain = vec![planned(&net)];
    show(&mut net, NEXT);
    net.successions = chain;
    // The bundle is fresh: nobody would ask.
    net.faults.push_back(Fault::Refuse(ProblemType::Gone));
    assert!(is_changed(&refused(&mut net, "m2"), true));
    net.run();
    assert!(net.nodes[NEXT].inbound().is_empty());
    let second = sent(&mut net, "m2");
    net.run();
    assert_eq!(net.nodes[NEXT].inbound(), ["m2"]);
    assert_eq!(second.conversation, first.conversation);
}

/// The relay goes on refusing an identity that it goes on showing: the send ends.
#[test]
fn relay_that_refuses_what_it_shows_is_asked_once() {
    let mut net = net(TrustPolicy::Tofu);
    sent(&mut net, "m1");
    for _ in 0..2 {
        net.faults.push_back(Fault::Refuse(ProblemType::Gone));
    }
    assert_eq!(refused(&mut net, "m2"), Refusal::AgentNotFound);
}

/// docs/protocol.md, 4.6: a message of the new identity leads to it, too; a message alone proves nothing.
#[test]
fn message_of_an_unknown_identity_leads_to_a_lookup() {
    let mut net = net(TrustPolicy::Tofu);
    let first = sent(&mut net, "m1");
    net.send(NEXT, "alice", "early");
    net.run();
    // The relay shows the pinned identity still.
    assert!(net.nodes[ALICE].inbound().is_empty());
    assert!(net.nodes[ALICE].alerted("unknown_key"));
    let chain = vec![planned(&net)];
    change(&mut net, chain);
    net.send(NEXT, "alice", "late");
    net.run();
    assert_eq!(net.nodes[ALICE].inbound(), ["early", "late"]);
    let shown = net.nodes[ALICE].shown.iter().find(|message| !message.own);
    assert_eq!(shown.unwrap().conversation, first.conversation);
}

/// docs/protocol.md, 4.6: the former identity is over; what it still signs is held.
#[test]
fn former_identity_is_not_heard_any_more() {
    let mut net = net(TrustPolicy::Tofu);
    sent(&mut net, "m1");
    let chain = vec![planned(&net)];
    change(&mut net, chain);
    sent(&mut net, "m2");
    net.run();
    net.send(BOB, "alice", "from the past");
    net.run();
    assert!(net.nodes[ALICE].inbound().is_empty());
}

/// Flow 11, step 4: who invites the new identity removes the old one and replaces the key, all in one commit.
#[test]
fn new_identity_is_invited_where_the_old_one_was() {
    let mut net = net(TrustPolicy::Tofu);
    let group = net.found(ALICE, &["bob"]).id;
    net.accept(BOB);
    net.say(BOB, group, "as before").unwrap();
    let chain = vec![planned(&net)];
    change(&mut net, chain);
    looked_up(&mut net);
    let (old, new) = (net.nodes[BOB].keys().0, net.nodes[NEXT].keys().0);
    let epoch = net.epoch();
    let add = || GroupCommand::Add(group, "bob".parse().unwrap(), None);
    let added = net.ask(ALICE, add());
    let invited = |added: &AddOutcome| matches!(added, AddOutcome::Invited(_));
    assert!(matches!(added, Ok(Reply::Added(added)) if invited(&added.outcome)));
    let roster = &net.groups.groups[&net.only_group()].roster;
    assert!(roster.member(old.public()).is_none());
    let names: Vec<_> = roster.invites().map(|invite| invite.identity.clone()).collect();
    assert_eq!(names, [new.public().clone()]);
    assert_eq!(net.epoch(), epoch + 1);
    // Once is enough.
    assert!(net.ask(ALICE, add()).is_ok());
    assert_eq!(net.epoch(), epoch + 1);
    net.say(ALICE, group, "bob is out, and invited").unwrap();
}
