//! A relay that lies to one proxy: what is delivered, in which order and how often is the test's choice.
//!
//! Whatever is shown gets a position of its own, so that what was invented, repeated or moved does not hide
//! what comes later; acks and resumptions are translated back. Logs of groups keep their positions, which
//! their commits carry themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use waxwire_shared::api::frames::{ClientFrame, Cursor, Delivery, Queue, RelayFrame};

use super::{Fate, Frame, Shared, Side, Tap, lock};
use crate::clock::eventually;

/// What the relay says of what it invents.
const INVENTED: (u64, u64) = (1, 0);

/// The queues of one proxy in the hands of the test; clones share them.
#[derive(Clone)]
pub struct Evil {
    shared: Arc<Shared>,
    lines: Arc<Mutex<Lines>>,
}

type Also = Box<dyn FnMut(Frame<'_>) -> Option<Fate> + Send>;

#[derive(Default)]
struct Lines {
    queues: BTreeMap<Queue, Line>,
    also: Option<Also>,
}

/// One queue.
#[derive(Default)]
struct Line {
    /// What stands at each position that the proxy was shown, from 1 on.
    shown: Vec<Place>,
    /// The highest position that has come from the relay.
    taken: u64,
    holding: bool,
    held: Vec<(u64, Vec<u8>)>,
    seen: Vec<Vec<u8>>,
}

/// A position of the proxy.
struct Place {
    /// The relay's position up to which it may be acknowledged.
    real: u64,
    /// The relay has delivered what stands here.
    genuine: bool,
}

impl std::fmt::Debug for Evil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Evil")
    }
}

impl Tap {
    /// Takes over what the proxy is shown, from its first socket on: before that it must not have had any.
    #[must_use]
    pub fn evil(&self) -> Evil {
        let evil = Evil {
            shared: Arc::clone(&self.shared),
            lines: Arc::default(),
        };
        let (shared, lines) = (Arc::downgrade(&self.shared), Arc::clone(&evil.lines));
        self.on_frame(move |frame| {
            let mut lines = lock(&lines);
            let (fate, burst) = lines.decide(frame);
            // One way for everything that is delivered keeps it in the order of its positions.
            if let Some(shared) = shared.upgrade().filter(|_| !burst.is_empty()) {
                shared.inject(Side::Relay, burst);
            }
            fate
        });
        evil
    }
}

impl Evil {
    /// Keeps back from now on what the relay delivers of a queue.
    pub fn hold(&self, queue: Queue) {
        lock(&self.lines).line(queue).holding = true;
    }

    /// What is kept back of a queue, oldest first.
    #[must_use]
    pub fn held(&self, queue: Queue) -> Vec<Vec<u8>> {
        let mut lines = lock(&self.lines);
        let held = lines.line(queue).held.iter();
        held.map(|(_, object)| object.clone()).collect()
    }

    /// Waits until so much is kept back.
    ///
    /// # Errors
    /// It is not within twenty seconds.
    pub async fn until_held(&self, queue: Queue, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        eventually("the relay has delivered", Duration::from_secs(20), async || {
            Ok(Some(self.held(queue)).filter(|held| held.len() >= count))
        })
        .await
    }

    /// Keeps nothing back any more, and shows what was, in the order that `arrange` gives it: what it leaves
    /// out is lost.
    pub fn release(&self, queue: Queue, arrange: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let mut lines = lock(&self.lines);
        let line = lines.line(queue);
        line.holding = false;
        let mut objects = line.held.drain(..).map(|(_, object)| object).collect();
        arrange(&mut objects);
        self.show_in(&mut lines, queue, &objects);
    }

    /// Shows objects as the next ones of a queue, wherever they are from.
    pub fn show(&self, queue: Queue, objects: &[Vec<u8>]) {
        self.show_in(&mut lock(&self.lines), queue, objects);
    }

    fn show_in(&self, lines: &mut Lines, queue: Queue, objects: &[Vec<u8>]) {
        let line = lines.line(queue);
        let frames = objects.iter().map(|object| line.invent(queue, object));
        self.shared.inject(Side::Relay, frames.collect());
    }

    /// Says something in the relay's place.
    pub fn say(&self, frame: Vec<u8>) {
        self.shared.inject(Side::Relay, vec![frame.into()]);
    }

    /// Everything that the relay has delivered of a queue so far, oldest first.
    #[must_use]
    pub fn seen(&self, queue: Queue) -> Vec<Vec<u8>> {
        lock(&self.lines).line(queue).seen.clone()
    }

    /// Decides about frames before anything else does; `None` leaves a frame to the queues.
    pub fn also(&self, script: impl FnMut(Frame<'_>) -> Option<Fate> + Send + 'static) {
        lock(&self.lines).also = Some(Box::new(script));
    }

    /// Behaves from now on: what is kept back is delivered, and nothing else is done.
    pub fn behave(&self) {
        lock(&self.lines).also = None;
        let queues: Vec<Queue> = lock(&self.lines).queues.keys().copied().collect();
        for queue in queues {
            self.release(queue, |_| ());
        }
    }
}

impl Lines {
    fn line(&mut self, queue: Queue) -> &mut Line {
        self.queues.entry(queue).or_default()
    }

    /// The fate of a frame, and what is delivered in its place.
    fn decide(&mut self, frame: Frame<'_>) -> (Fate, Vec<Bytes>) {
        if let Some(fate) = self.also.as_mut().and_then(|also| also(frame)) {
            return (fate, Vec::new());
        }
        match (frame.relay(), frame.client()) {
            (Some(RelayFrame::Deliver(delivery)), _) => self.deliver(delivery),
            (Some(RelayFrame::Head(cursor)), _) if is_renumbered(cursor.queue) => {
                let position = self.line(cursor.queue).shown.len() as u64;
                let head = RelayFrame::Head(Cursor { position, ..cursor });
                (Fate::Drop, vec![head.encode().into()])
            }
            (_, Some(ClientFrame::Ack(cursors))) => {
                let acks = self.translate(&cursors);
                let fate = if acks.is_empty() {
                    Fate::Drop
                } else {
                    Fate::Replace(vec![ClientFrame::Ack(acks).encode()])
                };
                (fate, Vec::new())
            }
            (_, Some(ClientFrame::Resume(cursors))) => {
                let resume = ClientFrame::Resume(self.translate(&cursors));
                (Fate::Replace(vec![resume.encode()]), Vec::new())
            }
            _ => (Fate::Pass, Vec::new()),
        }
    }

    fn deliver(&mut self, delivery: Delivery<'_>) -> (Fate, Vec<Bytes>) {
        let (queue, position) = (delivery.cursor.queue, delivery.cursor.position);
        let line = self.line(queue);
        let is_new = position > line.taken;
        if is_new {
            line.taken = position;
            line.seen.push(delivery.object.to_vec());
        }
        if !is_renumbered(queue) {
            let fate = if line.holding { Fate::Drop } else { Fate::Pass };
            return (fate, Vec::new());
        }
        if is_new && line.holding {
            line.held.push((position, delivery.object.to_vec()));
            return (Fate::Drop, Vec::new());
        }
        let frame = if is_new {
            line.place(position, true);
            Some(line.shown.len())
        } else {
            // It comes again after a reconnection.
            let mut places = line.shown.iter();
            let place = places.position(|place| place.genuine && place.real == position);
            place.map(|index| index + 1)
        };
        let frame = frame.map(|position| {
            let position = position as u64;
            let cursor = Cursor { queue, position };
            RelayFrame::Deliver(Delivery { cursor, ..delivery })
                .encode()
                .into()
        });
        (Fate::Drop, frame.into_iter().collect())
    }

    fn translate(&mut self, cursors: &[Cursor]) -> Vec<Cursor> {
        let translated = cursors.iter().filter_map(|cursor| {
            if !is_renumbered(cursor.queue) {
                return Some(*cursor);
            }
            let shown = &self.line(cursor.queue).shown;
            let index = usize::try_from(cursor.position).ok()?.min(shown.len());
            let position = shown[..index].last()?.real;
            (position > 0).then_some(Cursor { position, ..*cursor })
        });
        translated.collect()
    }
}

impl Line {
    fn place(&mut self, real: u64, genuine: bool) {
        self.shown.push(Place { real, genuine });
    }

    fn invent(&mut self, queue: Queue, object: &[u8]) -> Bytes {
        // What is kept back must not be acknowledged.
        let before = self.shown.last().map_or(0, |place| place.real);
        let real = if self.held.is_empty() { self.taken } else { before };
        self.place(real, false);
        let (envelope_id, stored_at) = INVENTED;
        let position = self.shown.len() as u64;
        let delivery = Delivery {
            cursor: Cursor { queue, position },
            envelope_id,
            stored_at,
            object,
        };
        RelayFrame::Deliver(delivery).encode().into()
    }
}

const fn is_renumbered(queue: Queue) -> bool {
    !matches!(queue, Queue::Log(_))
}
