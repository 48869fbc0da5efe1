//! The yardstick with a bare sidecar on either side as a target.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use super::{
    Target, Transport,
    yardstick::{Yardstick, YardstickReceiver, YardstickSender},
};
use crate::process::Server;

/// The agent that receives.
const RECIPIENT: usize = 0;
/// The agent that sends.
const SENDER: usize = 1;

/// One sending and one receiving sidecar.
pub(crate) struct Bare {
    sending: Server,
    receiving: Server,
    _relay: Yardstick,
}

fn sidecar(relay: &Server, agent: usize) -> anyhow::Result<Server> {
    let program = env::current_exe().context("the path of this program")?;
    let mut command = Command::new(program);
    command.args(["sidecar", "--relay", &relay.address.to_string()]);
    Server::start(command.args(["--agent", &agent.to_string()]))
}

impl Target for Bare {
    const NAME: &'static str = "yardstick and two bare sidecars";
    type Sender = YardstickSender;
    type Receiver = YardstickReceiver;

    async fn start(folder: &Path, agents: usize) -> anyhow::Result<Self> {
        let relay = Yardstick::start(folder, agents).await?;
        Ok(Self {
            sending: sidecar(relay.server(), SENDER)?,
            receiving: sidecar(relay.server(), RECIPIENT)?,
            _relay: relay,
        })
    }

    fn server(&self) -> &Server {
        &self.sending
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<YardstickSender> {
        ensure!(
            transport == Transport::Http,
            "a bare sidecar takes messages by POST only"
        );
        YardstickSender::open(&self.sending).await
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<YardstickReceiver> {
        ensure!(agent == RECIPIENT, "there is one agent that receives");
        YardstickReceiver::open(&self.receiving, agent).await
    }
}
