//! Confirmations of epochs (docs/protocol.md, 6.9).

use super::{
    groups::{ALICE, BOB, CAROL},
    net::Net,
};
use crate::{
    engine::{GroupCommand, Reply},
    model::{Confirmation, LocalConversation, Refusal, Required},
};

fn set(
    net: &mut Net,
    index: usize,
    group: LocalConversation,
    required: Required,
    confirms: bool,
) -> Result<(), Refusal> {
    let wanted = Confirmation { required, confirms };
    let answer = net.ask(index, GroupCommand::SetConfirmation(group, wanted));
    answer.map(|reply| assert!(matches!(reply, Reply::Done)))
}

fn rekey(net: &mut Net, index: usize, group: LocalConversation) {
    net.ask(index, GroupCommand::Rekey(group)).unwrap();
    net.settle();
}

fn missing(refused: Result<crate::model::Message, Refusal>) -> Vec<String> {
    match refused {
        Err(Refusal::Unconfirmed { handles, .. }) => handles.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// docs/protocol.md, 6.9: a confirmation is the first signed thing that a member says under the epoch.
#[test]
fn nothing_is_said_before_the_required_members_have_confirmed_the_epoch() {
    let (mut net, group) = Net::group_of(3);
    set(&mut net, ALICE, group, Required::Everybody, false).unwrap();
    rekey(&mut net, ALICE, group);
    assert_eq!(missing(net.say(ALICE, group, "early")), ["bob", "carol"]);
    net.say(BOB, group, "here").unwrap();
    assert_eq!(missing(net.say(ALICE, group, "early")), ["carol"]);
    set(
        &mut net,
        ALICE,
        group,
        Required::Listed(vec!["bob".parse().unwrap()]),
        false,
    )
    .unwrap();
    net.say(ALICE, group, "to whom bob counts").unwrap();
    set(&mut net, ALICE, group, Required::Everybody, false).unwrap();
    net.say(CAROL, group, "me too").unwrap();
    net.say(ALICE, group, "now").unwrap();
    assert!(net.heard(BOB).contains(&"now".to_owned()));
    // The next epoch begins anew, and without the setting nobody is waited for.
    rekey(&mut net, BOB, group);
    assert_eq!(missing(net.say(ALICE, group, "too soon")), ["bob", "carol"]);
    set(&mut net, ALICE, group, Required::Nobody, false).unwrap();
    net.say(ALICE, group, "as ever").unwrap();
}

/// Two that wait for one another would wait for ever: who requires a confirmation gives its own.
#[test]
fn members_that_require_one_another_confirm_by_themselves() {
    let (mut net, group) = Net::group_of(2);
    for index in [ALICE, BOB] {
        set(&mut net, index, group, Required::Everybody, true).unwrap();
    }
    net.settle();
    net.say(ALICE, group, "first").unwrap();
    rekey(&mut net, BOB, group);
    let heard = net.heard(BOB).len();
    net.say(ALICE, group, "second").unwrap();
    net.say(BOB, group, "third").unwrap();
    // What confirms is no message that an agent would see.
    assert_eq!(net.heard(BOB).len(), heard + 1);
}

#[test]
fn who_is_listed_has_to_be_another_member() {
    let (mut net, group) = Net::group_of(2);
    for name in ["alice", "carol"] {
        let listed = Required::Listed(vec![name.parse().unwrap()]);
        assert_eq!(
            set(&mut net, ALICE, group, listed, true),
            Err(Refusal::NotMember),
            "{name}"
        );
    }
    let elsewhere = Net::group_of(3).1;
    assert_eq!(
        set(&mut net, ALICE, elsewhere, Required::Everybody, true),
        Err(Refusal::GroupNotFound)
    );
    // Who has left is nobody to wait for.
    let listed = Required::Listed(vec!["bob".parse().unwrap()]);
    set(&mut net, ALICE, group, listed, false).unwrap();
    net.ask(BOB, GroupCommand::Leave(group)).unwrap();
    net.settle();
    net.say(ALICE, group, "alone").unwrap();
}

/// A message that was sealed under a former epoch is sealed again under the same condition.
#[test]
fn what_is_sealed_again_waits_for_nobody_and_is_refused() {
    let (mut net, group) = Net::group_of(2);
    net.say(BOB, group, "here").unwrap();
    set(&mut net, ALICE, group, Required::Everybody, false).unwrap();
    net.disconnect(ALICE);
    let queued = net.say_later(ALICE, group, "sealed under the former key");
    rekey(&mut net, BOB, group);
    net.connect(ALICE);
    net.settle();
    let answer = net.answer(ALICE, queued).cloned();
    assert!(
        matches!(answer, Some(Err(Refusal::Unconfirmed { .. }))),
        "{answer:?}"
    );
    assert!(net.heard(BOB).is_empty());
    // Its id is free again.
    net.say(BOB, group, "and now").unwrap();
    net.say(ALICE, group, "sealed under the former key").unwrap();
    assert_eq!(net.heard(BOB), ["sealed under the former key"]);
}
