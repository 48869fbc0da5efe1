//! P9: memory of crypto proxies, at rest and after many messages, and what a message costs them.
//!
//! A relay and two proxies as processes of their own; one agent sends over several connections at the
//! same time, the other's proxy opens and stores what comes.

use std::{
    fs,
    io::{Write as _, stdout},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::{
    runtime,
    task::{LocalSet, spawn_local},
};

use crate::{clock, http_client::Connection, process::Server, target::relay::LIMITS};

/// Sends that wait for their answers at the same time.
const IN_FLIGHT: usize = 64;
/// Characters of each message.
const TEXT: usize = 500;
/// How long a proxy is left alone before it counts as idle.
const REST: Duration = Duration::from_secs(3);
/// Bytes in a mebibyte.
const MIB: f64 = 1_048_576.0;

/// Command line of the measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Messages from one agent to the other.
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
}

/// A running proxy with an agent's credentials.
struct Sidecar {
    server: Server,
    headers: Rc<str>,
}

/// Measures and prints.
///
/// # Errors
/// A program did not start, or a message was refused.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let programs = std::env::current_exe()?;
    let programs = programs.parent().context("the folder of this program")?;
    let files = tempfile::tempdir()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = measure(programs, files.path(), options.messages);
    runtime.block_on(LocalSet::new().run_until(measured))
}

async fn measure(programs: &Path, files: &Path, messages: usize) -> anyhow::Result<()> {
    let relay = relay(programs, files)?;
    let url = format!("http://{}", relay.address);
    let alice = Sidecar::start(programs, files, &url, "alice")?;
    let bob = Sidecar::start(programs, files, &url, "bob")?;
    tokio::time::sleep(REST).await;
    print("relay, idle", &relay)?;
    print("proxy, idle", &alice.server)?;
    let begin = clock::now();
    alice.send_all(messages).await?;
    let rate = messages as f64 / begin.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    print(&format!("relay, after {messages} messages"), &relay)?;
    print(&format!("proxy that sent {messages} messages"), &alice.server)?;
    print(&format!("proxy that received {messages} messages"), &bob.server)?;
    writeln!(stdout(), "{rate:.0} messages a second")?;
    Ok(())
}

fn print(what: &str, server: &Server) -> anyhow::Result<()> {
    let (memory, cpu) = (server.memory()? as f64 / MIB, server.cpu_seconds()?);
    writeln!(stdout(), "{what:<40} {memory:>6.1} MiB {cpu:>7.2} s of CPU")?;
    Ok(())
}

fn relay(programs: &Path, files: &Path) -> anyhow::Result<Server> {
    let database = format!("sqlite://{}", files.join("relay.db").display());
    let mut command = Command::new(programs.join("waxwire-relay"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
    let limits = files.join("relay.toml");
    fs::write(&limits, LIMITS)?;
    command.arg("--config").arg(&limits);
    Server::start(command.args(["--database", &database]))
}

impl Sidecar {
    fn start(programs: &Path, files: &Path, relay: &str, handle: &str) -> anyhow::Result<Self> {
        let state = files.join(handle);
        let proxy = |verb: &str| {
            let mut command = Command::new(programs.join("waxwire-proxy"));
            // The load is one text over and over.
            command.env("WAXWIRE_PROXY_DUPLICATES", "0");
            command.arg(verb).args(["--log", "warn", "--state"]).arg(&state);
            command.arg("--key-file").arg(files.join(format!("{handle}.key")));
            command
        };
        let mut init = proxy("init");
        init.args(["--relay", relay, "--handle", handle])
            .stdout(Stdio::null());
        ensure!(init.status()?.success(), "waxwire-proxy init of {handle} failed");
        let server = Server::start(proxy("run").args(["--listen", "127.0.0.1:0"]))?;
        let token = fs::read_to_string(state.join("token")).context("the token")?;
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: application/json\r\n",
            token.trim()
        );
        Ok(Self {
            server,
            headers: headers.into(),
        })
    }

    async fn send_all(&self, messages: usize) -> anyhow::Result<()> {
        let senders: Vec<_> = (0..IN_FLIGHT)
            .map(|first| {
                let ids = (first..messages).step_by(IN_FLIGHT);
                spawn_local(send(self.server.address, Rc::clone(&self.headers), ids))
            })
            .collect();
        for sender in senders {
            sender.await??;
        }
        Ok(())
    }
}

async fn send(proxy: SocketAddr, headers: Rc<str>, ids: impl Iterator<Item = usize>) -> anyhow::Result<()> {
    let mut connection = Connection::open(proxy).await?;
    let text = "x".repeat(TEXT);
    for id in ids {
        let body = serde_json::json!({
            "to": "bob",
            "client_msg_id": id.to_string(),
            "content": {"text": text},
        });
        let answer = connection
            .post("/v1/messages", &headers, body.to_string().as_bytes())
            .await?;
        let problem = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == 201, "status {}: {problem}", answer.status);
    }
    Ok(())
}
