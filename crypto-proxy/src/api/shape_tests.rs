use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{fingerprint, group_id, message},
    model::MessageGroup,
};

fn in_group() -> Message {
    let mut message = message(1);
    message.conversation = group_id(1);
    message.security.epoch = Some(7);
    message.group = Some(MessageGroup {
        name: Some("Freight".to_owned()),
        members: 3,
    });
    message
}

fn body(message: &Message) -> Value {
    serde_json::to_value(MessageBody::new(message)).unwrap()
}

#[test]
fn group_message_tells_its_group_and_epoch() {
    let body = body(&in_group());
    assert_eq!(body["conversation_id"], group_id(1).to_string());
    let conversation = json!({ "type": "group", "group_name": "Freight", "member_count": 3 });
    assert_eq!(body["context"]["conversation"], conversation);
    assert_eq!(body["context"]["sender"]["kind"], "agent");
    let sealed = json!({ "scheme": "xchacha20-poly1305", "key_type": "group" });
    assert_eq!(body["encryption_metadata"], sealed);
    let security = json!({
        "verified": true,
        "sender_fingerprint": fingerprint(2).to_string(),
        "trust": "pinned",
        "gap": null,
        "broadcast": false,
        "epoch": 7,
    });
    assert_eq!(body["security"], security);
}

#[test]
fn group_without_a_profile_has_no_name() {
    let mut message = in_group();
    message.group = Some(MessageGroup {
        name: None,
        members: 2,
    });
    let conversation = json!({ "type": "group", "group_name": null, "member_count": 2 });
    assert_eq!(body(&message)["context"]["conversation"], conversation);
}

#[test]
fn direct_message_tells_its_own_scheme() {
    let body = body(&message(1));
    let sealed = json!({ "scheme": "nacl-sealedbox", "key_type": "direct" });
    assert_eq!(body["encryption_metadata"], sealed);
    assert_eq!(body["context"]["conversation"]["member_count"], Value::Null);
    let security = body["security"].as_object().unwrap();
    for name in ["epoch", "granted_by", "late"] {
        assert!(!security.contains_key(name), "{name}");
    }
}

/// What was shown to this agent later, or came too late, must not look like the rest.
#[test]
fn attack_36_granted_and_late_messages_say_so() {
    let mut message = in_group();
    message.security.granted_by = Some("carol".parse().unwrap());
    message.security.late = true;
    let body = body(&message);
    assert_eq!(body["security"]["granted_by"], "carol");
    assert_eq!(body["security"]["late"], true);
}

#[test]
fn system_message_was_sealed_by_nobody() {
    let mut message = in_group();
    message.message_type = "system".to_owned();
    message.content =
        r#"{"data":{"schema_version":1,"event":"member_left","agent_handle":"bob"}}"#.to_owned();
    let body = body(&message);
    assert_eq!(
        (&body["type"], &body["message_type"]),
        (&json!("system"), &json!("system"))
    );
    assert_eq!(body["context"]["sender"]["kind"], "system");
    assert_eq!(body["encryption_metadata"], Value::Null);
    assert_eq!(body["content"]["data"]["event"], "member_left");
}

#[test]
fn message_that_came_too_late_is_marked_expired() {
    const NOW: u64 = 1_795_369_148_000;
    let expired = |expires_at, delivered_at, own| {
        let message = Message {
            expires_at,
            delivered_at,
            own,
            ..message(1)
        };
        message.is_expired(NOW)
    };
    assert!(!expired(None, None, false));
    assert!(expired(Some(NOW), None, false));
    assert!(!expired(Some(NOW + 1), None, false));
    // Got in time, and read again later.
    assert!(!expired(Some(NOW - 5), Some(NOW - 6), false));
    assert!(expired(Some(NOW - 5), Some(NOW - 4), false));
    assert!(!expired(Some(NOW - 5), None, true));
    let long_ago = Message {
        expires_at: Some(1),
        ..message(1)
    };
    assert_eq!(body(&long_ago)["expired"], true);
    assert_eq!(body(&message(1)).get("expired"), None);
}

#[test]
fn own_message_without_a_receipt_for_a_week_is_marked_unconfirmed() {
    const STORED: u64 = 1_795_369_148_000;
    const WEEK: u64 = 7 * 24 * 3_600 * 1_000;
    let own = Message {
        own: true,
        status: Status::Stored,
        visible_at: Some(STORED),
        ..message(1)
    };
    assert!(!own.is_unconfirmed(STORED + WEEK - 1));
    assert!(own.is_unconfirmed(STORED + WEEK));
    let after_a_week = |message: Message| message.is_unconfirmed(STORED + WEEK);
    assert!(!after_a_week(Message {
        status: Status::Delivered,
        ..own.clone()
    }));
    assert!(!after_a_week(Message {
        own: false,
        ..own.clone()
    }));
    assert!(!after_a_week(Message {
        conversation: group_id(1),
        ..own.clone()
    }));
    let of_bob = |status| Recipient {
        handle: "bob".parse().unwrap(),
        status,
    };
    let in_group = Message {
        conversation: group_id(1),
        recipients: vec![of_bob(Status::Stored)],
        ..own.clone()
    };
    assert_eq!(body(&in_group)["recipients"][0]["handle"], "bob");
    assert_eq!(body(&in_group)["recipients"][0]["status"], "stored");
    assert!(after_a_week(in_group));
    let forgotten = Message {
        visible_at: Some(1),
        ..own
    };
    assert_eq!(body(&forgotten)["unconfirmed"], true);
    assert_eq!(body(&message(1)).get("unconfirmed"), None);
}
