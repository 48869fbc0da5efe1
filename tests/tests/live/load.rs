//! Many senders and sockets, while sockets break off and proxies are killed: every 201 reaches the
//! agent, in order, and never again after its ack.
//!
//! The short variant runs with every test; in `make soak`, or with `SOAK_SECONDS=60`, it goes on for
//! a minute. `SEED=n` repeats the choices, not the timing within the programs.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use waxwire_tests::{
    Agent, Message, Proxy, Socket,
    history::{History, Lane, Moment},
    lane::{Dice, number},
    patience, scenario_within, within,
};

const HANDLES: [&str; 8] = [
    "anna", "boris", "clara", "david", "elena", "frank", "grete", "hugo",
];
/// Senders and sockets of each agent.
const EACH: usize = 8;
const SHORT: Duration = Duration::from_secs(12);
const LONG: Duration = Duration::from_secs(60);
/// What a sender waits between two messages.
const PAUSE: Duration = Duration::from_millis(50);

/// What one socket of an agent is told: numbers of a conversation grow.
struct Listener {
    agent: Agent,
    history: History,
    opened: Moment,
    socket: Socket,
    last: HashMap<String, u64>,
}

impl Listener {
    async fn open(agent: &Agent, history: &History) -> anyhow::Result<Self> {
        let opened = history.now();
        Ok(Self {
            socket: agent.socket(true).await?,
            agent: agent.clone(),
            history: history.clone(),
            opened,
            last: HashMap::new(),
        })
    }

    /// Notes what a frame tells; gives the message if it is from somebody else.
    fn note(&mut self, mut frame: Value) -> anyhow::Result<Option<Message>> {
        if frame["type"] != "message.new" {
            return Ok(None);
        }
        let message: Message = serde_json::from_value(frame["payload"].take())?;
        let before = self.last.insert(message.conversation_id.clone(), message.seq);
        ensure!(
            before.is_none_or(|before| before < message.seq),
            "{} was told number {} of a conversation after {before:?}",
            self.agent.handle(),
            message.seq
        );
        if message.sender == self.agent.handle() {
            return Ok(None);
        }
        self.history
            .synced(self.agent.handle(), self.opened, std::slice::from_ref(&message));
        Ok(Some(message))
    }

    /// Looks whether an ack was taken, and notes it then.
    async fn confirm(&mut self, message: &Message) -> anyhow::Result<()> {
        let query = format!("after_seq={}&limit=1", message.seq - 1);
        for _ in 0..20 {
            let rows = self.agent.history(&message.conversation_id, &query).await?;
            if rows
                .iter()
                .any(|row| row.id == message.id && row.delivered_at.is_some())
            {
                self.history
                    .acked(self.agent.handle(), std::slice::from_ref(message));
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Listens for a while, or until the socket breaks; acknowledges most of what comes.
    async fn listen(&mut self, length: Duration, dice: &mut Dice) -> anyhow::Result<()> {
        let until = Instant::now() + length;
        while let Ok(Ok(frame)) = timeout_at(until, self.socket.receive()).await {
            let Some(message) = self.note(frame)? else {
                continue;
            };
            if dice.roll(5) == 0 {
                continue;
            }
            if self.socket.ack(&message.id).await.is_err() {
                break;
            }
            if dice.roll(20) == 0 && self.confirm(&message).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Opens one socket after the other until the end; most of them break off.
async fn listener(
    agent: Agent,
    history: History,
    mut dice: Dice,
    ended: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    while !*ended.borrow() {
        let Ok(mut listener) = Listener::open(&agent, &history).await else {
            // The proxy is down, or the socket before has still its place.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let length = Duration::from_millis(100 + dice.roll(4_000));
        listener.listen(length, &mut dice).await?;
        if dice.roll(3) == 0 {
            // It may be broken.
            drop(listener.socket.close().await);
        }
    }
    Ok(())
}

/// Takes and acknowledges what is left, until nothing is missing.
async fn take_the_rest(agent: &Agent, history: &History) -> anyhow::Result<()> {
    agent.until_ready().await?;
    let mut listener = Listener::open(agent, history).await?;
    loop {
        match timeout(Duration::from_secs(1), listener.socket.receive()).await {
            Ok(frame) => {
                if let Some(message) = listener.note(frame?)? {
                    listener.socket.ack(&message.id).await?;
                }
            }
            Err(_) if history.missing(agent.handle()) == 0 => return listener.socket.close().await,
            Err(_) => {}
        }
    }
}

/// Kills, stops and cuts off proxies until the time is over; then all run.
async fn chaos(proxies: &mut [Proxy], length: Duration, dice: &mut Dice) -> anyhow::Result<usize> {
    let until = Instant::now() + length;
    let mut count = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(100 + dice.roll(700))).await;
        let chosen = usize::try_from(dice.roll(proxies.len() as u64))?;
        let proxy = proxies.get_mut(chosen).context("a proxy")?;
        match dice.roll(4) {
            0 | 1 => proxy.crash().await?,
            2 => {
                ensure!(
                    proxy.terminate().await?.success(),
                    "{} did not stop in order",
                    proxy.handle()
                );
                proxy.start().await?;
            }
            _ => proxy.tap().cut(),
        }
        count += 1;
    }
    Ok(count)
}

async fn run_all(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(())
}

/// C1, F5: what was answered 201 is told, over sockets.
#[test]
fn accepted_messages_reach_sockets_in_order_and_not_after_their_ack() {
    let soak = std::env::var_os("WAXWIRE_SOAK").map_or(SHORT, |_| LONG);
    let length = number("SOAK_SECONDS").map_or(soak, Duration::from_secs);
    scenario_within(length + patience(Duration::from_secs(240)), async |world| {
        let seed = Dice::seed()?;
        let mut dice = Dice::new(seed);
        let relay = world.relay().await?;
        let mut proxies = Vec::new();
        for handle in HANDLES {
            let mut proxy = world.new_proxy(&relay, handle).await?;
            proxy.log_level("info");
            // One may have broken off without the proxy's having seen it.
            proxy.arguments(["--max-sockets", "16"]);
            proxy.init().await?;
            proxy.start().await?;
            proxies.push(proxy);
        }
        let agents: Vec<Agent> = proxies.iter().map(Proxy::agent).collect::<Result<_, _>>()?;
        let history = History::default();
        let (end, ended) = watch::channel(false);
        let (mut lanes, mut listeners) = (JoinSet::new(), JoinSet::new());
        for (index, agent) in agents.iter().enumerate() {
            agent.until_ready().await?;
            for number in 0..EACH {
                let to = &agents[(index + 1 + number % (agents.len() - 1)) % agents.len()];
                let lane = Lane {
                    from: agent.handle().to_owned(),
                    to: to.handle().to_owned(),
                    number,
                };
                lanes.spawn(lane.run(agent.clone(), history.clone(), PAUSE, ended.clone()));
                let own = Dice::new(dice.roll(u64::MAX));
                listeners.spawn(listener(agent.clone(), history.clone(), own, ended.clone()));
            }
        }
        let disturbed = chaos(&mut proxies, length, &mut dice)
            .await
            .with_context(|| format!("SEED={seed}"))?;
        end.send_replace(true);
        let finished = async {
            run_all(lanes).await?;
            run_all(listeners).await?;
            for agent in &agents {
                take_the_rest(agent, &history).await?;
            }
            anyhow::Ok(())
        };
        let finished = within("everything is told", Duration::from_secs(150), finished)
            .await
            .and_then(|done| done);
        let summary = format!(
            "SEED={seed}, {} accepted, {disturbed} disturbances",
            history.len()
        );
        println!("{summary}");
        let violations = history.violations();
        ensure!(
            violations.is_empty(),
            "{summary}: {:#?}",
            &violations[..violations.len().min(20)]
        );
        finished.with_context(|| summary.clone())?;
        ensure!(
            history.len() > 200 && disturbed > 0,
            "hardly anything happened: {summary}"
        );
        for agent in &agents {
            ensure!(
                agent.sync().await?.is_empty(),
                "{} has not settled all",
                agent.handle()
            );
        }
        Ok(())
    });
}
