//! In which order a group is read after an absence (docs/protocol.md, 6.8): that of its queue, as long as
//! what is missing is under way; and what the relay does not give holds nothing up.

use waxwire_shared::ids::GroupId;

use super::{
    groups::{ALICE, BOB, CAROL},
    net::Net,
};
use crate::{engine::GroupCommand, model::LocalConversation};

const EPOCHS: usize = 8;

/// Bob was away while alice and carol wrote under one key after the other; gives their texts in order.
fn absence(net: &mut Net, group: LocalConversation) -> Vec<String> {
    net.disconnect(BOB);
    let mut texts = Vec::new();
    for number in 0..EPOCHS {
        net.ask(ALICE, GroupCommand::Rekey(group)).unwrap();
        for (index, name) in [(ALICE, "alice"), (CAROL, "carol"), (ALICE, "alice again")] {
            let text = format!("{name} {number}");
            net.say(index, group, &text).unwrap();
            texts.push(text);
        }
    }
    texts
}

/// Bob is back, and has everything but the answers to his questions.
fn back(net: &mut Net) -> GroupId {
    net.calls_wait = true;
    net.connect(BOB);
    net.settle();
    net.only_group()
}

/// The relay answers what bob has asked last: for the log, and for the leaf of the last epoch.
fn last_leaf(net: &mut Net) {
    assert!(net.release_latest_call());
    assert!(net.release_latest_call());
}

/// However slowly and in whatever order the leaves come.
#[test]
fn authors_are_read_in_the_order_of_the_queue_while_leaves_come() {
    let (mut net, group) = Net::group_of(3);
    net.say(CAROL, group, "before").unwrap();
    let mut texts = vec!["before".to_owned()];
    texts.extend(absence(&mut net, group));
    back(&mut net);
    assert_eq!(net.heard(BOB), ["before"]);
    let mut answers = 0;
    while net.release_latest_call() {
        answers += 1;
        net.pass(25_000);
        assert_eq!(
            net.heard(BOB),
            texts[..net.heard(BOB).len()],
            "in order at any time"
        );
    }
    assert!(answers >= EPOCHS, "{answers}");
    assert_eq!(net.heard(BOB), texts);
    assert!(net.nodes[BOB].alerts.is_empty(), "{:?}", net.nodes[BOB].alerts);
    assert_eq!(net.nodes[BOB].engine.store().group_held_count().unwrap(), 0);
}

/// The relay answers that a leaf is not there: what comes after it is read at once, and it itself when
/// the leaf is there after all.
#[test]
fn leaf_that_is_denied_holds_nothing_up() {
    let (mut net, group) = Net::group_of(3);
    let texts = absence(&mut net, group);
    let id = net.only_group();
    let missing = net.epoch() - 4;
    net.groups.denied.insert((id, missing));
    net.connect(BOB);
    net.settle();
    let gone = &texts[(EPOCHS - 5) * 3..(EPOCHS - 4) * 3];
    let others = |text: &&String| !gone.contains(text);
    // Its authors' later numbers wait for a gap to close, as ever.
    net.pass(2_000);
    net.settle();
    let mut heard = net.heard(BOB);
    heard.sort_by_key(|text| texts.iter().position(|other| other == text));
    assert_eq!(heard, texts.iter().filter(others).cloned().collect::<Vec<_>>());
    net.groups.denied.clear();
    for _ in 0..3 {
        net.pass(1_000);
        net.settle();
    }
    assert_eq!(net.heard(BOB)[heard.len()..], *gone);
}

/// The relay does not answer at all: what can be read is read half a minute later.
#[test]
fn relay_that_is_silent_holds_up_for_half_a_minute() {
    let (mut net, group) = Net::group_of(3);
    // Whom he does not know he would have to look up.
    net.say(CAROL, group, "before").unwrap();
    let texts = absence(&mut net, group);
    back(&mut net);
    last_leaf(&mut net);
    net.pass(29_000);
    assert_eq!(net.heard(BOB), ["before"]);
    net.pass(1_000);
    net.pass(2_000);
    let mut heard = net.heard(BOB).split_off(1);
    heard.sort();
    let mut last = texts[texts.len() - 3..].to_vec();
    last.sort();
    assert_eq!(heard, last);
}

/// More waits than is kept: it is read without its turn rather than lost.
#[test]
fn line_that_is_too_long_is_read_out_of_turn() {
    let (mut net, group) = Net::group_of(3);
    let mut texts = absence(&mut net, group);
    back(&mut net);
    // Only the key of the last epoch comes, and under it more than there is room for.
    last_leaf(&mut net);
    for number in 0..80 {
        let text = format!("one more {number}");
        net.say(ALICE, group, &text).unwrap();
        texts.push(text);
    }
    assert!(net.heard(BOB).contains(&"one more 79".to_owned()));
    net.release_calls();
    net.pass(2_000);
    net.settle();
    let mut heard = net.heard(BOB);
    heard.sort();
    texts.sort();
    assert_eq!(heard, texts);
}
