//! The connections to Redis: one for what is asked and said, one for what is heard. They live and end together.

use std::{convert::Infallible, error::Error, io, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{
    AsyncConnectionConfig,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
};
use waxwire_outbound::trust::CertificateFault;

use super::{Nodes, Topic, hear, names::Names, online, outbox};
use crate::{background::rest, clock::Stopwatch, delivery::Delivery, relay::Relay};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take. The writer of the store waits for one with each batch.
const ANSWER: Duration = Duration::from_millis(250);
/// How long the connection that is listened on may be silent after it was asked whether it is there.
const PONG: Duration = Duration::from_secs(2);
/// Between signs of life.
const BEAT: Duration = Duration::from_secs(2);
/// Between attempts to connect, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that has held for so long was none that fails whatever is done with it.
const HELD: Duration = Duration::from_secs(10);
/// The longest pause after connections that came about and did not hold.
const LAST_PAUSE_UNHELD: Duration = Duration::from_secs(30);
/// Longest code word that is repeated.
const CODE: usize = 16;
/// Channels in one command.
const CHANNELS: usize = 1_000;

/// Why Redis counts as lost. No text of the server is in it, nor of the URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Whoever answers is not trusted to be that server.
    #[error("the server's certificate is not trusted: {0}")]
    Certificate(CertificateFault),
    /// It said so, or nothing.
    #[error("{}", said(.0))]
    Redis(redis::RedisError),
    /// It did not answer in time.
    #[error("no answer in time")]
    Late,
    /// The connection is at its end.
    #[error("the connection has ended")]
    Lost,
}

impl From<redis::RedisError> for Fault {
    fn from(error: redis::RedisError) -> Self {
        match io_error(&error).and_then(CertificateFault::of) {
            Some(fault) => Self::Certificate(fault),
            None => Self::Redis(error),
        }
    }
}

/// The server's code word, such as `OOM` or `NOPERM`, where it gave one; else of which kind it is.
fn said(error: &redis::RedisError) -> &str {
    let is_word =
        |code: &&str| (1..=CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase());
    match (error.code().filter(is_word), error.category()) {
        (Some(code), _) => code,
        (None, "") => "the server refused",
        (None, category) => category,
    }
}

/// What ended a connection; the library hands it on in an `Arc`.
fn io_error(error: &redis::RedisError) -> Option<&io::Error> {
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    shared.downcast_ref()
}

impl From<tokio::time::error::Elapsed> for Fault {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Late
    }
}

/// Connects, and connects again until the relay stops; then what it still stores is said.
pub(super) async fn follow(nodes: &Nodes, relay: &Relay) {
    let shutdown = &relay.delivery.shutdown;
    let mut pause = None;
    loop {
        let mut up = None;
        let ended = tokio::select! {
            () = nodes.ended.cancelled() => return,
            ended = connect_and_serve(nodes, relay, &mut up) => ended,
        };
        let Err(fault) = ended;
        nodes.turn_down(&fault);
        // Words that were just being said may have gone nowhere.
        nodes.outbox.miss();
        let next = next_pause(pause, up.map(|up| up.elapsed()));
        if !rest(shutdown, next).await {
            return;
        }
        pause = Some(next);
    }
}

/// How long to wait after a connection that was up for so long, or did not come about. It grows while they fail again.
fn next_pause(before: Option<Duration>, up: Option<Duration>) -> Duration {
    let doubled = before.map_or(FIRST_PAUSE, |pause| pause * 2);
    match up {
        Some(up) if up >= HELD => FIRST_PAUSE,
        Some(_) => doubled.min(LAST_PAUSE_UNHELD),
        None => doubled.min(LAST_PAUSE),
    }
}

/// Notes since when the connection is up.
async fn connect_and_serve(
    nodes: &Nodes,
    relay: &Relay,
    up: &mut Option<Stopwatch>,
) -> Result<Infallible, Fault> {
    let names = nodes.names.get().ok_or(Fault::Lost)?;
    let delivery = &*relay.delivery;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ANSWER));
    let connecting = nodes.client.get_multiplexed_async_connection_with_config(&config);
    let mut commands = tokio::time::timeout(CONNECT, connecting).await??;
    let listening = tokio::time::timeout(CONNECT, nodes.client.get_async_pubsub()).await??;
    let (mut sink, mut stream) = listening.split();
    // Proves that it takes writes, too.
    online::beat(nodes, names, &mut commands).await?;
    online::show_all(nodes, names, &mut commands, delivery).await?;
    drop(nodes.interest.take());
    tokio::time::timeout(PONG, sink.subscribe(names.nodes())).await??;
    subscribe(names, &mut sink, &delivery.hub.topics()).await?;
    nodes.turn_up(commands.clone());
    *up = Some(Stopwatch::start());
    // Whatever was said before is lost.
    nodes.looks.ask_all();
    tokio::select! {
        ended = keep_beating(nodes, names, commands) => ended,
        ended = keep_listening(sink.clone()) => ended,
        ended = follow_interest(nodes, names, sink, delivery) => ended,
        ended = outbox::say(nodes) => ended,
        ended = hear_all(nodes, names, &mut stream, relay) => ended,
        () = nodes.failed.notified() => Err(Fault::Lost),
    }
}

async fn keep_beating(
    nodes: &Nodes,
    names: &Names,
    mut connection: MultiplexedConnection,
) -> Result<Infallible, Fault> {
    loop {
        tokio::time::sleep(BEAT).await;
        online::beat(nodes, names, &mut connection).await?;
    }
}

/// A connection that nobody speaks on may be at its end without that being noticed.
async fn keep_listening(mut sink: PubSubSink) -> Result<Infallible, Fault> {
    loop {
        tokio::time::sleep(BEAT).await;
        tokio::time::timeout(PONG, sink.ping::<redis::Value>()).await??;
    }
}

async fn hear_all(
    nodes: &Nodes,
    names: &Names,
    stream: &mut PubSubStream,
    relay: &Relay,
) -> Result<Infallible, Fault> {
    let mut heard = stream.map(|message| (message.get_channel_name().to_owned(), message));
    while let Some((channel, message)) = heard.next().await {
        nodes.metrics.hints_received.add(1);
        if let Some(channel) = names.parse(&channel) {
            hear::hear(nodes, relay, channel, message.get_payload_bytes()).await;
        }
    }
    Err(Fault::Lost)
}

async fn follow_interest(
    nodes: &Nodes,
    names: &Names,
    mut sink: PubSubSink,
    delivery: &Delivery,
) -> Result<Infallible, Fault> {
    loop {
        let changed = nodes.interest.changed().await;
        let (begun, over): (Vec<Topic>, Vec<Topic>) =
            changed.into_iter().partition(|topic| delivery.hub.serves(topic));
        for chunk in over.chunks(CHANNELS) {
            let channels: Vec<String> = chunk.iter().map(|topic| names.channel(*topic)).collect();
            tokio::time::timeout(PONG, sink.unsubscribe(channels)).await??;
        }
        subscribe(names, &mut sink, &begun).await?;
        // What came before the subscription was not heard.
        nodes.looks.ask(begun);
    }
}

async fn subscribe(names: &Names, sink: &mut PubSubSink, topics: &[Topic]) -> Result<(), Fault> {
    for chunk in topics.chunks(CHANNELS) {
        let channels: Vec<String> = chunk.iter().map(|topic| names.channel(*topic)).collect();
        tokio::time::timeout(PONG, sink.subscribe(channels)).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_while_connections_do_not_hold() {
        let (short, long) = (Some(Duration::from_millis(300)), Some(HELD));
        let mut pause = None;
        let mut pauses = Vec::new();
        for up in [
            None, short, short, short, short, short, short, short, short, short, None, long,
        ] {
            pause = Some(next_pause(pause, up));
            pauses.push(pause.unwrap().as_millis());
        }
        let grown = [
            100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 2_000, 100,
        ];
        assert_eq!(pauses, grown);
    }

    #[test]
    fn fault_says_the_servers_code_word_and_nothing_else_of_it() {
        for (answer, text) in [
            ("-OOM command not allowed\r\n", "OOM"),
            ("-NOPERM this user canary\r\n", "NOPERM"),
            ("-NOAUTH Authentication required.\r\n", "NOAUTH"),
            ("-canary words\r\n", "extension error"),
        ] {
            let value = redis::parse_redis_value(answer.as_bytes()).unwrap();
            let error = value.extract_error().unwrap_err();
            assert_eq!(Fault::from(error).to_string(), text);
        }
    }
}
