//! The audit of the relay's log (docs/protocol.md, 10).

use waxwire_shared::{
    api::problem::Problem,
    hash::sha256,
    wire::{Document as _, LogHead},
};

use super::{
    log_heads::audit,
    log_relay::leaf_of,
    net::{Net, bundle},
};
use crate::{
    engine::{AuditCommand, LogCall, LookupError},
    model::{Audit, AuditFailure},
    transparency::{
        Verdict,
        testing::{TestLog, leaf},
    },
};

fn scanned(net: &mut Net, index: usize) -> Audit {
    audit(net, index, AuditCommand::Start).unwrap();
    let shown = audit(net, index, AuditCommand::Show).unwrap();
    assert!(!shown.running);
    shown
}

fn failed(audit: &Audit) -> Option<AuditFailure> {
    audit.finished.unwrap().1
}

fn logged() -> Net {
    let mut net = Net::pair();
    net.keep_log();
    net
}

fn pages(net: &Net) -> Vec<LogCall> {
    let calls = net.log_calls.iter().copied();
    calls
        .filter(|call| matches!(call, LogCall::Leaves { .. }))
        .collect()
}

/// docs/protocol.md, 10: the owner finds its own bundles, and a scan goes on where the last one ended.
#[test]
fn audit_reads_on_where_the_last_one_ended_and_finds_own_bundles() {
    let mut net = logged();
    net.logs[0].leaves.extend((0..2_500).map(leaf));
    let first = scanned(&mut net, 1);
    assert_eq!(failed(&first), None);
    assert_eq!((first.scanned, first.head.unwrap().size), (2_505, 2_505));
    assert_eq!(
        (first.own.len(), first.own[0].verdict, first.current_logged),
        (1, Verdict::Own, true)
    );
    let page = |from, limit| LogCall::Leaves { from, limit };
    assert_eq!(
        pages(&net),
        [page(0, 1_000), page(1_000, 1_000), page(2_000, 505)]
    );
    net.log_calls.clear();
    net.restart(1, |_| false);
    net.logs[0].leaves.extend((0..3).map(leaf));
    assert_eq!(failed(&scanned(&mut net, 1)), None);
    assert_eq!(pages(&net), [page(2_505, 3)]);
    assert!(net.nodes[1].alerts.is_empty());
}

/// docs/protocol.md, 10: what this agent has not signed is told, once, and stays in the report.
#[test]
fn rogue_bundle_is_told_once_and_stays_known() {
    let mut net = logged();
    let (mallory, key) = net.nodes[0].keys();
    let bob = net.nodes[1].handle.clone();
    let rogue = bundle(&mallory, &bob, super::net::START + 5, &key);
    net.logs[0].leaves.push(leaf_of(&bob, &rogue));
    for _ in 0..2 {
        let found = scanned(&mut net, 1);
        let rogues: Vec<_> = found
            .own
            .iter()
            .filter(|leaf| leaf.verdict == Verdict::Rogue)
            .collect();
        assert_eq!(rogues.len(), 1);
        assert_eq!(rogues[0].leaf.bundle, sha256(&rogue));
        net.now += 120_000;
    }
    let told = net.nodes[1]
        .alerts
        .iter()
        .filter(|alert| alert.kind == "rogue_bundle")
        .count();
    assert_eq!(told, 1);
    // To alice it is a leaf like any other.
    assert!(
        scanned(&mut net, 0)
            .own
            .iter()
            .all(|leaf| leaf.verdict == Verdict::Own)
    );
}

/// docs/protocol.md, 10: an own bundle that was replaced is still one's own.
#[test]
fn own_bundles_of_all_times_are_known() {
    let mut net = logged();
    for wait in [8 * 24, 2] {
        net.pass(wait * 3_600 * 1_000);
    }
    let newest = net.nodes[1].offered.last().cloned();
    if let Some(newest) = newest {
        net.bundles.insert(net.nodes[1].handle.clone(), newest);
    }
    net.log_bundles();
    let found = scanned(&mut net, 1);
    assert_eq!(found.own.len(), 2, "it was rotated meanwhile");
    assert!(found.own.iter().all(|leaf| leaf.verdict == Verdict::Own) && found.current_logged);
    assert!(!net.nodes[1].alerted("rogue_bundle"));
}

/// docs/protocol.md, 10: leaves that are not those of the signed head are refused, and read again.
#[test]
fn leaves_of_another_log_are_found_out() {
    let mut net = logged();
    net.logs[0].leaves.extend((0..1_500).map(leaf));
    assert_eq!(failed(&scanned(&mut net, 1)), None);
    net.logs[0].leaves.extend((0..1_500).map(leaf));
    net.log_answer = Some(Box::new(|_, call| match call {
        LogCall::Leaves { limit, .. } => Some(Ok((0..limit).map(|n| leaf(n + 9).encode()).collect())),
        _ => None,
    }));
    let found = scanned(&mut net, 1);
    assert_eq!(
        (failed(&found), found.scanned),
        (Some(AuditFailure::LeavesFalse), 1_505)
    );
    assert!(net.nodes[1].alerted("log_proof_false"));
    net.log_answer = None;
    let found = scanned(&mut net, 1);
    assert_eq!((failed(&found), found.scanned), (None, 3_005));
}

/// docs/protocol.md, 10: each lie and each silence of the relay ends the scan by name.
#[test]
fn scan_that_cannot_end_says_why() {
    let unreachable = || Some(Err(LookupError::Unreachable));
    let page = |answer: Vec<Vec<u8>>| Some(Ok(answer));
    for (case, failure, alert) in [
        (0, AuditFailure::NoLog, Some("log_withheld")),
        (1, AuditFailure::Unreachable, None),
        (2, AuditFailure::HeadFalse, Some("log_proof_false")),
        (3, AuditFailure::LeavesWithheld, Some("log_withheld")),
        (4, AuditFailure::LeavesFalse, Some("log_proof_false")),
        (5, AuditFailure::Unreachable, None),
        (6, AuditFailure::Unreachable, None),
    ] {
        let mut net = logged();
        scanned(&mut net, 1);
        net.logs[0].leaves.push(leaf(50));
        net.log_answer = Some(Box::new(move |_, call| match (case, call) {
            (0, LogCall::Head) => Some(Err(LookupError::NotFound)),
            (1, LogCall::Head) => unreachable(),
            (2, LogCall::Head) => page(vec![b"none".to_vec()]),
            (3, LogCall::Leaves { .. }) => page(Vec::new()),
            (4, LogCall::Leaves { .. }) => page(vec![b"no leaf".to_vec()]),
            (5, LogCall::Leaves { .. }) | (6, LogCall::Consistency { .. }) => unreachable(),
            _ => None,
        }));
        assert_eq!(failed(&scanned(&mut net, 1)), Some(failure), "{case}");
        let alerts: Vec<&str> = net.nodes[1]
            .alerts
            .iter()
            .map(|alert| alert.kind.as_str())
            .collect();
        assert_eq!(alerts.first().copied(), alert, "{case}");
    }
}

/// docs/protocol.md, 10: an older head than before is a fork unless it is a prefix; leaves cannot be compared with it.
#[test]
fn older_head_is_named() {
    let mut net = logged();
    net.logs[0].leaves.extend((0..5).map(leaf));
    scanned(&mut net, 1);
    let mut older = TestLog::of_size(3);
    older.leaves.clone_from(&net.logs[0].leaves);
    older.leaves.truncate(6);
    let head = older.newest();
    net.log_answer = Some(Box::new(move |_, call| match call {
        LogCall::Head => Some(Ok(vec![head.clone()])),
        _ => None,
    }));
    assert_eq!(failed(&scanned(&mut net, 1)), Some(AuditFailure::HeadOlder));
    assert!(!net.nodes[1].alerted("log_fork"), "it is a prefix");
}

/// docs/protocol.md, 10: a log without end keeps nobody busy for ever.
#[test]
fn scan_ends_however_long_the_log_is() {
    let mut net = logged();
    let endless = net.logs[0].sign(&LogHead {
        size: 1 << 60,
        ..net.logs[0].body(5)
    });
    net.log_answer = Some(Box::new(move |_, call| match call {
        LogCall::Head => Some(Ok(vec![endless.clone()])),
        LogCall::Leaves { .. } => Some(Ok(vec![leaf(1).encode()])),
        LogCall::Consistency { .. } => None,
    }));
    let found = scanned(&mut net, 1);
    assert_eq!(
        (failed(&found), found.scanned),
        (Some(AuditFailure::Unfinished), 5_000)
    );
}

/// A relay that is asked too often is asked on when it says so.
#[test]
fn scan_goes_on_after_a_limit() {
    let mut net = logged();
    let mut refusals = 1;
    net.log_answer = Some(Box::new(move |_, call| {
        let refuse = matches!(call, LogCall::Leaves { .. }) && std::mem::take(&mut refusals) > 0;
        let problem = Problem {
            retry_after: Some(7),
            ..Problem::new(waxwire_shared::api::problem::ProblemType::RateLimited)
        };
        refuse.then(|| Err(LookupError::Refused(Box::new(problem))))
    }));
    assert!(
        audit(&mut net, 1, AuditCommand::Start)
            .unwrap()
            .finished
            .is_none()
    );
    net.pass(6_900);
    assert!(audit(&mut net, 1, AuditCommand::Show).unwrap().running);
    net.pass(200);
    assert_eq!(failed(&audit(&mut net, 1, AuditCommand::Show).unwrap()), None);
}

/// docs/protocol.md, 10: a proxy reads the log by itself, once in a day that it runs.
#[test]
fn log_is_read_once_a_day() {
    let mut net = logged();
    for _ in 0..26 * 12 {
        net.pass(5 * 60 * 1_000);
    }
    let heads = net
        .log_calls
        .iter()
        .filter(|call| **call == LogCall::Head)
        .count();
    assert_eq!(heads, 2, "one for each agent");
    assert!(audit(&mut net, 0, AuditCommand::Show).unwrap().finished.is_some());
}

/// docs/protocol.md, 10: nothing is read of a forked log until it is acknowledged; then everything is.
#[test]
fn forked_log_is_read_again_when_it_is_acknowledged() {
    let mut net = logged();
    scanned(&mut net, 1);
    net.logs[0].leaves[0] = leaf(90);
    let found = scanned(&mut net, 1);
    assert!(found.forked && net.nodes[1].alerted("log_fork"));
    assert_eq!(failed(&found), Some(AuditFailure::Halted));
    let log = net.logs[0].id;
    let accepted = audit(&mut net, 1, AuditCommand::Accept(log)).unwrap();
    assert_eq!(
        (accepted.forked, accepted.scanned, accepted.evidence.len()),
        (false, 0, 1)
    );
    let found = scanned(&mut net, 1);
    assert_eq!((failed(&found), found.own.len(), found.forked), (None, 1, false));
}
