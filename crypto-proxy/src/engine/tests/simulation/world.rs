//! The agents, what they do, and what they said.

use std::{collections::BTreeSet, fmt::Write as _};

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    hash::sha256,
    ids::{GroupId, Hash},
    wire::Role,
};

use super::{
    super::{
        groups::NAMES,
        net::{Fault, Net, Node, request},
    },
    chance::Chance,
    log::Ledger,
    relay::Tempers,
    rules::Watch,
};
use crate::{
    engine::{Command, Event, GroupCommand, LinkEvent, Settings},
    model::Destination,
};

const MINUTE: u64 = 60 * 1_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

/// Steps of a run before everything comes to rest.
const STEPS: usize = 60;

/// To whom something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Agent(usize),
    Group(GroupId),
}

/// A message that an agent was asked to send.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Its `client_msg_id`, and its text.
    pub(super) id: String,
    pub(super) from: usize,
    pub(super) to: To,
}

/// A run.
pub(super) struct World {
    pub(super) net: Net,
    pub(super) seed: u64,
    pub(super) said: Vec<Said>,
    /// Requests, by whom they were made, that a living process owes an answer.
    pub(super) asked: BTreeSet<(usize, u64)>,
    chance: Chance,
    tempers: Tempers,
    ledger: Option<Ledger>,
    watch: Watch,
    /// What was done, for whoever has to understand a failure.
    story: String,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let agents = 3 + chance.below(6);
        // Own keys are replaced and erased within a run, and kept for longer than anybody seals to them.
        let settings = Settings {
            bundle_age: HOUR / 2,
            key_rotation: 6 * HOUR,
            key_retention: 2 * HOUR,
            ..Settings::default()
        };
        let node = |(name, seed): (&&str, u8)| Node::new(name, seed, settings);
        let mut net = Net::new(NAMES[..agents].iter().zip(1..).map(node).collect());
        for _ in 0..=chance.below(2) {
            let founder = chance.below(agents);
            let others: Vec<&str> = (0..agents)
                .filter(|index| *index != founder)
                .map(|index| NAMES[index])
                .collect();
            net.found(founder, &others);
            for index in (0..agents).filter(|index| *index != founder) {
                if !chance.one_in(4) {
                    net.accept(index);
                }
            }
        }
        let (tempers, tamper) = Tempers::new(agents, chance.branch());
        net.tamper = Some(tamper);
        net.tells_unreached = true;
        Self {
            watch: Watch::new(agents),
            net,
            seed,
            said: Vec::new(),
            asked: BTreeSet::new(),
            chance,
            tempers,
            ledger: Ledger::of(seed, STEPS),
            story: String::new(),
        }
    }

    /// Something happens, again and again.
    pub(super) fn live(&mut self) {
        for step in 0..STEPS {
            self.step(step);
            self.keep_log(step);
            self.net.run();
            self.look();
        }
    }

    /// The relay is honest, everybody is there and says something more, and time passes until nothing is
    /// under way.
    pub(super) fn rest(&mut self) {
        self.tell("rest");
        self.tempers.be_honest();
        self.net.release_calls();
        (self.net.lose_append, self.net.dies) = (false, None);
        self.net.faults.clear();
        for index in 0..self.agents() {
            if self.net.nodes[index].online {
                self.net.disconnect(index);
            }
            self.net.connect(index);
        }
        self.wait();
        // Only what comes later shows that the last messages are missing.
        self.say_last();
        if self.ledger.is_some() {
            Ledger::rest(&mut self.net);
        }
        self.wait();
    }

    fn keep_log(&mut self, step: usize) {
        let ledger = self.ledger.as_mut();
        if let Some(done) = ledger.and_then(|ledger| ledger.step(step, &mut self.net)) {
            self.tell(&done);
        }
    }

    /// As long as repair takes: what is missing is asked for again after half a minute, ten minutes, an hour
    /// and a day, and the relay may have spoiled all answers but the last.
    fn wait(&mut self) {
        for pause in [
            vec![31_000; 20],
            vec![10 * MINUTE; 3],
            vec![HOUR; 2],
            vec![24 * HOUR],
            vec![31_000; 4],
        ]
        .concat()
        {
            self.net.pass(pause);
            self.net.log_bundles();
            self.net.settle();
            self.look();
        }
    }

    fn say_last(&mut self) {
        let groups = self.groups();
        for from in 0..self.agents() {
            let agents = (0..self.agents()).map(To::Agent);
            let everybody: Vec<To> = agents.chain(groups.iter().copied().map(To::Group)).collect();
            for to in everybody {
                self.say(STEPS + self.said.len(), from, to);
                self.net.run();
            }
        }
    }

    /// What holds in the end. Gives how many agents have found that the relay shows two histories.
    pub(super) fn judge(&mut self) -> usize {
        let mut found = 0;
        self.told(|world| {
            super::rules::judge(world);
            found = world.ledger.as_ref().map_or(0, |ledger| ledger.judge(&world.net));
        });
        found
    }

    /// Everything that left a proxy, and everything that an agent saw.
    pub(super) fn trace(&self) -> Hash {
        let mut all = Vec::new();
        for (_, _, envelope) in &self.net.stored {
            all.extend_from_slice(sha256(envelope).as_bytes());
        }
        for message in self.net.nodes.iter().flat_map(|node| &node.shown) {
            all.extend_from_slice(message.client_msg_id.as_bytes());
        }
        sha256(&all)
    }

    pub(super) fn agents(&self) -> usize {
        self.net.nodes.len()
    }

    fn look(&mut self) {
        let answered = |&(index, request): &(usize, u64)| self.net.answer(index, request).is_none();
        self.asked = self.asked.iter().copied().filter(answered).collect();
        self.told(|world| {
            let mut watch = std::mem::take(&mut world.watch);
            watch.look(world);
            world.watch = watch;
            if let Some(ledger) = &world.ledger {
                ledger.look(&world.net);
            }
        });
    }

    /// Whoever finds a fault tells with it how it came about.
    fn told(&mut self, check: impl FnOnce(&mut Self)) {
        let story = std::mem::take(&mut self.story);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(self)));
        self.story = story;
        if let Err(panic) = outcome {
            println!("seed {}:\n{}", self.seed, self.story);
            std::panic::resume_unwind(panic);
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(
            self.story,
            "{:>9} ms  {what}",
            self.net.now - super::super::net::START
        )
        .unwrap();
    }

    fn anybody(&mut self) -> usize {
        let agents = self.agents();
        self.chance.below(agents)
    }

    fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.net.groups.groups.keys().copied().collect();
        groups.sort();
        groups
    }

    fn any_group(&mut self) -> GroupId {
        *self.chance.pick(&self.groups()).unwrap()
    }

    fn step(&mut self, step: usize) {
        let (one, other) = (self.anybody(), self.anybody());
        let name = NAMES[one];
        match self.chance.below(42) {
            0..=8 => self.say(step, one, To::Agent(other)),
            9..=17 => {
                let group = self.any_group();
                self.say(step, one, To::Group(group));
            }
            18..=24 => self.change_group(one, other),
            25 | 26 => self.confirm(one),
            27 | 28 if self.net.nodes[one].online => {
                self.tell(&format!("{name} goes"));
                self.net.disconnect(one);
            }
            27..=30 if !self.net.nodes[one].online => {
                self.tell(&format!("{name} comes"));
                self.net.connect(one);
            }
            31 => {
                self.tell("calls wait, or do so no more");
                if self.net.calls_wait {
                    self.net.release_calls();
                } else {
                    self.net.calls_wait = true;
                }
            }
            32 => {
                let faults = [Fault::LoseAnswer, Fault::LoseSend];
                let fault = *self.chance.pick(&faults).unwrap();
                self.tell(&format!("next send: {fault:?}"));
                self.net.faults.push_back(fault);
            }
            33 => {
                self.tell("the answer to the next append is lost");
                self.net.lose_append = true;
            }
            34 => {
                self.tell(&format!("{name} starts again"));
                self.forget_requests(one);
                self.net.restart_as_kept(one);
            }
            35 => {
                self.tell(&format!("{name} dies after its next transaction"));
                self.forget_requests(one);
                self.net.dies = Some(one);
            }
            36..=38 => {
                let temper = self.tempers.change(one, &mut self.chance);
                self.tell(&format!("the relay is {temper:?} to {name}"));
            }
            39 => {
                let hours = 1 + self.chance.below(8);
                self.tell(&format!("{hours} hours pass"));
                for _ in 0..hours {
                    self.net.pass(HOUR);
                    self.net.log_bundles();
                }
            }
            _ => {
                let ms = 1 + self.chance.below(40_000) as u64;
                self.net.pass(ms);
            }
        }
    }

    /// A process that is gone owes nobody an answer.
    fn forget_requests(&mut self, index: usize) {
        self.asked.retain(|(by, _)| *by != index);
    }

    fn command(&mut self, index: usize, command: Command) {
        let dying = self.net.dies == Some(index);
        let request = self.net.command(index, command);
        if !dying {
            self.asked.insert((index, request));
        }
    }

    fn say(&mut self, step: usize, from: usize, to: To) {
        let id = format!("simulated-{}-{step}", self.seed);
        let address = match to {
            To::Agent(index) if index == from => return,
            To::Agent(index) => Destination::Peer(NAMES[index].parse().unwrap()),
            To::Group(group) => match self.net.nodes[from].engine.store().group(&group).unwrap() {
                Some(row) => Destination::Conversation(row.local()),
                None => return,
            },
        };
        self.tell(&format!("{} says {id} to {to:?}", NAMES[from]));
        let request = request(address, &id);
        self.said.push(Said { id, from, to });
        self.command(from, Command::Send(request));
    }

    fn change_group(&mut self, one: usize, other: usize) {
        let group = self.any_group();
        let Some(row) = self.net.nodes[one].engine.store().group(&group).unwrap() else {
            return;
        };
        let (local, whom) = (row.local(), NAMES[other].parse().unwrap());
        let command = match self.chance.below(9) {
            0 => GroupCommand::Rekey(local),
            1 => GroupCommand::Add(local, NAMES[other].parse().unwrap(), None),
            2 => GroupCommand::Remove(local, whom),
            3 => GroupCommand::SetRole(local, whom, Role::Admin),
            // Somebody has to be left.
            4 if one != 0 => GroupCommand::Leave(local),
            _ => match self.net.nodes[one].invited.pop() {
                Some(invitation) => GroupCommand::Accept(invitation.id),
                None => return,
            },
        };
        self.tell(&format!("{}: {command:?}", NAMES[one]));
        self.command(one, Command::Group(command));
    }

    /// The agent confirms or reads what it saw last; its queues may have been emptied.
    fn confirm(&mut self, index: usize) {
        let Some(last) = self.net.nodes[index].shown.iter().rfind(|message| !message.own) else {
            return;
        };
        let (delivery, id) = (last.delivery, last.id);
        match (self.chance.below(3), delivery) {
            (0, Some(delivery)) => self.command(index, Command::Ack(delivery)),
            (1, _) => self.command(index, Command::MarkRead(id)),
            _ => {
                let heads = [Queue::Mail, Queue::Control].map(|queue| {
                    let position = self.net.acked(index, queue);
                    Event::Link(LinkEvent::Head(Cursor { queue, position }))
                });
                self.net.feed(index, heads.to_vec());
            }
        }
    }
}
