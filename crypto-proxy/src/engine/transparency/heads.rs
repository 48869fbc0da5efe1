//! Heads: whatever shows one, it continues the highest that is known, or the log is forked.

use std::collections::VecDeque;

use waxwire_shared::ids::Hash;

use super::{Engine, LogCall, LookupError};
use crate::{
    crypto::message::CarriedHead,
    engine::{Count, send::Sealed},
    model::{LogEvidenceKind, Severity, UnixMs},
    state::{HeadReader, HeadRole, StateError},
    transparency::{Consistency, Head, LogOwner, Relation, check_consistency, relate},
};

/// Heads at most that wait for a proof. What comes beyond is not compared: honest relays have few.
const UNSETTLED: usize = 16;
/// Heads that are remembered as proven.
const SETTLED: usize = 64;
/// How often the relay may fail to prove that a head continues another.
const TRIES: u32 = 3;
/// Milliseconds between these.
const AGAIN_MS: u64 = 5_000;
/// Milliseconds until the relay is asked again after it did not answer.
const UNREACHED_MS: u64 = 60_000;
/// How often it may not answer while it is connected: for two hours.
const SILENCES: u32 = 120;

/// How often a message to one reader may be longer because of a head. Short messages have no room for one.
const LENGTHEN_MS: u64 = 24 * 3_600 * 1_000;

/// Verdicts on heads, and the way to the next one. The heads that wait for it are in the state.
#[derive(Debug, Default)]
pub(super) struct Heads {
    settled: VecDeque<(u64, Hash)>,
    /// The sizes about which the relay was asked.
    asked: Option<(u64, u64)>,
    /// It did not answer.
    unanswered: bool,
    /// How often it did not, although it is there.
    silences: u32,
    /// How often it gave no proof for the head that has waited longest.
    failures: u32,
    again_at: Option<UnixMs>,
}

impl Heads {
    pub(super) const fn deadline(&self) -> Option<UnixMs> {
        self.again_at
    }

    /// Whether the relay has not answered when it was last asked.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    fn is_settled(&self, head: &Head) -> bool {
        self.settled.contains(&(head.size(), head.root()))
    }

    fn note_settled(&mut self, head: &Head) {
        if self.settled.len() == SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back((head.size(), head.root()));
    }
}

fn same(a: &Head, b: &Head) -> bool {
    (a.size(), a.root()) == (b.size(), b.root())
}

impl Engine {
    pub(super) fn log_owner(&self) -> LogOwner<'_> {
        LogOwner {
            relay: &self.account.relay,
            identity: &self.account.relay_identity,
        }
    }

    pub(super) fn head_in(&self, role: HeadRole) -> Result<Option<Head>, StateError> {
        let stored = self.store.log_head(role)?;
        Ok(stored.and_then(|bytes| Head::verify(&bytes, self.log_owner()).ok()))
    }

    /// Whether nothing is compared until the operator decides.
    pub(super) fn is_log_halted(&self) -> Result<bool, StateError> {
        Ok(self.store.is_log_forked()? || self.store.log_head(HeadRole::Other)?.is_some())
    }

    /// What goes along to readers who have not been sent the highest head.
    pub(in crate::engine) fn head_to_send(
        &self,
        to: HeadReader,
        now: UnixMs,
    ) -> Result<Option<CarriedHead>, StateError> {
        if self.is_log_halted()? {
            return Ok(None);
        }
        let found = self.store.head_to_send(to)?;
        Ok(found.map(|(signed, last)| CarriedHead {
            signed,
            may_lengthen: now.saturating_sub(last) >= LENGTHEN_MS,
        }))
    }

    /// The head that was to go along went, or there was no room for it.
    pub(in crate::engine) fn note_head_carried(
        &self,
        sealed: &Sealed,
        to: HeadReader,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if sealed.carries_head {
            self.store.note_head_sent(to, now)?;
        }
        Ok(())
    }

    /// A head in the context of a peer's message, which is verified.
    pub(in crate::engine) fn head_of_peer(
        &mut self,
        head: Option<Vec<u8>>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(bytes) = head else {
            return Ok(());
        };
        let Ok(head) = Head::verify(&bytes, self.log_owner()) else {
            self.count(Count::LogHead("false"));
            return Ok(());
        };
        // Of a peer that still goes by it. The relay itself has to stay with the new one.
        if self.store.is_former_log(&head.log())? {
            self.count(Count::LogHead("ignored"));
            return Ok(());
        }
        self.head_shown(head, now)
    }

    /// Somebody shows a head that the relay has signed.
    pub(super) fn head_shown(&mut self, head: Head, now: UnixMs) -> Result<(), StateError> {
        if self.is_log_halted()? {
            self.count(Count::LogHead("ignored"));
            return Ok(());
        }
        self.count(Count::LogHead("compared"));
        let known = self.head_in(HeadRole::Highest)?;
        match (relate(known.as_ref(), &head), known) {
            (Relation::First, _) => self.raise_head(&head),
            (Relation::Fork, Some(known)) => self.fork_found(&known, &head, now),
            (Relation::OtherLog, Some(known)) => self.other_log_shown(&known, &head, now),
            (Relation::Apart { .. }, _) if !self.volatile.log.heads.is_settled(&head) => {
                self.await_proof(&head)?;
                self.settle_heads(now)
            }
            _ => Ok(()),
        }
    }

    /// A head of the known log and of another size than the highest.
    fn await_proof(&mut self, head: &Head) -> Result<(), StateError> {
        let unsettled: Vec<Head> = self.unsettled()?.collect();
        if unsettled.iter().any(|waiting| same(waiting, head)) {
            return Ok(());
        }
        if unsettled.len() == UNSETTLED {
            self.count(Count::LogHead("dropped"));
            return Ok(());
        }
        self.store.put_unsettled_head(head.bytes())
    }

    /// Heads that wait for a proof, in the order in which they came.
    fn unsettled(&self) -> Result<impl Iterator<Item = Head>, StateError> {
        let stored = self.store.unsettled_heads()?.into_iter();
        Ok(stored.filter_map(|bytes| Head::verify(&bytes, self.log_owner()).ok()))
    }

    /// Whether a head still waits for its proof.
    pub(super) fn is_unsettled(&self, head: &Head) -> Result<bool, StateError> {
        Ok(self.unsettled()?.any(|waiting| same(&waiting, head)))
    }

    /// The head that has waited longest.
    fn first_unsettled(&self) -> Result<Option<Head>, StateError> {
        Ok(self.unsettled()?.next())
    }

    /// The head that has waited longest waits no more.
    fn take_unsettled(&mut self, head: &Head) -> Result<(), StateError> {
        self.volatile.log.heads.failures = 0;
        self.store.drop_unsettled_head(head.bytes())
    }

    /// Asks the relay about the head that has waited longest.
    pub(super) fn settle_heads(&mut self, now: UnixMs) -> Result<(), StateError> {
        let heads = &mut self.volatile.log.heads;
        if heads.asked.is_some() || heads.again_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        heads.again_at = None;
        while let Some(first) = self.first_unsettled()? {
            let known = self.head_in(HeadRole::Highest)?;
            if let Relation::Apart { from, to } = relate(known.as_ref(), &first) {
                let heads = &mut self.volatile.log.heads;
                (heads.asked, heads.unanswered) = (Some((from, to)), false);
                self.ask_log_of_relay(LogCall::Consistency { from, to });
                return Ok(());
            }
            // The highest is another one since it came.
            self.take_unsettled(&first)?;
            self.head_shown(first, now)?;
        }
        Ok(())
    }

    /// The relay's answer about the head that has waited longest.
    pub(super) fn consistency_shown(
        &mut self,
        sizes: (u64, u64),
        answer: Result<Vec<Vec<u8>>, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if self.volatile.log.heads.asked != Some(sizes) {
            return Ok(());
        }
        self.volatile.log.heads.asked = None;
        let known = self.head_in(HeadRole::Highest)?;
        let (Some(known), Some(first)) = (known, self.first_unsettled()?) else {
            return Ok(());
        };
        let verdict = match answer {
            Ok(answer) => {
                let answer = answer.first().map_or(&[][..], Vec::as_slice);
                check_consistency(&known, &first, answer, self.log_owner())
            }
            // Of what it has signed itself the relay has to know.
            Err(LookupError::NotFound) => Consistency::False,
            Err(LookupError::Refused(problem)) if problem.status == 400 => Consistency::False,
            Err(_) => return self.proof_withheld(now),
        };
        self.volatile.log.heads.silences = 0;
        match verdict {
            Consistency::Proven => self.head_proven(&known, &first)?,
            Consistency::Fork(pair) => return self.fork_found(&pair.0, &pair.1, now),
            Consistency::False => return self.head_unproven(&known, &first, now),
        }
        self.settle_heads(now)
    }

    /// No answer is no verdict. But a relay that is there, and gives none, may have something to hide.
    fn proof_withheld(&mut self, now: UnixMs) -> Result<(), StateError> {
        let connected = self.volatile.link_up;
        let heads = &mut self.volatile.log.heads;
        (heads.again_at, heads.unanswered) = (Some(now + UNREACHED_MS), true);
        heads.silences += u32::from(connected);
        if !connected || !heads.silences.is_multiple_of(SILENCES) {
            return Ok(());
        }
        let reason = "the relay does not say whether two heads of its log are of one history";
        self.alert("log_withheld", Severity::Critical, None, reason, now)
    }

    fn head_proven(&mut self, known: &Head, head: &Head) -> Result<(), StateError> {
        self.take_unsettled(head)?;
        self.volatile.log.heads.note_settled(head);
        if head.size() > known.size() {
            self.raise_head(head)?;
        }
        Ok(())
    }

    fn head_unproven(&mut self, known: &Head, head: &Head, now: UnixMs) -> Result<(), StateError> {
        let heads = &mut self.volatile.log.heads;
        heads.failures += 1;
        if heads.failures < TRIES {
            heads.again_at = Some(now + AGAIN_MS);
            return Ok(());
        }
        self.fork_found(known, head, now)
    }

    fn stop_comparing(&mut self) -> Result<(), StateError> {
        self.volatile.log.heads = Heads::default();
        self.store.drop_unsettled_heads()
    }

    fn raise_head(&self, head: &Head) -> Result<(), StateError> {
        self.store
            .put_log_head(HeadRole::Highest, head.size(), head.bytes())
    }

    /// `LOG_FORK`: no log has both heads. Nothing more is compared with either.
    fn fork_found(&mut self, known: &Head, shown: &Head, now: UnixMs) -> Result<(), StateError> {
        self.stop_comparing()?;
        self.store
            .keep_log_evidence(LogEvidenceKind::Fork, known.bytes(), shown.bytes(), now)?;
        self.store.put_log_forked()?;
        let reason = "the relay has signed two heads of its log that it cannot show to be of one history; both \
                      are kept as proof";
        self.alert("log_fork", Severity::Critical, None, reason, now)
    }

    /// Lost, as it says, or one for each of us: the operator decides.
    fn other_log_shown(&mut self, known: &Head, shown: &Head, now: UnixMs) -> Result<(), StateError> {
        self.stop_comparing()?;
        self.store
            .put_log_head(HeadRole::Other, shown.size(), shown.bytes())?;
        self.store
            .keep_log_evidence(LogEvidenceKind::OtherLog, known.bytes(), shown.bytes(), now)?;
        let reason = "the relay has begun another log; nothing is compared with it until it is acknowledged";
        self.alert("log_replaced", Severity::Critical, None, reason, now)
    }
}
