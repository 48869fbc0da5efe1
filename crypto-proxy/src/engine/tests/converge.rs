//! Random commits, messages, absences and races, in any order: in the end all members stand at one
//! head under one key and read one another (docs/protocol.md, 6).

use proptest::prelude::*;
use waxwire_shared::{ids::GroupId, wire::Role};

use super::{
    groups::{ALICE, NAMES},
    net::{Fault, Net},
};
use crate::{
    engine::{Command, GroupCommand},
    model::LocalConversation,
};

const AGENTS: usize = 5;

/// Something that one agent, the relay or time does.
#[derive(Debug, Clone)]
enum Act {
    Say(usize),
    Rekey(usize),
    Invite(usize, usize),
    Accept(usize),
    Remove(usize, usize),
    Promote(usize, usize),
    Leave(usize),
    Away(usize),
    Back(usize),
    /// Calls to the relay wait, so that agents act on the same head.
    Hold,
    Release,
    LoseAnswer,
    LoseAppend,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let agent = || 0..AGENTS;
    prop_oneof![
        6 => agent().prop_map(Act::Say),
        2 => agent().prop_map(Act::Rekey),
        2 => (agent(), agent()).prop_map(|(by, whom)| Act::Invite(by, whom)),
        2 => agent().prop_map(Act::Accept),
        1 => (agent(), agent()).prop_map(|(by, whom)| Act::Remove(by, whom)),
        1 => (agent(), agent()).prop_map(|(by, whom)| Act::Promote(by, whom)),
        1 => agent().prop_map(Act::Leave),
        2 => agent().prop_map(Act::Away),
        3 => agent().prop_map(Act::Back),
        2 => Just(Act::Hold),
        3 => Just(Act::Release),
        1 => Just(Act::LoseAnswer),
        1 => Just(Act::LoseAppend),
        3 => (1_u64..40_000).prop_map(Act::Pass),
    ]
}

struct World {
    net: Net,
    group: LocalConversation,
    id: GroupId,
    said: usize,
}

impl World {
    fn new() -> Self {
        let (net, group) = Net::group_of(AGENTS);
        let id = net.only_group();
        Self {
            net,
            group,
            id,
            said: 0,
        }
    }

    fn command(&mut self, index: usize, command: GroupCommand) {
        self.net.command(index, Command::Group(command));
    }

    fn act(&mut self, act: &Act) {
        let group = self.group;
        let handle = |index: usize| NAMES[index].parse().unwrap();
        match *act {
            Act::Say(index) => {
                self.said += 1;
                let text = format!("{}-{}", NAMES[index], self.said);
                self.net.say_later(index, group, &text);
            }
            Act::Rekey(index) => self.command(index, GroupCommand::Rekey(group)),
            Act::Invite(by, whom) => {
                self.command(by, GroupCommand::Add(group, NAMES[whom].parse().unwrap(), None));
            }
            Act::Accept(index) => {
                if let Some(invitation) = self.net.nodes[index].invited.pop() {
                    self.command(index, GroupCommand::Accept(invitation.id));
                }
            }
            Act::Remove(by, whom) => self.command(by, GroupCommand::Remove(group, handle(whom))),
            Act::Promote(by, whom) => {
                self.command(by, GroupCommand::SetRole(group, handle(whom), Role::Admin));
            }
            // Somebody has to be left.
            Act::Leave(ALICE) => {}
            Act::Leave(index) => self.command(index, GroupCommand::Leave(group)),
            Act::Away(index) if self.net.nodes[index].online => self.net.disconnect(index),
            Act::Back(index) if !self.net.nodes[index].online => self.net.connect(index),
            Act::Away(_) | Act::Back(_) => {}
            Act::Hold => self.net.calls_wait = true,
            Act::Release => self.net.release_calls(),
            Act::LoseAnswer => self.net.faults.push_back(Fault::LoseAnswer),
            Act::LoseAppend => self.net.lose_append = true,
            Act::Pass(ms) => self.net.pass(ms),
        }
        self.net.run();
    }

    /// Everybody comes back, and time passes until nothing is under way any more.
    fn rest(&mut self) {
        self.net.release_calls();
        (self.net.lose_append, self.net.faults) = (false, std::collections::VecDeque::new());
        for index in 0..AGENTS {
            if self.net.nodes[index].online {
                self.net.disconnect(index);
            }
            self.net.connect(index);
        }
        for _ in 0..20 {
            self.net.pass(31_000);
            self.net.settle();
        }
    }

    fn check(&mut self) {
        let members = self.net.assert_converged(&self.id);
        for &from in &members {
            let text = format!("finally-{}", NAMES[from]);
            self.net.say(from, self.group, &text).unwrap();
            for &to in members.iter().filter(|to| **to != from) {
                assert!(
                    self.net.heard(to).contains(&text),
                    "{} does not read {}",
                    NAMES[to],
                    NAMES[from]
                );
            }
            for to in (0..AGENTS).filter(|to| !members.contains(to)) {
                assert!(!self.net.heard(to).contains(&text), "{} reads on", NAMES[to]);
            }
        }
        for node in &self.net.nodes {
            for bad in [
                "sender_fork",
                "invalid_commit",
                "roster_fork",
                "leaf_false",
                "leaf_forged",
                "bad_signature",
            ] {
                assert!(!node.alerted(bad), "{}: {bad}", node.handle);
            }
        }
    }
}

/// Few enough for every run; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig::default();
    if asked {
        config
    } else {
        ProptestConfig::with_cases(32)
    }
}

proptest! {
    #![proptest_config(config())]

    /// docs/protocol.md, 6.1, 6.5 and 6.9: one log, one head, one key.
    #[test]
    fn members_converge_whatever_happened(acts in proptest::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.rest();
        world.check();
    }
}
