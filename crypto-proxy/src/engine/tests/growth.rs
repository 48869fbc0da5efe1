//! What a message costs does not grow with what was written before: no statement of the engine walks over the history.

use super::{groups::NAMES, net::Net};
use crate::{model::LocalConversation, state::scans};

/// Messages that are there already, direct ones and in a group, both ways.
const HISTORY: usize = 300;
/// Messages that are watched.
const WATCHED: usize = 20;
/// Rows that a statement may walk over for each of them.
const ROWS: i32 = 20;

fn talk(net: &mut Net, group: LocalConversation, from: usize, to: usize) {
    for number in from..to {
        for [author, reader] in [[0, 1], [1, 0]] {
            net.send(author, NAMES[reader], &format!("direct-{author}-{number}"));
            net.say(author, group, &format!("group-{author}-{number}"))
                .unwrap();
        }
        // Receipts are owed for a while.
        net.pass(1_000);
    }
}

#[test]
fn no_statement_walks_over_the_history() {
    let (mut net, group) = Net::group_of(2);
    talk(&mut net, group, 0, HISTORY);
    for (index, begin) in [(0, HISTORY), (1, HISTORY + 2 * WATCHED)] {
        net.nodes[index].engine.store.watch_scans();
        // Statements that were prepared before have counted from then on.
        talk(&mut net, group, begin, begin + WATCHED);
        scans::taken();
        talk(&mut net, group, begin + WATCHED, begin + 2 * WATCHED);
        let most = i32::try_from(WATCHED).unwrap() * ROWS;
        let walking: Vec<_> = scans::taken()
            .into_iter()
            .filter(|(_, rows)| *rows > most)
            .collect();
        assert!(walking.is_empty(), "{walking:#?}");
    }
}
