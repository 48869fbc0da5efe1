//! What is done about the words of other nodes. Each is checked, or makes this node read the table.

use waxwire_shared::{api::frames::RelayFrame, ids::AgentId};

use super::{Nodes, Topic, Word, names::Channel};
use crate::{
    accounts::proof,
    delivery::passing,
    relay::Relay,
    store::{AgentNo, ReadError},
};

/// Does what a word asks for; one that does not belong to its channel is ignored.
pub(super) async fn hear(nodes: &Nodes, relay: &Relay, channel: Channel, bytes: &[u8]) {
    let Some((by, word)) = Word::decode(bytes) else {
        return;
    };
    if by == nodes.me {
        return;
    }
    let delivery = &relay.delivery;
    match (channel, word) {
        (Channel::Of(Topic::Queue(queue)), Word::Head(head)) => delivery.hub.look(queue, head),
        (Channel::Of(topic @ Topic::Agent(_)), Word::Members) => nodes.looks.ask([topic]),
        (Channel::Of(Topic::Agent(agent)), Word::Transient(envelope)) => {
            if let Some(id) = delivery.hub.id_of(agent)
                && is_for(&envelope, id)
            {
                let frame = RelayFrame::Transient(&envelope).encode().into();
                // Nobody is told whether there was room for it.
                let _taken = delivery.hub.pass_on(agent, &frame);
            }
        }
        (Channel::Of(Topic::Agent(agent)), Word::Lease(lease)) => {
            if let Err(error) = show_lease(relay, agent, lease.to_vec()).await {
                tracing::warn!(%error, "a lease that another node was offered is not shown");
            }
        }
        (Channel::Of(Topic::Agent(_)), Word::Contact(contact)) => delivery.presence.note_stir(contact),
        (Channel::Nodes, Word::Look) => nodes.looks.ask_all(),
        _ => {}
    }
}

fn is_for(envelope: &[u8], agent: AgentId) -> bool {
    passing::recipient(envelope) == Some(agent)
}

/// Shows a lease to the sockets of an agent if the agent itself has signed it.
async fn show_lease(relay: &Relay, agent: AgentNo, lease: Vec<u8>) -> Result<(), ReadError> {
    let delivery = &relay.delivery;
    if let Some(record) = delivery.store.agent(agent).await?
        && let Ok(lease) =
            proof::check_lease(&relay.identity, &record.identity, lease, delivery.clock.now_ms())
    {
        delivery.hub.show_lease(agent, &lease.bytes);
    }
    Ok(())
}
