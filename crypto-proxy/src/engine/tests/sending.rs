//! Flow 1: numbers, outcomes, holes, receipts.

use waxwire_shared::{
    api::{
        frames::{Allowance, Notice as SendNotice},
        problem::ProblemType,
    },
    ids::AgentId,
    wire::Lane,
};

use super::{
    groups::{ALICE, BOB},
    net::{Fault, Net, Node, request},
};
use crate::{
    engine::{Command, Reply, SendOutcome, Settings},
    model::{Destination, LocalConversation, MessageId, Refusal, Status},
};

fn sent_status(net: &Net, index: usize, id: u64) -> (Status, bool) {
    match net.answer(index, id) {
        Some(Ok(Reply::Sent(sent))) => (sent.message.status, sent.repeated),
        other => panic!("{other:?}"),
    }
}

/// docs/protocol.md, 5.3: a message arrives once, with the same id at both ends.
#[test]
fn message_arrives_with_one_id_at_both_ends() {
    let mut net = Net::pair();
    let id = net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sent_status(&net, 0, id), (Status::Stored, false));
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    assert_eq!(net.nodes[0].shown[0].id, net.nodes[1].shown[0].id);
    assert_eq!(net.nodes[1].shown[0].sender.as_str(), "alice");
    assert_eq!(net.nodes[1].shown[0].seq, 1);
    assert!(net.nodes[1].shown[0].security.verified);
}

/// docs/protocol.md, 5.6, step 1: the agent's id makes a send idempotent.
#[test]
fn same_client_msg_id_gives_the_first_message() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    let again = net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sent_status(&net, 0, again), (Status::Stored, true));
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

/// docs/protocol.md, 5.6, steps 1 and 6: no answer means unknown, and the same bytes are sent again.
/// An answer that was lost: 503 queued, then the same id finds the outcome.
#[test]
fn lost_answer_is_found_by_the_same_id() {
    let mut net = Net::pair();
    net.faults.push_back(Fault::LoseAnswer);
    let id = net.send(0, "bob", "m1");
    assert!(net.answer(0, id).is_none());
    net.pass(10_001);
    assert_eq!(
        net.answer(0, id).unwrap().as_ref().unwrap_err(),
        &Refusal::RelayUnreachable { queued: true }
    );
    net.disconnect(0);
    net.connect(0);
    let again = net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sent_status(&net, 0, again), (Status::Stored, true));
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

/// docs/protocol.md, 5.6, steps 2 and 6: what is refused for good withdraws its number.
/// Only success is sticky: a refused send retried later with the same id passes, and the number
/// that was withdrawn leaves no hole.
#[test]
fn refused_send_passes_later_without_a_gap() {
    let mut net = Net::pair();
    net.send(0, "bob", "m0");
    net.faults.push_back(Fault::Refuse(ProblemType::RateLimited));
    let refused = net.send(0, "bob", "m1");
    assert!(matches!(
        net.answer(0, refused),
        Some(Err(Refusal::RateLimited { .. }))
    ));
    let passed = net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sent_status(&net, 0, passed), (Status::Stored, false));
    assert_eq!(net.nodes[1].inbound(), ["m0", "m1"]);
    assert!(
        net.nodes[1]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
}

/// docs/protocol.md, 5.4 and 5.5: a withdrawn number that was stored is a message like any other, under one `mid`.
/// A send whose fate is unknown for too long is given up; when the relay had it all along, the
/// repeat under the same id finds out.
#[test]
fn given_up_send_that_was_stored_is_found_again() {
    let mut net = Net::pair();
    net.faults.push_back(Fault::LoseAnswer);
    net.send(0, "bob", "m1");
    net.disconnect(0);
    net.pass(600_001);
    assert!(net.nodes[0].alerted("send_given_up"));
    net.connect(0);
    let again = net.send(0, "bob", "m1");
    net.send(0, "bob", "m2");
    net.run();
    assert_eq!(sent_status(&net, 0, again), (Status::Stored, true));
    assert_eq!(net.nodes[1].inbound(), ["m1", "m2"]);
    assert!(
        net.nodes[1]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
}

/// However often the agent repeats it while the relay is away: what the relay has is known when it is back.
#[test]
fn send_that_was_given_up_more_than_once_is_found_again() {
    let mut net = Net::pair();
    net.faults.push_back(Fault::LoseAnswer);
    net.send(0, "bob", "m1");
    net.disconnect(0);
    for _ in 0..3 {
        net.pass(600_001);
        net.send(0, "bob", "m1");
    }
    net.pass(600_001);
    net.connect(0);
    let again = net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sent_status(&net, 0, again), (Status::Stored, true));
    assert!(!net.nodes[0].alerted("relay_hash_mismatch"));
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

/// A relay that says it stored other bytes is not believed.
#[test]
fn foreign_hash_is_refused_and_alerted() {
    let mut net = Net::pair();
    net.faults.push_back(Fault::LoseSend);
    let id = net.send(0, "bob", "m1");
    let hash = waxwire_shared::ids::Hash::from_bytes([7; 32]);
    let outcome = crate::engine::LinkEvent::Outcome(
        1,
        SendOutcome::Stored {
            repeated: true,
            hash,
            notice: None,
        },
    );
    net.feed(0, vec![crate::engine::Event::Link(outcome)]);
    assert!(matches!(net.answer(0, id), Some(Err(Refusal::RelayLied { .. }))));
    assert!(net.nodes[0].alerted("relay_hash_mismatch"));
}

/// docs/protocol.md, 5.4: a hole is waited for at most 2 s, then shown.
/// Attack 45: a message dropped in the middle shows as a gap, later ones are not held up for long,
/// and it heals when it comes late.
#[test]
fn dropped_message_shows_as_gap_and_heals() {
    let mut net = Net::pair();
    for name in ["m1", "m2", "m3"] {
        net.send(0, "bob", name);
    }
    let dropped = net.stored.remove(1);
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    // The author is not there to repair it.
    net.disconnect(0);
    net.pass(2_001);
    assert_eq!(net.nodes[1].inbound(), ["m1", "m3"]);
    let gap = net.nodes[1].shown[1].security.gap.unwrap();
    assert_eq!((gap.after, gap.missing), (1, 1));
    net.connect(0);
    net.send(0, "bob", "m4");
    net.stored.push(dropped);
    net.run();
    let mut heard = net.nodes[1].inbound();
    heard.sort();
    assert_eq!(heard, ["m1", "m2", "m3", "m4"]);
    let seqs: Vec<u64> = net.nodes[1].shown.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

/// Attack 44: order inside a conversation is the author's, whatever the relay does.
#[test]
fn reordered_messages_are_shown_in_order() {
    let mut net = Net::pair();
    let names: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
    for name in &names {
        net.send(0, "bob", name);
    }
    net.stored.reverse();
    net.run();
    assert_eq!(net.nodes[1].inbound(), names);
    assert!(
        net.nodes[1]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
}

/// docs/protocol.md, 5.4: a repeat is ignored.
/// Attacks 42 and 47: the same envelope under other positions, however often, is delivered once.
#[test]
fn repeated_envelope_is_shown_once() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    let copy = net.stored[0].clone();
    net.run();
    for _ in 0..1_000 {
        net.stored.push(copy.clone());
    }
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

/// docs/protocol.md, 7.3: settled here is delivered there, read is read, and never back.
#[test]
fn receipts_raise_the_status_of_own_messages() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    net.send(1, "alice", "r1");
    let delivery = net.nodes[1].shown[0].delivery.unwrap();
    net.command(1, Command::Ack(delivery));
    net.pass(1_000);
    let id = net.nodes[1].shown[0].id;
    let again = net.send(0, "bob", "m1");
    assert_eq!(sent_status(&net, 0, again).0, Status::Delivered);
    net.command(1, Command::MarkRead(id));
    net.pass(1_000);
    let again = net.send(0, "bob", "m1");
    assert_eq!(sent_status(&net, 0, again).0, Status::Read);
    assert!(net.stored.iter().any(|(_, lane, _)| *lane == Lane::Control));
}

/// docs/protocol.md, 7.3: who reads up to a message has read all before it; its author is told once.
#[test]
fn reading_up_to_a_number_is_told_to_the_author() {
    let mut net = Net::pair();
    for id in ["m1", "m2", "m3"] {
        net.send(0, "bob", id);
    }
    net.run();
    let second = net.nodes[1].shown[1].clone();
    let up_to = |seq| Command::MarkReadUpTo(second.conversation, seq);
    net.command(1, up_to(second.seq));
    net.pass(1_000);
    net.command(1, up_to(second.seq));
    net.pass(1_000);
    let read = &net.nodes[0].read;
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!((read[0].message, read[0].through_seq), (second.id, 2));
    assert_eq!(read[0].reader.as_str(), "bob");
    let status = |net: &mut Net, id| {
        let again = net.send(0, "bob", id);
        sent_status(net, 0, again).0
    };
    let all = ["m1", "m2", "m3"].map(|id| status(&mut net, id));
    assert_eq!(all, [Status::Read, Status::Read, Status::Stored]);
    let nowhere = LocalConversation {
        id: [0; 16],
        ..second.conversation
    };
    let refused = net.command(1, Command::MarkReadUpTo(nowhere, 1));
    assert!(matches!(
        net.answer(1, refused),
        Some(Err(Refusal::ConversationNotFound))
    ));
}

/// What a socket acknowledges is named by message; own and unknown ones settle nothing.
#[test]
fn messages_are_settled_by_name() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    net.send(1, "alice", "r1");
    let shown: Vec<MessageId> = net.nodes[1].shown.iter().map(|message| message.id).collect();
    assert_eq!(shown.len(), 2);
    for expected in [1, 0] {
        let names = [shown.clone(), vec![MessageId([7; 16])]].concat();
        let asked = net.command(1, Command::SettleMessages(names));
        let answer = net.answer(1, asked);
        assert!(
            matches!(answer, Some(Ok(Reply::Settled(count))) if *count == expected),
            "{answer:?}"
        );
    }
}

/// Places follow one another over everything that becomes visible, in and out.
#[test]
fn visible_messages_have_places_in_one_order() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    net.send(1, "alice", "r1");
    net.send(0, "bob", "m2");
    net.run();
    let places: Vec<u64> = net.nodes[1].shown.iter().map(|message| message.place).collect();
    assert_eq!(places, [1, 2, 3]);
    let deliveries = net.nodes[1].shown.iter().map(|message| message.delivery);
    let positions: Vec<Option<u64>> = deliveries.map(|delivery| Some(delivery?.position)).collect();
    assert_eq!(positions, [Some(1), None, Some(3)]);
}

/// The state of a link that comes and goes loses nothing and repeats nothing.
#[test]
fn messages_queued_while_the_link_is_down_go_out_in_order() {
    let mut net = Net::pair();
    net.send(0, "bob", "m0");
    net.disconnect(0);
    let ids: Vec<u64> = (1..5).map(|i| net.send(0, "bob", &format!("m{i}"))).collect();
    net.pass(10_001);
    for id in ids {
        assert!(matches!(
            net.answer(0, id),
            Some(Err(Refusal::RelayUnreachable { queued: true }))
        ));
    }
    net.connect(0);
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m0", "m1", "m2", "m3", "m4"]);
}

/// What is counted is what was committed, without names.
#[test]
fn outcomes_are_counted() {
    use crate::engine::Count;
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.faults.push_back(Fault::Refuse(ProblemType::Backlogged));
    net.send(0, "bob", "m2");
    net.run();
    let copy = net.stored[0].clone();
    let mut broken = copy.clone();
    *broken.2.last_mut().unwrap() ^= 1;
    net.stored.extend([copy, broken]);
    net.run();
    let counted = |index: usize, count| {
        let all = net.nodes[index].engine.counters().all();
        all.into_iter()
            .find(|(found, _)| *found == count)
            .map_or(0, |(_, n)| n)
    };
    assert_eq!(counted(0, Count::Send("stored")), 1);
    assert_eq!(counted(0, Count::Send("refused")), 1);
    assert_eq!(counted(0, Count::SendRefused("backlogged")), 1);
    assert_eq!(counted(1, Count::Receive("accepted")), 1);
    assert_eq!(counted(1, Count::Receive("repeated")), 1);
    assert_eq!(counted(1, Count::ReceiveRefused("envelope_does_not_open")), 1);
    let alert = Count::Alert(crate::model::Severity::Warning, "envelope_does_not_open");
    assert_eq!(counted(1, alert), 1);
}

/// What answers nothing that is known is refused, not sent without saying what it answers.
#[test]
fn answer_to_an_unknown_message_is_refused() {
    let mut net = Net::pair();
    net.send(1, "alice", "question");
    net.run();
    let known = net.nodes[0].shown[0].id;
    for (id, sent) in [(known, true), (MessageId([9; 16]), false)] {
        let to = Destination::Peer("bob".parse().unwrap());
        let mut answer = request(to, "answer");
        answer.reply_to = Some(id);
        answer.client_msg_id = id.to_string();
        let id = net.command(0, Command::Send(answer));
        match net.answer(0, id) {
            Some(Ok(Reply::Sent(message))) if sent => assert_eq!(message.message.reply_to, Some(known)),
            Some(Err(Refusal::MessageNotFound)) if !sent => {}
            other => panic!("{other:?}"),
        }
    }
}

/// docs/protocol.md, 5.4 and 9: what was missing and turns out to be withdrawn is not asked for any more.
#[test]
fn withdrawn_number_is_not_missed() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    net.faults.push_back(Fault::Refuse(ProblemType::RateLimited));
    net.send(0, "bob", "refused");
    // What announces the withdrawal is dropped by the relay and comes by repair.
    net.send(0, "bob", "m2");
    net.stored.pop();
    net.send(0, "bob", "m3");
    net.run();
    net.pass(2_000);
    // The author answers after up to two seconds.
    net.pass(2_000);
    assert_eq!(net.nodes[1].inbound(), ["m1", "m3", "m2"]);
    assert_eq!(net.nodes[1].engine.store().waiting().unwrap().missing, None);
}

/// What the relay says of limits goes with the answer, and to the agent's sockets.
#[test]
fn limits_that_are_near_are_told() {
    let mut net = Net::pair();
    let allowance = Allowance {
        limit: 200,
        remaining: 3,
    };
    net.notice = Some(Box::new(SendNotice {
        backlog: 5_001,
        allowance: Some(allowance),
        skipped: Vec::new(),
    }));
    let id = net.send(0, "bob", "m1");
    net.run();
    let Some(Ok(Reply::Sent(sent))) = net.answer(0, id) else {
        panic!("not sent");
    };
    assert_eq!(sent.backlog, Some(("bob".parse().unwrap(), 5_001)));
    assert_eq!(net.nodes[0].warned, [allowance]);
    let next = net.send(0, "bob", "m2");
    net.run();
    assert!(matches!(net.answer(0, next), Some(Ok(Reply::Sent(sent))) if sent.backlog.is_none()));
}

#[test]
fn members_who_are_far_behind_are_named_by_their_handles() {
    let (mut net, group) = Net::group_of(3);
    net.notice = Some(Box::new(SendNotice {
        skipped: vec![net.nodes[BOB].agent_id, AgentId::from_bytes([9; 16])],
        ..SendNotice::default()
    }));
    let id = net.say_later(ALICE, group, "one");
    net.settle();
    let Some(Ok(Reply::Sent(sent))) = net.answer(ALICE, id) else {
        panic!("not sent");
    };
    assert_eq!(sent.skipped, ["bob".parse().unwrap()]);
}

/// The same content in a loop is stopped here: the relay cannot see that it is the same.
#[test]
fn content_that_is_sent_over_and_over_is_refused_for_a_while() {
    let settings = Settings {
        duplicates: 3,
        ..Settings::default()
    };
    let bob = Node::new("bob", 2, Settings::default());
    let mut net = Net::new(vec![Node::new("alice", 1, settings), bob]);
    let text = format!("{{\"text\":\"{}\"}}", "again ".repeat(20));
    let say = |net: &mut Net, id: &str, content: &str| {
        let mut message = request(Destination::Peer("bob".parse().unwrap()), id);
        content.clone_into(&mut message.content);
        let id = net.command(0, Command::Send(message));
        net.run();
        net.answer(0, id).cloned().unwrap()
    };
    for id in ["m1", "m2", "m3"] {
        assert!(say(&mut net, id, &text).is_ok());
    }
    net.pass(10_000);
    let refused = say(&mut net, "m4", &text);
    assert!(
        matches!(refused, Err(Refusal::RateLimited { retry_after: 50 })),
        "{refused:?}"
    );
    // What is known is answered, what is short or other passes.
    assert!(say(&mut net, "m1", &text).is_ok());
    assert!(say(&mut net, "m5", &text.replace("again", "other")).is_ok());
    for id in ["s1", "s2", "s3", "s4"] {
        assert!(say(&mut net, id, "{\"text\":\"ok\"}").is_ok());
    }
    net.pass(50_000);
    assert!(say(&mut net, "m4", &text).is_ok());
}

/// The other end counts what comes, from whomever, and says so with each message.
#[test]
fn repeats_of_a_content_are_counted_where_it_arrives() {
    let names = ["alice", "bob", "carol"];
    let nodes = names
        .into_iter()
        .zip(1..)
        .map(|(name, seed)| Node::new(name, seed, Settings::default()));
    let mut net = Net::new(nodes.collect());
    let long = format!("{{\"text\":\"{}\"}}", "buy ".repeat(20));
    let say = |net: &mut Net, node: usize, id: &str, content: &str| {
        let mut message = request(Destination::Peer("bob".parse().unwrap()), id);
        content.clone_into(&mut message.content);
        net.command(node, Command::Send(message));
        net.run();
    };
    say(&mut net, 0, "m1", &long);
    say(&mut net, 2, "m2", &long);
    say(&mut net, 0, "m3", "{\"text\":\"ok\"}");
    say(&mut net, 0, "m4", "{\"text\":\"ok\"}");
    say(&mut net, 0, "m5", &long);
    net.pass(3_600_000);
    say(&mut net, 2, "m6", &long);
    let shown = net.nodes[1].shown.iter();
    let repeats: Vec<u64> = shown.map(|message| message.security.repeats).collect();
    assert_eq!(repeats, [0, 1, 0, 0, 2, 0]);
}
