//! nostr-rs-relay as a target, on its SQLite, which does not flush at every commit. Events are signed before anything is measured.

use std::{cell::RefCell, fs, path::Path, rc::Rc};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Receiver, Sender, Target, Transport};
use crate::{
    process::{self, Server},
    programs,
    socket::Socket,
};

const SIGNING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/target/nostr.py");
/// Events that are signed for each recipient; more than are sent.
const EVENTS: usize = 750;

/// Frames that are left for each recipient.
type Events = Rc<RefCell<Vec<Vec<String>>>>;

/// A relay without accounts.
pub(crate) struct Nostr {
    server: Server,
    events: Events,
}

impl Target for Nostr {
    const NAME: &'static str = "nostr-rs-relay";
    type Sender = Author;
    type Receiver = Subscription;

    async fn start(folder: &Path, agents: usize) -> anyhow::Result<Self> {
        let address = process::free_address()?;
        let configuration = folder.join("nostr.toml");
        let (ip, port) = (address.ip(), address.port());
        fs::write(
            &configuration,
            format!("[network]\naddress = \"{ip}\"\nport = {port}\n"),
        )?;
        let mut command = programs::peer("nostr-rs-relay")?;
        command.arg("--db").arg(folder).arg("--config").arg(configuration);
        command.env("RUST_LOG", "error");
        Ok(Self {
            server: Server::start_at(&mut command, address, &folder.join("nostr.log")).await?,
            events: Rc::new(RefCell::new(signed(agents)?)),
        })
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<Author> {
        ensure!(
            transport == Transport::Socket,
            "there is no other way than a socket"
        );
        Ok(Author {
            socket: Socket::open(self.server.address, "/", None).await?,
            events: Rc::clone(&self.events),
        })
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<Subscription> {
        let mut socket = Socket::open(self.server.address, "/", None).await?;
        let wanted = json!(["REQ", "bench", {"#p": [format!("{agent:064x}")]}]);
        socket.say(wanted.to_string()).await?;
        while !socket.next().await?.starts_with(b"[\"EOSE\"") {}
        Ok(Subscription(socket))
    }
}

fn signed(recipients: usize) -> anyhow::Result<Vec<Vec<String>>> {
    let events = recipients * EVENTS;
    let mut command = programs::peer("python")?;
    let arguments = [recipients.to_string(), events.to_string()];
    let output = command.args(["-B", SIGNING]).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "no events: {}",
        process::last_line(&said)
    );
    let mut signed = vec![Vec::with_capacity(EVENTS); recipients];
    for (number, event) in str::from_utf8(&output.stdout)?.lines().enumerate() {
        signed[number % recipients].push(event.to_owned());
    }
    Ok(signed)
}

/// A connection that sends.
pub(crate) struct Author {
    socket: Socket,
    events: Events,
}

impl Sender for Author {
    /// Tags would have to be signed; nobody asks for them where throughput is measured.
    async fn send(&mut self, to: usize, _tag: u64) -> anyhow::Result<()> {
        let event = self.events.borrow_mut()[to].pop();
        self.socket.say(event.context("no signed event is left")?).await?;
        let answer = self.socket.next().await?;
        let answer = str::from_utf8(&answer)?;
        ensure!(
            answer.starts_with("[\"OK\"") && answer.contains(",true,"),
            "refused: {answer}"
        );
        Ok(())
    }
}

/// A connection that is pushed what comes for one recipient. There are no acks.
pub(crate) struct Subscription(Socket);

impl Receiver for Subscription {
    async fn next(&mut self) -> anyhow::Result<u64> {
        while !self.0.next().await?.starts_with(b"[\"EVENT\"") {}
        Ok(0)
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
