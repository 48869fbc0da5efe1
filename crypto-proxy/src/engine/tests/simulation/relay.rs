//! What a relay makes of the objects that it hands out: each agent's view of it has a temper that
//! changes from time to time.

use std::{cell::RefCell, rc::Rc};

use super::{
    super::net::{Objects, Tamper},
    chance::Chance,
};

/// How the relay treats an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    /// As it should.
    Honest,
    /// Passes over some objects for good, and repeats some.
    Lossy,
    /// Hands out a part, or nothing.
    Slow,
    /// In another order.
    Shuffling,
    /// Flips bits, and puts objects of anybody in front of others.
    Forging,
}

const TEMPERS: [Temper; 5] = [
    Temper::Honest,
    Temper::Lossy,
    Temper::Slow,
    Temper::Shuffling,
    Temper::Forging,
];

/// The relay's temper towards each agent.
pub(super) struct Tempers(Rc<RefCell<Vec<Temper>>>);

impl Tempers {
    /// An honest relay, and what it does to objects from now on.
    pub(super) fn new(agents: usize, chance: Chance) -> (Self, Tamper) {
        let tempers = Rc::new(RefCell::new(vec![Temper::Honest; agents]));
        let shared = Rc::clone(&tempers);
        let mut liar = Liar {
            chance,
            seen: Vec::new(),
        };
        let tamper: Tamper = Box::new(move |index, objects| {
            let temper = shared.borrow()[index];
            liar.hand_out(temper, objects)
        });
        (Self(tempers), tamper)
    }

    pub(super) fn change(&self, index: usize, chance: &mut Chance) -> Temper {
        let temper = TEMPERS[chance.below(TEMPERS.len())];
        self.0.borrow_mut()[index] = temper;
        temper
    }

    pub(super) fn be_honest(&self) {
        self.0.borrow_mut().fill(Temper::Honest);
    }
}

struct Liar {
    chance: Chance,
    /// Whatever went to anybody.
    seen: Vec<Vec<u8>>,
}

impl Liar {
    fn hand_out(&mut self, temper: Temper, mut objects: Objects) -> Objects {
        self.seen.extend(objects.iter().map(|(_, object)| object.clone()));
        match temper {
            Temper::Honest => {}
            Temper::Lossy => {
                objects.retain(|_| !self.chance.one_in(4));
                if let Some(again) = self.chance.pick(&objects).cloned() {
                    objects.push(again);
                }
            }
            Temper::Slow => objects.truncate(self.chance.below(3)),
            Temper::Shuffling => self.shuffle(&mut objects),
            Temper::Forging => self.forge(&mut objects),
        }
        objects
    }

    fn shuffle(&mut self, objects: &mut Objects) {
        for end in (1..objects.len()).rev() {
            objects.swap(end, self.chance.below(end + 1));
        }
    }

    fn forge(&mut self, objects: &mut Objects) {
        for (_, object) in objects.iter_mut() {
            if !object.is_empty() && self.chance.one_in(4) {
                let place = self.chance.below(object.len());
                object[place] ^= 1 << self.chance.below(8);
            }
        }
        let place = self.chance.below(objects.len() + 1);
        if let (Some((cursor, _)), Some(other)) = (objects.get(place), self.chance.pick(&self.seen)) {
            objects.insert(place, (*cursor, other.clone()));
        }
    }
}
