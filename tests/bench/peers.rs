//! P1 beside servers of others that store as durably: each message is on the disk before it is acknowledged.

use crate::{
    figure::Figure,
    load::contest::{self, Contender},
    report::Goal,
    run::Bench,
    sends::{self, MOST, outcome},
    target::{Transport, jetstream::Jetstream, relay::Relay},
};

const RELAY: &str = "relay";
const JETSTREAM: &str = "jetstream";
/// P1.
const OVER_JETSTREAM: Goal = Goal::RatioAtLeast(6.0);

/// Durable sends of 64 senders.
///
/// # Errors
/// A server does not come up, refuses a message or loses one.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let relay: Relay = sends::start(bench).await?;
    let jetstream: Jetstream = sends::start(bench).await?;
    let loads = sends::loads(bench, &[MOST]);
    let contenders = [
        Contender::new(RELAY, &relay, &[MOST]),
        Contender {
            transport: Transport::Socket,
            ..Contender::new(JETSTREAM, &jetstream, &[MOST])
        },
    ];
    let results = contest::hold(&loads, &contenders).await?;
    let (relay, jetstream) = (
        outcome(&results, RELAY, MOST)?,
        outcome(&results, JETSTREAM, MOST)?,
    );
    let sends = Figure::new(format!("durable sends, {MOST}; NATS JetStream"), relay.rate, "/s");
    Ok(vec![sends.beside(jetstream.rate).wants("P1", OVER_JETSTREAM)])
}
