//! The audit: all leaves are read, in pages, from where the last scan ended; their root is the signed one; and
//! what stands under the own handle is one's own doing.

use waxwire_shared::{ids::Hash, limits, merkle::Frontier};

use super::{AuditCommand, Effect, Engine, LogCall, LookupError};
use crate::{
    engine::Reply,
    model::{Audit, AuditFailure, AuditedLeaf, Refusal, Severity, ShownHead, UnixMs},
    state::{HeadRole, ScanRole, StateError},
    transparency::{Head, Verdict, append, judge},
};

/// Running time between scans that nobody has asked for, in milliseconds.
const EVERY_MS: u64 = 24 * 3_600 * 1_000;
/// Longest wait because the relay says that it is asked too often, in seconds.
const PATIENCE: u64 = 60;

/// Most pages of one scan. The next one reads on: no relay keeps a proxy busy for ever.
const PAGES: u32 = 5_000;

/// A scan under way.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The head up to which it goes.
    target: Option<Head>,
    /// Something was asked for and has not come.
    asked: bool,
    pages: u32,
    again_at: Option<UnixMs>,
}

impl Scan {
    pub(super) const fn deadline(&self) -> Option<UnixMs> {
        self.again_at
    }
}

impl Engine {
    /// What an operator asks about the log.
    pub(in crate::engine) fn audit_command(
        &mut self,
        command: AuditCommand,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        match command {
            AuditCommand::Show => {}
            AuditCommand::Start => self.start_audit(now)?,
            AuditCommand::Accept(log) => {
                if !self.accept_log(&log)? {
                    let refusal =
                        Refusal::Invalid("the relay shows no log of this id that waits for a decision");
                    return Ok(Err(refusal));
                }
            }
        }
        Ok(Ok(Reply::Audit(Box::new(self.audit()?))))
    }

    /// Once a day of running time.
    pub(in crate::engine) fn audit_if_due(&mut self, now: UnixMs) -> Result<(), StateError> {
        let age = self.running.saturating_sub(self.store.log_scanned_at()?);
        if age < EVERY_MS || !self.volatile.link_up {
            return Ok(());
        }
        self.start_audit(now)
    }

    fn start_audit(&mut self, now: UnixMs) -> Result<(), StateError> {
        // A state that is older than this record has none of it.
        if let Some(current) = self.store.own_bundle()? {
            self.store.note_own_bundle(&current)?;
        }
        self.volatile.log.audit.get_or_insert_default();
        self.advance_audit(now)
    }

    fn accept_log(&mut self, log: &Hash) -> Result<bool, StateError> {
        let highest = self.head_in(HeadRole::Highest)?.map(|head| head.log());
        let other = self.head_in(HeadRole::Other)?.map(|head| head.log());
        let forked = self.store.is_log_forked()?;
        let former = match (other, highest) {
            (Some(other), former) if other == *log => former,
            (None, Some(highest)) if forked && highest == *log => None,
            _ => return Ok(false),
        };
        self.volatile.log = super::LogWatch::default();
        self.store.begin_log_anew(former.as_ref())?;
        Ok(true)
    }

    /// Takes the next step of the scan under way, if none is awaited.
    pub(super) fn advance_audit(&mut self, now: UnixMs) -> Result<(), StateError> {
        let Some(scan) = &mut self.volatile.log.audit else {
            return Ok(());
        };
        if scan.asked || scan.again_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        scan.again_at = None;
        let Some(target) = scan.target.clone() else {
            scan.asked = true;
            self.ask_log_of_relay(LogCall::Head);
            return Ok(());
        };
        if self.is_log_halted()? {
            return self.end_audit(Some(AuditFailure::Halted), now);
        }
        let Some(tag) = self.store.log_tag(None)? else {
            self.note_asked();
            self.effects.push(Effect::HandleTag(self.account.handle.clone()));
            return Ok(());
        };
        let read = self.store.log_scan(ScanRole::Read)?;
        if read.size() < target.size() {
            if !self.begin_page() {
                return self.end_audit(Some(AuditFailure::Unfinished), now);
            }
            let limit = (target.size() - read.size()).min(limits::LOG_LEAVES as u64);
            let from = read.size();
            self.ask_log_of_relay(LogCall::Leaves { from, limit });
            return Ok(());
        }
        // Its verdict is part of the result.
        let is_unanswered = self.volatile.log.heads.is_unanswered();
        match (self.is_unsettled(&target)?, is_unanswered) {
            (true, true) => return self.end_audit(Some(AuditFailure::Unreachable), now),
            (true, false) => return Ok(()),
            (false, _) => {}
        }
        self.conclude_audit(&target, &read, &tag, now)
    }

    fn note_asked(&mut self) {
        if let Some(scan) = &mut self.volatile.log.audit {
            scan.asked = true;
        }
    }

    /// Another page may be asked for.
    fn begin_page(&mut self) -> bool {
        let scan = self.volatile.log.audit.as_mut().filter(|scan| scan.pages < PAGES);
        scan.is_some_and(|scan| {
            scan.pages += 1;
            scan.asked = true;
            true
        })
    }

    /// What was asked for has come.
    fn answered(&mut self) -> bool {
        let scan = self.volatile.log.audit.as_mut();
        scan.is_some_and(|scan| std::mem::take(&mut scan.asked))
    }

    pub(super) fn newest_head_shown(
        &mut self,
        answer: Result<Vec<Vec<u8>>, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if !self.answered() {
            return Ok(());
        }
        let bytes = match answer {
            Ok(mut answer) => answer.pop().unwrap_or_default(),
            Err(LookupError::NotFound) => return self.no_log_shown(now),
            Err(error) => return self.not_answered(&error, now),
        };
        let Ok(head) = Head::verify(&bytes, self.log_owner()) else {
            let reason = "what the relay shows as the head of its log is none";
            self.alert("log_proof_false", Severity::Critical, None, reason, now)?;
            return self.end_audit(Some(AuditFailure::HeadFalse), now);
        };
        if let Some(scan) = &mut self.volatile.log.audit {
            scan.target = Some(head.clone());
        }
        self.head_shown(head, now)
    }

    fn no_log_shown(&mut self, now: UnixMs) -> Result<(), StateError> {
        if self.store.log_head(HeadRole::Highest)?.is_some() {
            let reason = "the relay kept a log and shows none any more";
            self.alert("log_withheld", Severity::Critical, None, reason, now)?;
        }
        self.end_audit(Some(AuditFailure::NoLog), now)
    }

    fn not_answered(&mut self, error: &LookupError, now: UnixMs) -> Result<(), StateError> {
        if let (LookupError::Refused(problem), Some(scan)) = (error, &mut self.volatile.log.audit)
            && problem.status == 429
        {
            let wait = problem.retry_after.unwrap_or(1).clamp(1, PATIENCE);
            scan.again_at = Some(now + wait * 1_000);
            return Ok(());
        }
        self.end_audit(Some(AuditFailure::Unreachable), now)
    }

    pub(super) fn own_tag_computed(&mut self, tag: Option<Hash>, now: UnixMs) -> Result<(), StateError> {
        if let Some(tag) = tag {
            self.store.put_log_tag(None, &tag)?;
        }
        if self.answered() && tag.is_none() {
            return self.end_audit(Some(AuditFailure::NoMemory), now);
        }
        Ok(())
    }

    pub(super) fn leaves_shown(
        &mut self,
        from: u64,
        answer: Result<Vec<Vec<u8>>, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let target = self
            .volatile
            .log
            .audit
            .as_ref()
            .and_then(|scan| scan.target.clone());
        let (true, Some(target), Some(tag)) = (self.answered(), target, self.store.log_tag(None)?) else {
            return Ok(());
        };
        let leaves = match answer {
            Ok(leaves) => leaves,
            Err(LookupError::NotFound) => Vec::new(),
            Err(error) => return self.not_answered(&error, now),
        };
        let mut tree = self.store.log_scan(ScanRole::Read)?;
        if tree.size() != from {
            return Ok(());
        }
        let rest = usize::try_from(target.size().saturating_sub(from)).unwrap_or(usize::MAX);
        let leaves = &leaves[..leaves.len().min(rest)];
        if leaves.is_empty() {
            let reason = "the relay does not show all leaves that the head of its log covers";
            self.alert("log_withheld", Severity::Critical, None, reason, now)?;
            return self.end_audit(Some(AuditFailure::LeavesWithheld), now);
        }
        let Ok(own) = append(&mut tree, leaves, &tag) else {
            return self.leaves_false(now);
        };
        for (place, leaf) in own {
            self.store.put_own_leaf(place, &leaf)?;
        }
        self.store.put_log_scan(ScanRole::Read, &tree)
    }

    /// Everything was read: the tree over it is the signed one, or the relay has shown something else.
    fn conclude_audit(
        &mut self,
        target: &Head,
        read: &Frontier,
        tag: &Hash,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if read.size() > target.size() {
            return self.end_audit(Some(AuditFailure::HeadOlder), now);
        }
        if read.root() != target.root() {
            return self.leaves_false(now);
        }
        self.store.put_log_scan(ScanRole::Verified, read)?;
        self.tell_foreign_leaves(tag, now)?;
        self.end_audit(None, now)
    }

    fn leaves_false(&mut self, now: UnixMs) -> Result<(), StateError> {
        self.store.rewind_log_scan()?;
        let reason = "the leaves that the relay shows are not those of the head of its log";
        self.alert("log_proof_false", Severity::Critical, None, reason, now)?;
        self.end_audit(Some(AuditFailure::LeavesFalse), now)
    }

    fn tell_foreign_leaves(&mut self, tag: &Hash, now: UnixMs) -> Result<(), StateError> {
        let own = self.store.own_bundles()?;
        for found in self
            .store
            .own_leaves(tag)?
            .into_iter()
            .filter(|found| !found.told)
        {
            let (kind, severity, reason) = match judge(&found.leaf, &own) {
                Verdict::Own => continue,
                Verdict::Rogue => (
                    "rogue_bundle",
                    Severity::Critical,
                    "the relay's log has a bundle under this agent's handle that this agent has not signed",
                ),
                Verdict::Unaccounted => (
                    "bundle_unaccounted",
                    Severity::Warning,
                    "the relay's log has a bundle of this agent from a time that this state knows nothing of",
                ),
            };
            self.alert(kind, severity, None, reason, now)?;
            self.store.note_leaf_told(found.place)?;
        }
        Ok(())
    }

    fn end_audit(&mut self, failure: Option<AuditFailure>, now: UnixMs) -> Result<(), StateError> {
        self.volatile.log.audit = None;
        tracing::info!(
            failure = failure.map_or("none", AuditFailure::name),
            "the log was read"
        );
        self.store
            .put_log_audited(self.running, now, AuditFailure::number(failure))
    }

    /// What is known of the log.
    fn audit(&self) -> Result<Audit, StateError> {
        let condensed = |head: Head| ShownHead {
            log: head.log(),
            size: head.size(),
            time: head.time(),
        };
        let own = self.store.own_bundles()?;
        let leaves = match self.store.log_tag(None)? {
            Some(tag) => self.store.own_leaves(&tag)?,
            None => Vec::new(),
        };
        let audited = leaves.into_iter().map(|found| AuditedLeaf {
            place: found.place,
            verdict: judge(&found.leaf, &own),
            leaf: found.leaf,
        });
        let audited: Vec<AuditedLeaf> = audited.collect();
        let current = self.account.bundle_hash;
        let scan = self.volatile.log.audit.as_ref();
        let finished = self.store.log_audited()?;
        Ok(Audit {
            running: scan.is_some(),
            scanned: self.store.log_scan(ScanRole::Read)?.size(),
            target: scan.and_then(|scan| scan.target.as_ref()).map(Head::size),
            head: self.head_in(HeadRole::Highest)?.map(condensed),
            finished: finished.map(|(at, failure)| (at, AuditFailure::from_number(failure))),
            current_logged: audited.iter().any(|audited| audited.leaf.bundle == current),
            own: audited,
            forked: self.store.is_log_forked()?,
            other: self.head_in(HeadRole::Other)?.map(condensed),
            evidence: self.store.log_evidence()?,
        })
    }
}
