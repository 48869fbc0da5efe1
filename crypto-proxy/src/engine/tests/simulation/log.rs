//! The relay's transparency log in a run, and what the relay does to it. All that is random here comes of the seed
//! apart from the other decisions, so that a run is the same with a log and without.

use waxwire_shared::{message::UnverifiedMessage, sign::Unverified, wire::LogHead};

use super::{super::net::Net, chance::Chance};
use crate::{
    engine::{AuditCommand, Command},
    state::HeadRole,
    transparency::testing::{TestLog, leaf},
};

/// What a relay does to its log, once.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// From a leaf on, every second agent is shown another history.
    Fork,
    /// Everybody is.
    Rewrite,
}

/// How the relay keeps its log.
pub(super) struct Ledger {
    chance: Chance,
    /// The lie, and the step in which it comes.
    lie: Option<(usize, Lie)>,
    told: Option<Told>,
}

/// A lie that was told.
struct Told {
    /// The leaf that is another since.
    place: u64,
    /// The head that each agent held before.
    held: Vec<Option<LogHead>>,
}

impl Ledger {
    /// None in every second run; of the others, the relay lies in every second one.
    pub(super) fn of(seed: u64, steps: usize) -> Option<Self> {
        let mut chance = Chance::new(!seed);
        let step = chance.below(steps);
        let lie = if chance.one_in(3) { Lie::Rewrite } else { Lie::Fork };
        (seed % 2 == 1).then(|| Self {
            lie: (seed % 4 == 3).then_some((step, lie)),
            told: None,
            chance,
        })
    }

    /// The log grows, and somebody may look at it. Gives the lie, if the relay tells it now.
    pub(super) fn step(&mut self, step: usize, net: &mut Net) -> Option<String> {
        if net.logs.is_empty() {
            net.logs = net.nodes.iter().map(|_| TestLog::of_size(3)).collect();
        }
        for log in &mut net.logs {
            log.leaves.push(leaf(1_000 + step as u64));
        }
        net.log_bundles();
        let due = self.lie.filter(|(at, _)| *at == step);
        let reader = self.chance.below(net.nodes.len() * 2);
        if reader < net.nodes.len() {
            net.command(reader, Command::Audit(AuditCommand::Start));
        }
        due.map(|(_, lie)| self.tell(lie, net))
    }

    fn tell(&mut self, lie: Lie, net: &mut Net) -> String {
        let held = (0..net.nodes.len()).map(|index| highest(net, index)).collect();
        let place = self.chance.below(net.logs[0].leaves.len());
        let (first, apart) = match lie {
            Lie::Fork => (1, 2),
            Lie::Rewrite => (0, 1),
        };
        for log in net.logs.iter_mut().skip(first).step_by(apart) {
            log.leaves[place] = leaf(9_999);
        }
        net.log_bundles();
        let place = place as u64;
        self.told = Some(Told { place, held });
        format!("{lie:?} of the log from leaf {place} on")
    }

    /// In the end everybody has looked at the log.
    pub(super) fn rest(net: &mut Net) {
        net.log_bundles();
        for index in 0..net.nodes.len() {
            net.command(index, Command::Audit(AuditCommand::Start));
        }
    }

    /// A log that is one history alarms nobody.
    pub(super) fn look(&self, net: &Net) {
        if self.told.is_some() {
            return;
        }
        for node in &net.nodes {
            let alarm = node.alerts.iter().find(|alert| alert.kind.starts_with("log_"));
            assert!(alarm.is_none(), "{}: {alarm:?}", node.handle);
        }
    }

    /// Whoever is shown one history and has met a head of another, from the relay or in a message, has told
    /// its agent. Gives how many.
    pub(super) fn judge(&self, net: &Net) -> usize {
        let Some(told) = &self.told else { return 0 };
        let met_another = |index: &usize| {
            let log = &net.logs[*index];
            let mut heads = told.held[*index].clone().into_iter().chain(heads(net, *index));
            heads.any(|head| head.size > told.place && log.body(head.size).root != head.root)
        };
        let found: Vec<usize> = (0..net.nodes.len()).filter(met_another).collect();
        for index in &found {
            // As it is kept: a process may die before it says so.
            let node = &net.nodes[*index];
            let forked = node.engine.store().is_log_forked().unwrap();
            assert!(forked, "{} met two histories", node.handle);
        }
        found.len()
    }
}

fn read(net: &Net, signed: &[u8]) -> LogHead {
    let head = Unverified::<LogHead>::decode(signed).unwrap();
    head.verify_by(net.logs[0].identity()).unwrap().into_body()
}

fn highest(net: &Net, index: usize) -> Option<LogHead> {
    let store = net.nodes[index].engine.store();
    let signed = store.log_head(HeadRole::Highest).unwrap()?;
    Some(read(net, &signed))
}

/// The head that an agent holds for the highest, and those that came to it in messages, whichever way.
fn heads(net: &Net, index: usize) -> Vec<LogHead> {
    let store = net.nodes[index].engine.store();
    let inbound = net.nodes[index].shown.iter().filter(|message| !message.own);
    let carried = inbound.filter_map(|message| {
        let row = store.message_by_id(&message.id).unwrap()?.message_row;
        let signed = UnverifiedMessage::from_message(store.signed(row).ok()?).ok()?;
        let head = signed.verify().ok()?.context().log_head.clone()?;
        Some(read(net, &head))
    });
    carried.chain(highest(net, index)).collect()
}
