//! Agents that are written with other people's libraries: a script as a process of its own, which asks
//! its test for what an agent cannot do itself.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{clock::eventually, clock::within, program::tail_of};

/// How long a script may take to end once its output has.
const END: Duration = Duration::from_secs(10);
/// How long a script may take to answer a request.
const ANSWER: Duration = Duration::from_secs(60);
/// Begins a line of a script's output that asks for something.
const ASKS: &str = "> ";

/// A file below the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join(path)
}

/// A command for a tool that `scripts/setup` installs, with nothing of this process's environment but
/// `PATH` and the factor in `SLOW`.
///
/// # Errors
/// It is not installed.
pub fn tool(path: &str, folder: &Path) -> anyhow::Result<Command> {
    let program = repository(path);
    if !program.exists() {
        bail!("{path} is not there: run scripts/setup");
    }
    let mut command = Command::new(program);
    command.env_clear().env("HOME", folder);
    for name in ["PATH", "SLOW"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    Ok(command)
}

/// Kills the script when the test gives up.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Runs a script to its end, for at most `limit`, and does what it asks for; gives its output.
///
/// # Errors
/// It fails, or what it asks for does; the text has all that it said.
pub async fn run_script(
    mut command: Command,
    limit: Duration,
    act: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut script = Running(child);
    let errors = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        if let Some(stderr) = &mut stderr {
            // What was read before an error is all that there is to show.
            let _partial = stderr.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut said = String::new();
    let lines = follow(stdout.context("no standard output")?);
    let played = within(&name, limit, play(&mut script, lines, &mut said, act)).await;
    let ended = match played {
        Ok(Ok(())) => {
            let end = eventually("the script ends", END, async || Ok(script.0.try_wait()?));
            end.await.and_then(|status| {
                if status.success() {
                    Ok(())
                } else {
                    bail!("{name}: {status}")
                }
            })
        }
        Ok(Err(error)) | Err(error) => Err(error),
    };
    drop(script);
    let errors = errors.await?;
    ended.with_context(|| format!("{}\n{}", tail_of(&said), tail_of(&errors)))?;
    Ok(said)
}

/// The lines of a script, as they come.
fn follow(stdout: ChildStdout) -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Does what the script asks for until it says no more.
async fn play(
    script: &mut Running,
    mut lines: UnboundedReceiver<String>,
    said: &mut String,
    mut act: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while let Some(line) = lines.recv().await {
        said.push_str(&line);
        said.push('\n');
        if let Some(request) = line.strip_prefix(ASKS) {
            act(request)
                .await
                .with_context(|| format!("the script asks: {request}"))?;
            let stdin = script.0.stdin.as_mut().context("no standard input")?;
            stdin.write_all(b"done\n")?;
            stdin.flush()?;
        }
    }
    Ok(())
}

/// A script that answers requests: a line of JSON each way.
#[derive(Debug)]
pub struct Dialogue {
    script: Running,
    lines: UnboundedReceiver<String>,
}

impl Dialogue {
    /// Starts it; what it writes to standard error goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self {
            script: Running(child),
            lines: follow(stdout),
        })
    }

    /// Its answer to a request.
    ///
    /// # Errors
    /// It ends, does not answer within a minute, or not by JSON.
    pub async fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        let stdin = self.script.0.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{request}").with_context(|| format!("the script is gone before {request}"))?;
        let line = within(&format!("the answer to {request}"), ANSWER, self.lines.recv()).await?;
        let line = line.with_context(|| format!("the script ended at {request}"))?;
        serde_json::from_str(&line).with_context(|| format!("no answer to {request}: {line}"))
    }
}
