//! A program under test as a process: output in files, killed when dropped, never waited for
//! without a limit.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, Write as _},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::clock::{eventually, patience};

/// How long a program may take to say where it listens.
const READY: Duration = Duration::from_secs(20);

/// Where a program listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads what follows `listening on ` in a program's output.
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("http://").or(text.strip_prefix("https://"))?;
        address.trim_end_matches('/').parse().ok().map(Self::Tcp)
    }
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    address: Address,
}

/// How a program ended that was run to its end.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Requires success.
    ///
    /// # Errors
    /// It failed; the text has its standard error.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}: {}", self.status, self.stderr.trim());
    }

    /// Requires an ordinary failure: an exit status of its own, a reason on standard error, no panic.
    /// Gives the reason.
    ///
    /// # Errors
    /// It succeeded, was killed, panicked or gave no reason.
    pub fn refusal(self) -> anyhow::Result<String> {
        let ordinary = self.status.code().is_some_and(|code| code != 0 && code != 101);
        if !ordinary || self.stderr.contains("panicked") || self.stderr.trim().is_empty() {
            bail!("no refusal with a reason but {}: {}", self.status, self.stderr);
        }
        Ok(self.stderr)
    }
}

/// Runs a command to its end, for at most `limit`.
///
/// # Errors
/// It cannot be started or does not end in time; it is killed then.
pub async fn run(mut command: Command, limit: Duration) -> anyhow::Result<Finished> {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = tokio::task::spawn_blocking(move || read_all(stdout));
    let stderr = tokio::task::spawn_blocking(move || read_all(stderr));
    let status = wait(&mut child, &name, limit).await;
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (stdout, stderr) = (stdout.await?, stderr.await?);
    let status = status.with_context(|| format!("output: {stdout}\n{stderr}"))?;
    Ok(Finished {
        status,
        stdout,
        stderr,
    })
}

fn read_all(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is all that there is to show.
        let _partial = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn wait(child: &mut Child, name: &str, limit: Duration) -> anyhow::Result<ExitStatus> {
    eventually(&format!("{name} ends"), limit, async || Ok(child.try_wait()?)).await
}

impl Program {
    /// Starts the command and waits for its line `listening on ...`. All its output is appended to
    /// `log`.
    ///
    /// # Errors
    /// It cannot be started, ends before that line or does not say it in time.
    pub async fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = append(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (said, heard) = oneshot::channel();
        std::thread::spawn(move || follow(BufReader::new(stdout), file, said));
        let address = match tokio::time::timeout(patience(READY), heard).await {
            Ok(Ok(address)) => address,
            outcome => {
                let late = outcome.is_err();
                child.kill()?;
                let status = child.wait()?;
                let why = if late { "in time" } else { "before it ended" };
                bail!(
                    "{name} did not say where it listens {why} ({status}):\n{}",
                    tail(log)
                );
            }
        };
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// `kill -9`: gone when this returns.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and returns at once.
    ///
    /// # Errors
    /// The system refuses.
    pub fn signal_terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops it for a while, as a machine does that has no time for it.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn pause(&self, length: Duration) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        tokio::time::sleep(length).await;
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(id.context("a process id")?, signal)?)
    }

    /// Waits until it ends, for at most `limit`.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        wait(&mut self.child, &self.name, limit).await
    }

    /// SIGTERM, and the exit status within ten seconds.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        self.signal_terminate()?;
        self.ended(Duration::from_secs(10)).await
    }

    /// Waits until a fault point ends it.
    ///
    /// # Errors
    /// It does not end in time, or otherwise than by the fault point.
    pub async fn aborted(&mut self, limit: Duration) -> anyhow::Result<()> {
        const SIGABRT: i32 = 6;
        let status = self
            .ended(limit)
            .await
            .context("is the proxy built with the feature fault-points?")?;
        if status.signal() != Some(SIGABRT) {
            bail!("{} ended otherwise: {status}\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn append(log: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.with_context(|| format!("cannot write {}", log.display()))
}

/// Copies a program's output to its log and says where it listens once it is said.
fn follow(stdout: impl std::io::BufRead, mut log: File, said: oneshot::Sender<Address>) {
    let mut said = Some(said);
    for line in stdout.lines() {
        let Ok(line) = line else { return };
        // A log that cannot be written is shown as far as it goes.
        let _shown = writeln!(log, "{line}");
        if let Some(address) = line.strip_prefix("listening on ").and_then(Address::parse)
            && let Some(said) = said.take()
        {
            // Whoever waited may have given up.
            let _late = said.send(address);
        }
    }
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    tail_of(&String::from_utf8_lossy(&text))
}

/// The last lines of a text.
#[must_use]
pub fn tail_of(text: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
