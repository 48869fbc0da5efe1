//! What waits for webhooks, the ladder, and what settles. Time is a number here.

use super::{
    groups::{ALICE, BOB},
    net::{Net, Node},
};
use crate::{
    engine::{Command, ContactCommand, HookForm, Reply, Settings, WebhookCommand},
    model::{
        HookDeliveryId, HookEvent, HookSecret, MuteTarget, NewWebhook, Refusal, Status, UnixMs, Webhook,
        WebhookId,
    },
};

use HookEvent::{MessageNew, MessageRead, PresenceUpdate};

type Queued = (HookDeliveryId, HookEvent, u32, UnixMs, bool);

fn pair(hook_queue: u64) -> Net {
    let settings = Settings {
        hook_queue,
        hook_form: HookForm(|notice| Some(format!("{{\"seen\":{}}}", format!("{notice:?}").len()))),
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, settings),
    ]);
    net.send(BOB, "alice", "hello");
    net.run();
    net
}

impl Net {
    fn hook(&mut self, command: WebhookCommand) -> Result<Reply, Refusal> {
        let id = self.command(BOB, Command::Webhook(command));
        self.run();
        self.answer(BOB, id).cloned().unwrap()
    }

    fn register(&mut self, events: &[HookEvent]) -> Webhook {
        let new = NewWebhook {
            url: "http://127.0.0.1:9/".to_owned(),
            events: events.to_vec(),
            secret: None,
        };
        match self.hook(WebhookCommand::Add(Box::new(new))) {
            Ok(Reply::Webhook(webhook)) => *webhook,
            other => panic!("{other:?}"),
        }
    }

    fn queue(&self, id: &WebhookId) -> Vec<Queued> {
        self.nodes[BOB].engine.store().hook_queue(id)
    }

    fn kinds(&self, id: &WebhookId) -> Vec<HookEvent> {
        self.queue(id).iter().map(|queued| queued.1).collect()
    }

    fn tells(&mut self, text: &str) {
        self.send(ALICE, "bob", text);
        self.run();
    }

    fn fails(&mut self, delivery: HookDeliveryId) {
        let reason = "status 500".to_owned();
        self.hook(WebhookCommand::Failed { delivery, reason }).unwrap();
    }
}

#[test]
fn what_is_wanted_is_queued_once_for_each_and_in_order() {
    let mut net = pair(100);
    let (all, messages) = (net.register(&HookEvent::ALL), net.register(&[MessageNew]));
    assert_ne!(all.id, messages.id);
    assert!(all.secret.expose_text().starts_with("whsec_"));
    assert_ne!(all.secret.expose_text(), messages.secret.expose_text());
    net.tells("1");
    net.tells("2");
    // An own message, and that it was read.
    net.send(BOB, "alice", "own");
    net.run();
    let row = net.nodes[ALICE].shown.last().unwrap().id;
    net.command(ALICE, Command::MarkRead(row));
    net.pass(1_000);
    net.hold(BOB, "alice");
    net.push_seen(BOB, "alice", true);
    assert_eq!(net.kinds(&messages.id), [MessageNew, MessageNew]);
    assert_eq!(
        net.kinds(&all.id),
        [MessageNew, MessageNew, MessageRead, PresenceUpdate]
    );
    let (first, second) = (net.queue(&all.id), net.queue(&messages.id));
    assert!(
        first
            .iter()
            .all(|queued| second.iter().all(|other| other.0 != queued.0))
    );
    assert!(first.iter().all(|queued| queued.2 == 0 && !queued.4));
}

/// Mutes suppress pushes, and nothing else.
#[test]
fn what_is_muted_is_not_queued() {
    let mut net = pair(100);
    let hook = net.register(&HookEvent::ALL);
    let mute = ContactCommand::Mute(MuteTarget::Agent("alice".parse().unwrap()), None);
    net.command(BOB, Command::Contact(mute));
    net.tells("1");
    net.hold(BOB, "alice");
    net.push_seen(BOB, "alice", true);
    assert_eq!(net.queue(&hook.id), []);
    assert_eq!(net.nodes[BOB].inbound(), ["1"]);
}

#[test]
fn ladder_is_1_2_4_8_16_seconds_and_then_a_dead_letter() {
    let mut net = pair(100);
    let hook = net.register(&[MessageNew]);
    net.tells("1");
    net.tells("2");
    let delivery = net.queue(&hook.id)[0].0;
    for (attempts, seconds) in (1..).zip([1_u64, 2, 4, 8, 16]) {
        net.fails(delivery);
        let due = net.now + seconds * 1_000;
        assert_eq!(
            net.queue(&hook.id)[0],
            (delivery, MessageNew, attempts, due, false)
        );
        net.pass(seconds * 1_000);
    }
    net.fails(delivery);
    let first = net.queue(&hook.id)[0];
    assert_eq!((first.0, first.2, first.4), (delivery, 6, true));
    // Once dead, nothing more happens to it by itself; the next one was not touched.
    net.fails(delivery);
    assert_eq!(net.queue(&hook.id)[0].2, 6);
    let second = net.queue(&hook.id)[1];
    assert_eq!((second.2, second.4), (0, false));
    // The message waits in sync.
    assert!(
        net.nodes[BOB]
            .shown
            .iter()
            .all(|message| message.delivered_at.is_none())
    );
}

#[test]
fn dead_letter_is_tried_again_behind_what_waits() {
    let mut net = pair(100);
    let hook = net.register(&[MessageNew]);
    net.tells("1");
    net.tells("2");
    let (first, second) = (net.queue(&hook.id)[0].0, net.queue(&hook.id)[1].0);
    let again = |id, delivery| WebhookCommand::Redeliver(id, delivery);
    assert_eq!(
        net.hook(again(hook.id, first)).unwrap_err(),
        Refusal::DeadLetterNotFound
    );
    for _ in 0..6 {
        net.fails(first);
    }
    let other = WebhookId([1; 16]);
    assert_eq!(
        net.hook(again(other, first)).unwrap_err(),
        Refusal::WebhookNotFound
    );
    net.hook(again(hook.id, first)).unwrap();
    let queue = net.queue(&hook.id);
    let now = net.now;
    assert_eq!(
        (queue[0].0, queue[1]),
        (second, (first, MessageNew, 0, now, false))
    );
}

#[test]
fn success_settles_a_message_if_the_sender_says_so() {
    let mut net = pair(100);
    let hook = net.register(&[MessageNew]);
    for (text, settles) in [("1", false), ("2", true)] {
        net.tells(text);
        let delivery = net.queue(&hook.id)[0].0;
        net.hook(WebhookCommand::Told { delivery, settles }).unwrap();
        net.pass(1_000);
        assert_eq!(net.queue(&hook.id), []);
        // Told twice, as after a lost answer.
        net.hook(WebhookCommand::Told { delivery, settles }).unwrap();
        let expected = if settles {
            Status::Delivered
        } else {
            Status::Stored
        };
        assert_eq!(net.status(ALICE, text), expected);
    }
}

#[test]
fn full_queue_drops_events_first_and_keeps_messages() {
    let mut net = pair(3);
    let hook = net.register(&[MessageNew, PresenceUpdate]);
    net.tells("1");
    net.hold(BOB, "alice");
    net.push_seen(BOB, "alice", true);
    net.tells("2");
    let before = net.queue(&hook.id);
    assert_eq!(net.kinds(&hook.id), [MessageNew, PresenceUpdate, MessageNew]);
    net.tells("3");
    assert_eq!(net.kinds(&hook.id), [MessageNew; 3]);
    net.tells("4");
    let after = net.queue(&hook.id);
    assert_eq!((after[0].0, after[0].4), (before[0].0, true));
    assert_eq!(after.iter().filter(|queued| !queued.4).count(), 3);
    let counted = net.nodes[BOB].engine.counters().all();
    let of = |outcome| {
        let count = crate::engine::Count::Webhook(outcome);
        counted.iter().find(|(found, _)| *found == count).map(|(_, n)| *n)
    };
    assert_eq!((of("dropped"), of("dead")), (Some(1), Some(1)));
}

#[test]
fn webhooks_are_few_and_go_with_what_waits() {
    let mut net = pair(100);
    let hooks: Vec<Webhook> = (0..5).map(|_| net.register(&[MessageNew])).collect();
    let new = NewWebhook {
        url: String::new(),
        events: vec![MessageNew],
        secret: Some(HookSecret::new("an agent's own secret".to_owned())),
    };
    let sixth = net.hook(WebhookCommand::Add(Box::new(new.clone())));
    assert_eq!(sixth.unwrap_err(), Refusal::TooManyWebhooks(5));
    net.tells("1");
    net.hook(WebhookCommand::Remove(hooks[0].id)).unwrap();
    let again = net.hook(WebhookCommand::Remove(hooks[0].id));
    assert_eq!(again.unwrap_err(), Refusal::WebhookNotFound);
    assert_eq!(
        (net.queue(&hooks[0].id).len(), net.queue(&hooks[1].id).len()),
        (0, 1)
    );
    match net.hook(WebhookCommand::Add(Box::new(new))) {
        Ok(Reply::Webhook(webhook)) => assert_eq!(webhook.secret.expose_text(), "an agent's own secret"),
        other => panic!("{other:?}"),
    }
    net.tells("2");
    assert_eq!(net.queue(&hooks[1].id).len(), 2);
}
