//! Throw-away servers, by a script of `scripts/` that starts one and does as it is told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, ensure};

/// A server. It ends with the process that started it, and cleans up.
#[derive(Debug)]
pub(crate) struct Throwaway {
    url: String,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    name: &'static str,
    child: Child,
    /// Its end is the end of the server.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let commands = self.commands.as_mut().context("the server has ended")?;
        writeln!(commands, "{command}")?;
        commands.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "scripts/{} ended, and says why", self.name);
        Ok(line.trim_end().to_owned())
    }
}

impl Throwaway {
    /// A new one, by the script of this name.
    ///
    /// # Errors
    /// It does not start; `scripts/setup` installs what it needs.
    pub(crate) fn start(name: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/{}"), name);
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("scripts/{name}"))?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let mut script = Script {
            name,
            child,
            commands,
            answers: BufReader::new(answers.context("standard output")?),
        };
        let answer = script.answer()?;
        let url = answer.strip_prefix("ready ").context("an unknown answer")?;
        Ok(Self {
            url: url.to_owned(),
            script: Mutex::new(script),
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `kill -9` of all of it.
    ///
    /// # Errors
    /// Its script has ended.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        let answer = self.ask("kill")?;
        ensure!(answer == "killed", "answered {answer}");
        Ok(())
    }

    /// Starts it again on what is left.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn revive(&self) -> anyhow::Result<()> {
        let answer = self.ask("start")?;
        ensure!(answer.starts_with("ready "), "answered {answer}");
        Ok(())
    }

    /// Lets none of its processes run, or all of them again.
    ///
    /// # Errors
    /// Its script has ended.
    pub(crate) fn pause(&self, paused: bool) -> anyhow::Result<()> {
        let (command, expected) = if paused {
            ("pause", "paused")
        } else {
            ("resume", "resumed")
        };
        let answer = self.ask(command)?;
        ensure!(answer == expected, "answered {answer}");
        Ok(())
    }

    fn ask(&self, command: &str) -> anyhow::Result<String> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.ask(command)
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let script = self.script.get_mut().unwrap_or_else(PoisonError::into_inner);
        script.commands = None;
        // It cleans up by itself whether anybody waits or not.
        let _status = script.child.wait();
    }
}
