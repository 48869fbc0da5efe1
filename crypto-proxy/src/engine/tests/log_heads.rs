//! Heads in lookups and in messages: one log for all, or an alarm (docs/protocol.md, 10).

use waxwire_shared::{
    api::frames::Queue, ids::Hash, message::UnverifiedMessage, sign::Unverified, wire::LogHead,
};

use super::net::{Net, request};
use crate::{
    engine::{AuditCommand, Command, Count, LogCall, LookupError, Reply},
    model::{Audit, Destination, LogEvidenceKind},
    state::{HeadReader, HeadRole},
    transparency::testing::{TestLog, leaf},
};

fn highest(net: &Net, index: usize) -> Option<Vec<u8>> {
    net.nodes[index]
        .engine
        .store()
        .log_head(HeadRole::Highest)
        .unwrap()
}

/// Everybody has looked everybody up, and the log has `more` leaves since.
fn acquainted(more: u64) -> Net {
    let mut net = Net::pair();
    net.keep_log();
    net.send(0, "bob", "hello");
    net.run();
    net.send(1, "alice", "hello, too");
    net.run();
    grow(&mut net, more);
    net
}

fn grow(net: &mut Net, more: u64) {
    for log in &mut net.logs {
        let size = log.leaves.len() as u64;
        log.leaves.extend((0..more).map(|n| leaf(100 + size + n)));
    }
}

/// An agent looks a peer up again, which shows it the newest head.
fn look(net: &mut Net, index: usize, peer: &str) {
    net.now += 25 * 3_600 * 1_000;
    net.command(index, Command::LookUp(peer.parse().unwrap()));
    net.run();
}

/// An agent learns of the newest head, and no time passes.
fn learn(net: &mut Net, index: usize) {
    audit(net, index, AuditCommand::Start).unwrap();
    assert_eq!(highest(net, index), Some(net.logs[0].newest()));
}

fn proofs_asked(net: &Net) -> usize {
    let calls = net.log_calls.iter();
    calls
        .filter(|call| matches!(call, LogCall::Consistency { .. }))
        .count()
}

/// The heads that an agent's messages to a peer have carried.
fn carried(net: &Net, index: usize) -> Vec<Option<Vec<u8>>> {
    let store = net.nodes[index].engine.store();
    let own = net.nodes[index].shown.iter().filter(|message| message.own);
    own.map(|message| {
        let row = store.message_by_id(&message.id).unwrap().unwrap().message_row;
        let signed = UnverifiedMessage::from_message(store.signed(row).unwrap()).unwrap();
        signed.verify().unwrap().context().log_head.clone()
    })
    .collect()
}

pub(super) fn audit(net: &mut Net, index: usize, command: AuditCommand) -> Option<Audit> {
    let id = net.command(index, Command::Audit(command));
    match net.answer(index, id) {
        Some(Ok(Reply::Audit(audit))) => Some((**audit).clone()),
        _ => None,
    }
}

/// docs/protocol.md, 10: a later head is taken once the relay has proved that it continues the highest.
#[test]
fn later_head_is_taken_with_its_proof_only() {
    let mut net = acquainted(0);
    let before = highest(&net, 0);
    assert_eq!(before, Some(net.logs[0].newest()));
    let size = net.logs[0].leaves.len() as u64;
    grow(&mut net, 5);
    net.log_answer = Some(Box::new(|_, _| Some(Err(LookupError::Unreachable))));
    look(&mut net, 0, "bob");
    assert_eq!(highest(&net, 0), before, "nothing is proved yet");
    assert_eq!(
        net.log_calls.last(),
        Some(&LogCall::Consistency {
            from: size,
            to: size + 5
        })
    );
    // A relay that cannot be reached is asked again, however long it takes.
    for _ in 0..5 {
        net.pass(60_000);
    }
    assert!(!net.nodes[0].alerted("log_fork"));
    net.log_answer = None;
    net.pass(60_000);
    assert_eq!(highest(&net, 0), Some(net.logs[0].newest()));
    // An older head of the same log is asked about once, and changes nothing.
    let asked = proofs_asked(&net);
    look(&mut net, 0, "bob");
    assert_eq!(proofs_asked(&net), asked);
}

/// docs/protocol.md, 5.3 and 10: a message carries the newest head that was verified, once to each peer.
#[test]
fn head_travels_once_to_each_peer() {
    let mut net = acquainted(0);
    // Alice sealed her first message before she had the tag to verify a proof.
    assert_eq!(carried(&net, 0), [None]);
    assert_eq!(carried(&net, 1), [Some(net.logs[0].newest())]);
    grow(&mut net, 3);
    learn(&mut net, 0);
    let newest = net.logs[0].newest();
    for id in ["with a head", "without"] {
        net.send(0, "bob", id);
        net.run();
        assert_eq!(highest(&net, 1), Some(newest.clone()), "bob asked for the proof");
    }
    assert_eq!(carried(&net, 0), [None, Some(newest), None]);
    assert_eq!(proofs_asked(&net), 2);
}

/// docs/protocol.md, 3.4 and 10: a head makes a message longer on the wire at most once a day.
#[test]
fn head_that_does_not_fit_into_the_bucket_stays_behind() {
    let sizes = |with_log: bool| {
        let mut net = acquainted(0);
        net.send(0, "bob", "with the first head of the day");
        net.run();
        let first = net.nodes[0].shown.len();
        let mut sizes = Vec::new();
        for filler in (0..1_200).step_by(40) {
            if with_log {
                grow(&mut net, 1);
                learn(&mut net, 0);
            }
            let mut wanted = request(
                Destination::Peer("bob".parse().unwrap()),
                &format!("n{filler:04}"),
            );
            wanted.content = format!("{{\"text\":\"{}\"}}", "x".repeat(filler));
            net.command(0, Command::Send(wanted));
            sizes.push(net.stored.last().unwrap().2.len());
            net.run();
        }
        (sizes, carried(&net, 0).split_off(first))
    };
    let (with, heads) = sizes(true);
    let (without, none) = sizes(false);
    assert_eq!(with, without);
    assert!(none.iter().all(Option::is_none));
    let room = heads.iter().filter(|head| head.is_some()).count();
    assert!((5..heads.len() - 2).contains(&room), "{room} of {}", heads.len());
}

/// docs/protocol.md, 10: an agent that writes little is heard of all the same.
#[test]
fn short_message_carries_a_head_once_a_day() {
    let mut net = acquainted(0);
    let mut carrying = 0;
    for hour in 0..73 {
        grow(&mut net, 1);
        learn(&mut net, 0);
        net.send(0, "bob", &format!("hour {hour}"));
        carrying += u64::from(carried(&net, 0).last().unwrap().is_some());
        net.run();
        net.pass(3_600 * 1_000);
    }
    assert_eq!(carrying, 4);
}

/// docs/protocol.md, 10, attack 24: agents that are shown two logs and talk find out, with proof.
#[test]
fn split_log_is_found_when_agents_talk() {
    let mut net = Net::pair();
    // To alice a log with another leaf in the middle than to bob.
    net.logs = vec![TestLog::of_size(4), TestLog::of_size(4)];
    net.logs[1].leaves[1] = leaf(77);
    net.log_bundles();
    net.send(0, "bob", "hello");
    net.run();
    net.send(1, "alice", "hello, too");
    net.run();
    net.send(0, "bob", "and on");
    net.run();
    assert!(net.nodes[0].alerted("log_fork") || net.nodes[1].alerted("log_fork"));
    let found = (0..2)
        .find(|index| net.nodes[*index].alerted("log_fork"))
        .unwrap();
    let audit = audit(&mut net, found, AuditCommand::Show).unwrap();
    let evidence = &audit.evidence[0];
    assert!(audit.forked && evidence.kind == LogEvidenceKind::Fork);
    let mut heads = [&evidence.first, &evidence.second].map(|bytes| {
        let head = Unverified::<LogHead>::decode(bytes).unwrap();
        head.verify_by(net.logs[0].identity()).unwrap().into_body()
    });
    heads.sort_by_key(|head| head.root != net.logs[0].body(6).root);
    assert_eq!((heads[0].size, heads[0].log), (heads[1].size, heads[1].log));
    assert_ne!(heads[0].root, heads[1].root);
    assert_eq!(net.nodes[0].inbound(), ["hello, too"]);
    assert_eq!(net.nodes[1].inbound(), ["hello", "and on"]);
}

/// Everybody is acquainted; since then alice and bob are shown different logs, and alice knows of her later one.
fn parted() -> Net {
    let mut net = acquainted(0);
    let mut other = TestLog::of_size(0);
    other.leaves = net.logs[0].leaves.clone();
    net.logs.push(other);
    for (log, n) in net.logs.iter_mut().zip(70..) {
        log.leaves.push(leaf(n));
    }
    learn(&mut net, 0);
    net
}

/// The relay does not say whether heads continue each other.
fn be_silent(net: &mut Net) {
    net.log_answer = Some(Box::new(|_, call| {
        let asked = matches!(call, LogCall::Consistency { .. });
        asked.then_some(Err(LookupError::Unreachable))
    }));
}

/// docs/protocol.md, 10: a relay that does not answer until the proxy is gone has gained nothing by it.
#[test]
fn head_that_waits_for_its_proof_is_kept() {
    let mut net = parted();
    be_silent(&mut net);
    net.send(0, "bob", "with a head");
    net.run();
    net.restart(1, |_| false);
    net.pass(60_000);
    assert!(!net.nodes[1].alerted("log_fork"));
    net.log_answer = None;
    net.pass(60_000);
    assert!(net.nodes[1].alerted("log_fork"));
    // It is decided upon: once the log is acknowledged, nothing of it comes back.
    let accept = AuditCommand::Accept(net.logs[1].id);
    let accepted = audit(&mut net, 1, accept).unwrap();
    assert_eq!((accepted.forked, accepted.head), (false, None));
    net.restart(1, |_| false);
    net.pass(60_000);
    assert_eq!(highest(&net, 1), None);
}

/// docs/protocol.md, 10: a relay that is there and gives no proof is found out, too.
#[test]
fn proof_that_does_not_come_for_two_hours_is_told() {
    let mut net = parted();
    be_silent(&mut net);
    net.send(0, "bob", "with a head");
    net.run();
    for _ in 0..118 {
        net.pass(60_000);
    }
    assert!(!net.nodes[1].alerted("log_withheld"));
    net.pass(60_000);
    assert!(net.nodes[1].alerted("log_withheld"));
    assert!(!net.nodes[1].alerted("log_fork"), "nothing is shown by it");
}

/// docs/protocol.md, 10: whoever cannot reach the relay accuses nobody.
#[test]
fn proof_that_cannot_be_asked_for_is_waited_for() {
    let mut net = parted();
    be_silent(&mut net);
    net.send(0, "bob", "with a head");
    net.run();
    net.disconnect(1);
    for _ in 0..118 {
        net.pass(60_000);
    }
    net.connect(1);
    net.pass(60_000);
    assert!(!net.nodes[1].alerted("log_withheld"));
}

/// docs/protocol.md, 9 and 10: a relay that loses the message which carries a head hides nothing.
#[test]
fn head_in_a_message_that_is_sent_again_is_compared() {
    let mut net = acquainted(2);
    learn(&mut net, 0);
    let newest = net.logs[0].newest();
    net.send(0, "bob", "with a head");
    net.stored.pop();
    net.send(0, "bob", "without");
    net.run();
    assert_eq!(carried(&net, 0), [None, Some(newest.clone()), None]);
    assert_ne!(highest(&net, 1), Some(newest.clone()));
    for _ in 0..2 {
        net.pass(2_000);
    }
    assert_eq!(net.nodes[1].inbound(), ["hello", "without", "with a head"]);
    assert_eq!(highest(&net, 1), Some(newest));
}

/// docs/protocol.md, 10: a head that nobody can show to continue another is a fork after three answers.
#[test]
fn rolled_back_log_is_a_fork() {
    for answer in [
        Err(LookupError::NotFound),
        Ok(vec![b"nonsense".to_vec()]),
        Ok(Vec::new()),
    ] {
        let mut net = acquainted(4);
        learn(&mut net, 0);
        let genuine = highest(&net, 0).unwrap();
        net.logs[0].leaves.truncate(5);
        net.logs[0].leaves[1] = leaf(66);
        let given = answer.clone();
        net.log_answer = Some(Box::new(move |_, _| Some(given.clone())));
        look(&mut net, 0, "bob");
        net.pass(5_000);
        assert!(!net.nodes[0].alerted("log_fork"), "{answer:?}");
        net.pass(5_000);
        assert!(net.nodes[0].alerted("log_fork"), "{answer:?}");
        assert_eq!(highest(&net, 0), Some(genuine.clone()));
        let audit = audit(&mut net, 0, AuditCommand::Show).unwrap();
        assert_eq!((audit.evidence.len(), &audit.evidence[0].first), (1, &genuine));
        // It is told once, and nothing is asked any more.
        let asked = proofs_asked(&net);
        look(&mut net, 0, "bob");
        net.send(0, "bob", "all the same");
        net.run();
        assert_eq!(proofs_asked(&net), asked);
        assert!(net.nodes[1].inbound().contains(&"all the same".to_owned()));
    }
}

/// docs/protocol.md, 10: an answer that names another head of the same size is the proof of the fork itself.
#[test]
fn second_head_of_one_size_in_an_answer_is_a_fork_at_once() {
    let mut net = acquainted(4);
    let mut other = TestLog::of_size(9);
    other.leaves[0] = leaf(55);
    net.log_answer = Some(Box::new(move |_, call| {
        let LogCall::Consistency { from, to } = call else {
            return None;
        };
        Some(Ok(vec![other.consistency(from, to)]))
    }));
    look(&mut net, 0, "bob");
    assert!(net.nodes[0].alerted("log_fork"));
}

/// docs/protocol.md, 10: heads that the relay has not signed are counted and nothing else.
#[test]
fn forged_heads_of_peers_are_ignored() {
    let mut net = acquainted(2);
    let before = highest(&net, 1);
    // What alice holds as the highest goes to bob as it is.
    let mut forged = net.logs[0].newest();
    *forged.last_mut().unwrap() ^= 1;
    let mut elsewhere = TestLog::of_size(9);
    elsewhere.relay = waxwire_shared::ids::RelayId::from_bytes([8; 32]);
    for (n, head) in [forged, elsewhere.newest(), b"no head".to_vec()]
        .into_iter()
        .enumerate()
    {
        net.nodes[0]
            .engine
            .store()
            .put_log_head(HeadRole::Highest, 90 + n as u64, &head)
            .unwrap();
        // With room for a head.
        let mut wanted = request(Destination::Peer("bob".parse().unwrap()), &format!("forged-{n}"));
        wanted.content = format!("{{\"text\":\"{}\"}}", "x".repeat(200));
        net.command(0, Command::Send(wanted));
        net.run();
    }
    let counts = net.nodes[1].engine.counters().all();
    let ignored = counts.iter().find(|(count, _)| *count == Count::LogHead("false"));
    assert_eq!(ignored.map(|(_, count)| *count), Some(3));
    assert_eq!(highest(&net, 1), before);
    assert!(
        net.nodes[1]
            .alerts
            .iter()
            .all(|alert| !alert.kind.starts_with("log_"))
    );
    assert!(net.nodes[1].inbound().contains(&"forged-2".to_owned()));
}

/// docs/protocol.md, 10: another log id is told; nothing is compared until the operator acknowledges it.
#[test]
fn other_log_waits_for_the_operator() {
    let mut net = acquainted(0);
    let old = net.logs[0].newest();
    let former = std::mem::replace(&mut net.logs[0].id, Hash::from_bytes([2; 32]));
    grow(&mut net, 2);
    look(&mut net, 0, "bob");
    assert!(net.nodes[0].alerted("log_replaced"));
    let shown = audit(&mut net, 0, AuditCommand::Show).unwrap();
    assert_eq!(shown.other.unwrap().log, net.logs[0].id);
    assert_eq!(shown.evidence[0].kind, LogEvidenceKind::OtherLog);
    assert_eq!(highest(&net, 0), Some(old));
    let calls = proofs_asked(&net);
    grow(&mut net, 2);
    look(&mut net, 0, "bob");
    assert_eq!(proofs_asked(&net), calls, "nothing is compared");
    let unknown = AuditCommand::Accept(Hash::from_bytes([3; 32]));
    assert_eq!(audit(&mut net, 0, unknown), None);
    let accept = AuditCommand::Accept(net.logs[0].id);
    let accepted = audit(&mut net, 0, accept).unwrap();
    assert_eq!(
        (accepted.head.unwrap().log, accepted.other),
        (net.logs[0].id, None)
    );
    look(&mut net, 0, "bob");
    assert_eq!(highest(&net, 0), Some(net.logs[0].newest()));
    // Bob still goes by the old log, of which alice is told nothing any more.
    let alerts = net.nodes[0].alerts.len();
    net.send(1, "alice", "from before");
    net.run();
    assert_eq!(net.nodes[0].alerts.len(), alerts);
    assert!(net.nodes[0].inbound().contains(&"from before".to_owned()));
    // The relay has no way back to it.
    net.logs[0].id = former;
    look(&mut net, 0, "bob");
    let shown = audit(&mut net, 0, AuditCommand::Show).unwrap();
    assert_eq!(shown.other.unwrap().log, former);
}

/// docs/protocol.md, 10: heads travel in groups, too.
#[test]
fn head_travels_in_a_group() {
    let (mut net, group) = Net::group_of(3);
    net.keep_log();
    look(&mut net, 0, "bob");
    let newest = net.logs[0].newest();
    assert_eq!(highest(&net, 0), Some(newest.clone()));
    let id = net.say_later(0, group, "hello all");
    net.settle();
    assert!(matches!(net.answer(0, id), Some(Ok(_))));
    for member in [1, 2] {
        assert_eq!(highest(&net, member), Some(newest.clone()), "{member}");
    }
}

/// docs/protocol.md, 9 and 10: in a group, too, a head is not lost with the envelope that carried it.
#[test]
fn head_in_a_group_message_that_is_sent_again_is_compared() {
    let (mut net, group) = Net::group_of(3);
    net.keep_log();
    learn(&mut net, 0);
    let newest = net.logs[0].newest();
    // As if alice had written to bob before: what she sends again carries no head of its own.
    let store = net.nodes[0].engine.store();
    let bob = store.peer(&"bob".parse().unwrap()).unwrap().unwrap().peer_id;
    store.note_head_sent(HeadReader::Peer(bob), net.now).unwrap();
    net.disconnect(1);
    net.say(0, group, "with a head").unwrap();
    let id = net.only_group();
    let position = net.groups.groups[&id].messages.len() as u64;
    net.skip(1, Queue::Group(id), position);
    net.connect(1);
    net.say(0, group, "without").unwrap();
    assert_eq!(highest(&net, 1), None);
    net.pass(2_000);
    net.settle();
    net.pass(2_000);
    net.settle();
    assert_eq!(highest(&net, 1), Some(newest));
}
