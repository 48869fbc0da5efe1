//! An engine for which everything works.

use waxwire_shared::ids::{Handle, Hash};

use super::samples::{NOW, audit, contact, group, listed_channel, message, peer};
use crate::{
    engine::{AuditCommand, Command, ContactCommand, GroupCommand, Reply, WebhookCommand},
    model::{
        AddOutcome, Added, HookSecret, InviteId, Listed, ListedPage, Mute, Peer, PeerPresence,
        PresenceStatus, Refusal, Sent, Webhook, WebhookId,
    },
};

/// What it answers.
pub(super) fn obliging(command: &Command) -> Result<Reply, Refusal> {
    Ok(match command {
        Command::Send(request) => {
            let mut message = message(1);
            message.own = true;
            message.sender = "alice".parse().unwrap();
            message.client_msg_id.clone_from(&request.client_msg_id);
            message.message_type.clone_from(&request.message_type);
            message.content.clone_from(&request.content);
            message.metadata.clone_from(&request.metadata);
            message.reply_to = request.reply_to;
            message.expires_at = request.expires_at;
            message.delivery = None;
            Reply::Sent(Box::new(Sent {
                message,
                repeated: false,
                earlier: false,
                backlog: None,
                skipped: Vec::new(),
            }))
        }
        Command::Ack(_) => Reply::Settled(1),
        Command::Settle(deliveries) => Reply::Settled(deliveries.len() as u64),
        Command::SettleMessages(messages) => Reply::Settled(messages.len() as u64),
        Command::LookUp(address) => Reply::Peer(Box::new(Peer {
            handle: address.handle.clone(),
            ..peer()
        })),
        Command::SetTrust(handle, ..) => Reply::Peer(Box::new(Peer {
            handle: handle.clone(),
            ..peer()
        })),
        Command::Group(command) => obliging_in_groups(command),
        Command::Contact(command) => obliging_with_contacts(command),
        Command::SetPresence(status, text) => Reply::Presences(vec![PeerPresence {
            handle: "alice".parse().unwrap(),
            status: *status,
            custom_message: text.clone(),
            last_seen: None,
        }]),
        Command::Webhook(WebhookCommand::Add(new)) => Reply::Webhook(Box::new(Webhook {
            id: WebhookId([6; 16]),
            url: new.url.clone(),
            events: new.events.clone(),
            secret: new
                .secret
                .clone()
                .unwrap_or_else(|| HookSecret::new("whsec_made".to_owned())),
            created_at: NOW,
        })),
        Command::Audit(command) => audited(*command)?,
        Command::ImportPins(pins) => Reply::Pinned {
            known: 0,
            expected: pins.len() as u64,
        },
        Command::RotateKey => Reply::Rotated(9),
        Command::Presences(handles) => {
            let presence = |handle: &Handle| PeerPresence {
                handle: handle.clone(),
                status: PresenceStatus::Offline,
                custom_message: None,
                last_seen: Some(NOW),
            };
            Reply::Presences(handles.iter().map(presence).collect())
        }
        _ => Reply::Done,
    })
}

fn audited(command: AuditCommand) -> Result<Reply, Refusal> {
    if command == AuditCommand::Accept(Hash::from_bytes([9; 32])) {
        return Err(Refusal::Invalid("no log of this id"));
    }
    let mut audit = audit();
    audit.running = command == AuditCommand::Start;
    Ok(Reply::Audit(Box::new(audit)))
}

fn obliging_with_contacts(command: &ContactCommand) -> Reply {
    let profile = contact("bob").profile;
    match command {
        ContactCommand::Add(address) => Reply::Contact(Box::new(contact(address.handle.as_str()))),
        ContactCommand::Block(_) | ContactCommand::Unblock(_) | ContactCommand::SetProfile(_) => {
            Reply::Declared(true)
        }
        ContactCommand::Mute(target, until) => Reply::Muted(Mute {
            target: target.clone(),
            until: *until,
            created_at: NOW,
        }),
        ContactCommand::Profile(_) => Reply::Profile(profile),
        ContactCommand::Search { .. } => Reply::Directory(ListedPage {
            agents: vec![Listed {
                handle: "bob".parse().unwrap(),
                profile,
                created_at: NOW,
                in_contacts: true,
            }],
            total: 7,
        }),
        ContactCommand::Note(..) | ContactCommand::Remove(_) | ContactCommand::Unmute(_) => Reply::Done,
    }
}

fn obliging_in_groups(command: &GroupCommand) -> Reply {
    let invited = |handle: &Handle| Added {
        handle: handle.clone(),
        outcome: AddOutcome::Invited(InviteId([5; 16])),
    };
    match command {
        GroupCommand::Create(new) => {
            let mut group = group(1);
            group.profile = new.profile.clone();
            let added = new.members.iter().map(|address| invited(&address.handle));
            Reply::GroupCreated(Box::new(group), added.collect())
        }
        GroupCommand::Channels { .. } => Reply::Channels(vec![listed_channel(9, "freight")]),
        GroupCommand::Update(..) | GroupCommand::Accept(_) | GroupCommand::Join(_) => {
            Reply::Group(Box::new(group(1)))
        }
        GroupCommand::Disband(_) => Reply::Ended(NOW),
        GroupCommand::Add(_, address, _) => Reply::Added(invited(&address.handle)),
        GroupCommand::Leave(_) => Reply::Left(Some("bob".parse().unwrap())),
        GroupCommand::Rekey(_) => Reply::Epoch(8),
        GroupCommand::Remove(..)
        | GroupCommand::SetRole(..)
        | GroupCommand::SetConfirmation(..)
        | GroupCommand::Reject(_) => Reply::Done,
    }
}
