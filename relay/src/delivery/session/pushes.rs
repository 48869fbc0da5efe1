//! What the hub brings: answers, pushes, and news of memberships.

use super::*;
use crate::delivery::inbox::{Mail, MembershipNews, Push};

impl Session {
    pub(super) async fn write_mail(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let Mail {
            answers,
            news,
            pushes,
            leases,
            heads,
            presences,
            passed_on,
            looks,
            closing,
            ..
        } = self.attached.inbox().take();
        for answer in answers {
            self.write_answer(socket, answer).await?;
        }
        // Also before the end: an instance that is replaced learns by whom.
        for lease in leases {
            self.write(socket, lease).await?;
        }
        if let Some(closing) = closing {
            return Err(End::Closing(closing));
        }
        for news in news {
            self.take_news(&news);
        }
        for push in pushes {
            self.write_push(socket, push).await?;
        }
        for (queue, head) in heads {
            if let Some(state) = self.queues.numbered(queue) {
                state.heard(head);
            }
        }
        for (queue, head) in looks {
            if let Some(state) = self.queues.numbered(queue) {
                state.suspect(head);
            }
        }
        for frame in presences.into_values().chain(passed_on) {
            self.write(socket, frame).await?;
        }
        Ok(())
    }

    /// Serves the queues of a group that the agent has joined, and those of one that it has left up to
    /// its end.
    fn take_news(&mut self, news: &MembershipNews) {
        let MembershipNews {
            id,
            group,
            begin,
            end,
        } = news;
        let agent = self.account.agent;
        for (queue, view, begin, end) in [
            (
                Queue::Log(*id),
                group.log_for(agent),
                begin.map(|begin| begin.log),
                end.map(|end| end.log),
            ),
            (
                Queue::Group(*id),
                group.messages_for(agent),
                begin.map(|begin| begin.messages),
                end.map(|end| end.messages),
            ),
        ] {
            if self.queues.named(&queue).is_none()
                && let Some(begin) = begin
            {
                self.queues.add(QueueState::new(view, queue, begin, begin));
            }
            if let Some(state) = self.queues.named(&queue) {
                state.set_end(end);
                state.heard(begin.max(end).unwrap_or_default());
            }
        }
    }

    async fn write_push(&mut self, socket: &mut WebSocket, push: Push) -> Result<(), End> {
        let Some(state) = self.queues.numbered(push.queue) else {
            return Ok(());
        };
        let takes = state.takes(&push);
        if let Queue::Group(group) = state.queue()
            && self.queues.log_is_behind(&group)
        {
            // It was heard of, and is read after the commits.
            return Ok(());
        }
        if let Some(state) = self.queues.numbered(push.queue)
            && takes
            && !self.draining
        {
            state.deliver(push.position, push.frame.len());
            self.write(socket, push.frame).await?;
        }
        Ok(())
    }
}
