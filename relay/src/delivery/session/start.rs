//! The beginning of a socket: its first frame, and from where each of the agent's queues is served.

use std::collections::HashMap;

use super::*;
use crate::store::Membership;

impl Session {
    /// Waits for the first frame and answers it.
    pub(super) async fn start(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let shutdown = self.delivery.shutdown.clone();
        let inbox = Arc::clone(self.attached.inbox());
        let first = async {
            loop {
                match socket.recv().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return other,
                }
            }
        };
        let first = tokio::select! {
            first = tokio::time::timeout(self.delivery.timing.first_frame, first) => first,
            () = shutdown.cancelled() => return Err(End::Draining),
            // Pushes wait; only news of the account ends it before it began.
            closing = closed(&inbox) => return Err(End::Closing(closing)),
        };
        let message = match first {
            Err(_) => return Err(End::Violation("no resume frame in time")),
            Ok(None | Some(Err(_))) => return Err(End::Gone),
            Ok(Some(Ok(message))) => message,
        };
        let cursors = match message {
            Message::Binary(bytes) => match ClientFrame::decode(&bytes) {
                Ok(ClientFrame::Resume(cursors)) => cursors,
                _ => return Err(End::Violation("the first frame must be resume")),
            },
            Message::Close(_) => return Err(End::Gone),
            _ => return Err(End::Violation("frames are binary")),
        };
        let named: HashMap<Queue, u64> = cursors
            .into_iter()
            .map(|cursor| (cursor.queue, cursor.position))
            .collect();
        self.add_own(&named).await.map_err(|error| fault(&error))?;
        self.add_groups(&named).await.map_err(|error| fault(&error))?;
        // Read after the socket was attached: what is offered from now on is shown by the hub.
        let lease = self.delivery.store.lease(self.account.agent).await;
        let lease = lease.map_err(|error| fault(&error))?;
        let lineage = self.delivery.store.current_lineage().await;
        let lineage = lineage.map_err(|error| fault(&error))?;
        let welcome = RelayFrame::Welcome {
            time: self.delivery.clock.now_ms(),
            lineage: lineage.id,
            reaches: lineage.reaches,
        };
        self.write(socket, welcome.encode().into()).await?;
        if let Some(lease) = lease {
            self.write(socket, RelayFrame::Lease(&lease).encode().into())
                .await?;
        }
        let greeting = self.delivery.greet(self.account.agent, &inbox);
        greeting.await.map_err(|error| fault(&error))
    }

    async fn add_own(&mut self, named: &HashMap<Queue, u64>) -> Result<(), ReadError> {
        for (queue, no) in [
            (Queue::Mail, self.account.mail),
            (Queue::Control, self.account.control),
        ] {
            let view = View::Whole(no);
            if let Some(QueueHead { head, acked }) = self.delivery.store.queue_head(view).await? {
                let resume = named.get(&queue).copied().unwrap_or(acked);
                self.queues.add(QueueState::new(view, queue, resume, head));
            }
        }
        Ok(())
    }

    /// Watches before it reads the heads: what is stored in between is pushed. Memberships that begin
    /// or end meanwhile are told by the hub.
    async fn add_groups(&mut self, named: &HashMap<Queue, u64>) -> Result<(), ReadError> {
        let agent = self.account.agent;
        let memberships = self.delivery.store.memberships(agent).await?;
        if memberships.is_empty() {
            return Ok(());
        }
        let current = memberships.iter().filter(|membership| membership.current);
        self.attached
            .watch(current.flat_map(|membership| [membership.group.log, membership.group.messages]));
        for membership in self.delivery.store.memberships(agent).await? {
            self.add_group(&membership, named);
        }
        Ok(())
    }

    /// A group that was left is served while something of it is not acknowledged, or asked for.
    fn add_group(&mut self, membership: &Membership, named: &HashMap<Queue, u64>) {
        let agent = self.account.agent;
        let log = (
            Queue::Log(membership.id),
            membership.group.log_for(agent),
            membership.log,
        );
        let messages = (
            Queue::Group(membership.id),
            membership.group.messages_for(agent),
            membership.messages,
        );
        for (queue, view, QueueHead { head, acked }) in [log, messages] {
            let resume = named.get(&queue).copied();
            if membership.is_open() || resume.is_some() {
                let mut state = QueueState::new(view, queue, resume.unwrap_or(acked), head);
                state.set_end((!membership.current).then_some(head));
                self.queues.add(state);
            }
        }
    }
}
