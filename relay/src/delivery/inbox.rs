//! What waits for one socket: answers to its sends, pushes, and news that it must end.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use waxwire_shared::ids::{GroupId, Hash};

use crate::store::{AgentNo, AnswerSink, GroupRecord, QueueNo, SendResult};

/// Most pushes that wait for a socket.
const PUSHES: usize = 256;
/// Most bytes of pushes that wait for a socket.
const PUSH_BYTES: usize = 1024 * 1024;
/// Most contacts of whose coming and going a socket is told at once.
const PRESENCES: usize = 10_000;
/// Most envelopes that wait for a socket and are stored nowhere.
const PASSED_ON: usize = 64;
/// Most leases that wait for a socket; who offers many is asked again when the socket is opened anew.
const LEASES: usize = 4;

/// Why a socket must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Its API key is not valid any more.
    KeyReplaced,
    /// Its agent was suspended.
    Suspended,
}

/// The answer to a send of this socket.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Names the send.
    pub request: u32,
    /// SHA-256 of what was sent.
    pub hash: Hash,
    /// What became of it.
    pub result: SendResult,
}

/// A delivery, ready to be written.
#[derive(Debug, Clone)]
pub struct Push {
    /// The queue.
    pub queue: QueueNo,
    /// The position in it.
    pub position: u64,
    /// The frame, shared by all sockets that get it.
    pub frame: Bytes,
}

/// News of the agent's membership in a group: what its sockets serve changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipNews {
    /// The group's id.
    pub id: GroupId,
    /// The group.
    pub group: GroupRecord,
    /// Where it began, if it did: everything after is to be served.
    pub begin: Option<Bounds>,
    /// Where it ended; `None`: it goes on.
    pub end: Option<Bounds>,
}

/// A place in both queues of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In its messages.
    pub messages: u64,
    /// In its log.
    pub log: u64,
}

/// Everything that waited.
#[derive(Debug, Default)]
pub struct Mail {
    /// In the order of the sends' decisions.
    pub answers: Vec<Answer>,
    /// At most one of a group; they hold for all pushes that waited with them.
    pub news: Vec<MembershipNews>,
    /// In the order of the commits. Some may be missing: see `heads`.
    pub pushes: VecDeque<Push>,
    /// Leases of the agent that were offered, as frames.
    pub leases: Vec<Bytes>,
    /// The highest position that was heard of, of each queue whose pushes were dropped.
    pub heads: Vec<(QueueNo, u64)>,
    /// Queues in which there may be something up to a position, as other nodes say; at most those that are watched.
    pub looks: HashMap<QueueNo, u64>,
    /// The latest frame about each contact that came or went.
    pub presences: HashMap<AgentNo, Bytes>,
    /// Frames with envelopes that are stored nowhere.
    pub passed_on: Vec<Bytes>,
    /// The socket must end.
    pub closing: Option<Closing>,
    push_bytes: usize,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.news.is_empty()
            && self.leases.is_empty()
            && self.pushes.is_empty()
            && self.heads.is_empty()
            && self.looks.is_empty()
            && self.presences.is_empty()
            && self.passed_on.is_empty()
            && self.closing.is_none()
    }
}

/// One socket's or one long poll's mail. Bounded: beyond the bound only heads are kept.
#[derive(Debug, Default)]
pub struct Inbox {
    mail: Mutex<Mail>,
    waker: AtomicWaker,
}

impl Inbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a push, or only its position if too much waits already.
    pub fn push(&self, push: Push) {
        {
            let mut mail = self.mail();
            let bytes = mail.push_bytes + push.frame.len();
            if mail.pushes.len() < PUSHES && bytes <= PUSH_BYTES {
                mail.push_bytes = bytes;
                mail.pushes.push_back(push);
            } else {
                match mail.heads.iter_mut().find(|(queue, _)| *queue == push.queue) {
                    Some((_, head)) => *head = push.position.max(*head),
                    None => mail.heads.push((push.queue, push.position)),
                }
            }
        }
        self.waker.wake();
    }

    /// Notes that there may be something in a queue up to `head`: only the table knows.
    pub fn look(&self, queue: QueueNo, head: u64) {
        {
            let looks = &mut self.mail().looks;
            let highest = looks.entry(queue).or_default();
            *highest = head.max(*highest);
        }
        self.waker.wake();
    }

    /// Adds news of a membership. Of several that wait only where it first began and whether it has
    /// ended matter: the table knows what lies between.
    pub fn tell(&self, news: MembershipNews) {
        {
            let waiting = &mut self.mail().news;
            match waiting.iter_mut().find(|earlier| earlier.id == news.id) {
                Some(earlier) => {
                    earlier.begin = earlier.begin.or(news.begin);
                    earlier.end = news.end;
                }
                None => waiting.push(news),
            }
        }
        self.waker.wake();
    }

    /// Adds a frame with an envelope that is stored nowhere; false if too many wait, and then it is
    /// lost.
    #[must_use]
    pub fn pass_on(&self, frame: &Bytes) -> bool {
        {
            let waiting = &mut self.mail().passed_on;
            if waiting.len() >= PASSED_ON {
                return false;
            }
            waiting.push(frame.clone());
        }
        self.waker.wake();
        true
    }

    /// Adds a frame about a contact that came or went; only the latest about each is kept.
    pub fn push_presence(&self, contact: AgentNo, frame: Bytes) {
        {
            let waiting = &mut self.mail().presences;
            if waiting.len() < PRESENCES || waiting.contains_key(&contact) {
                waiting.insert(contact, frame);
            }
        }
        self.waker.wake();
    }

    /// Adds a frame about a contact unless there is news of it.
    pub fn greet(&self, contact: AgentNo, frame: Bytes) {
        {
            let waiting = &mut self.mail().presences;
            if waiting.len() < PRESENCES {
                waiting.entry(contact).or_insert(frame);
            }
        }
        self.waker.wake();
    }

    /// Adds a lease that was offered; the oldest goes if too many wait.
    pub fn show_lease(&self, frame: Bytes) {
        {
            let leases = &mut self.mail().leases;
            if leases.len() == LEASES {
                leases.remove(0);
            }
            leases.push(frame);
        }
        self.waker.wake();
    }

    /// Tells the socket to end; the first reason counts.
    pub fn close(&self, closing: Closing) {
        self.mail().closing.get_or_insert(closing);
        self.waker.wake();
    }

    /// Takes everything, without waiting.
    #[must_use]
    pub fn take(&self) -> Mail {
        std::mem::take(&mut *self.mail())
    }

    /// Ready when something waits. One task at a time may poll.
    pub fn poll_mail(&self, context: &Context<'_>) -> Poll<()> {
        if !self.mail().is_empty() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // What came between the look and the registration has woken nobody.
        if self.mail().is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Ready when the socket must end. One task at a time may poll.
    pub fn poll_closing(&self, context: &Context<'_>) -> Poll<Closing> {
        self.waker.register(context.waker());
        self.mail().closing.map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until something waits.
    pub async fn arrived(&self) {
        std::future::poll_fn(|context| self.poll_mail(context)).await;
    }
}

impl AnswerSink for Inbox {
    fn answer(&self, request: u32, hash: Hash, result: SendResult) {
        self.mail().answers.push(Answer {
            request,
            hash,
            result,
        });
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{test_agent, test_group, test_queue};

    fn push(position: u64, length: usize) -> Push {
        Push {
            queue: test_queue(1),
            position,
            frame: vec![0; length].into(),
        }
    }

    #[test]
    fn push_beyond_the_bound_keeps_only_the_head() {
        let inbox = Inbox::default();
        for position in 1..=PUSHES as u64 + 5 {
            inbox.push(push(position, 1));
        }
        let mail = inbox.take();
        assert_eq!(mail.pushes.len(), PUSHES);
        assert_eq!(mail.heads, [(test_queue(1), PUSHES as u64 + 5)]);
    }

    #[test]
    fn push_is_bounded_in_bytes_too() {
        let inbox = Inbox::default();
        inbox.push(push(1, PUSH_BYTES));
        inbox.push(push(2, 1));
        let mail = inbox.take();
        assert_eq!(mail.pushes.len(), 1);
        assert_eq!(mail.heads, [(test_queue(1), 2)]);
        inbox.push(push(3, 1));
        assert_eq!(inbox.take().pushes.len(), 1);
    }

    #[test]
    fn what_is_stored_nowhere_is_bounded_and_lost_beyond() {
        let inbox = Inbox::default();
        let frame = Bytes::from_static(b"frame");
        let taken = (0..1_000).filter(|_| inbox.pass_on(&frame)).count();
        assert_eq!(taken, PASSED_ON);
        assert_eq!(inbox.take().passed_on.len(), PASSED_ON);
        assert!(inbox.pass_on(&frame));
    }

    #[test]
    fn only_the_latest_about_a_contact_is_kept() {
        let inbox = Inbox::default();
        let frame = |text: &'static [u8]| Bytes::from_static(text);
        inbox.push_presence(test_agent(1), frame(b"came"));
        inbox.push_presence(test_agent(1), frame(b"went"));
        inbox.greet(test_agent(1), frame(b"was there"));
        inbox.greet(test_agent(2), frame(b"is there"));
        let presences = inbox.take().presences;
        assert_eq!(presences.len(), 2);
        assert_eq!(presences[&test_agent(1)], frame(b"went"));
    }

    #[test]
    fn news_of_one_group_is_kept_as_its_first_beginning_and_last_end() {
        let at = |place| Bounds {
            messages: place,
            log: place,
        };
        let news = |begin: Option<u64>, end: Option<u64>| MembershipNews {
            id: GroupId::from_bytes([1; 32]),
            group: test_group(1),
            begin: begin.map(at),
            end: end.map(at),
        };
        let inbox = Inbox::default();
        inbox.tell(news(Some(3), None));
        inbox.tell(news(None, Some(5)));
        inbox.tell(news(Some(8), None));
        assert_eq!(inbox.take().news, [news(Some(3), None)]);
        inbox.tell(news(None, Some(9)));
        assert_eq!(inbox.take().news, [news(None, Some(9))]);
        assert!(inbox.take().news.is_empty());
    }
}
