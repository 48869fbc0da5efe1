//! What people read: numbered steps, facts below them, no colours unless it is a terminal.

use std::{
    cell::Cell,
    io::{IsTerminal as _, Write as _},
};

/// Writes the transcript on standard output.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    steps: Cell<usize>,
}

impl Transcript {
    /// The first line.
    pub(crate) fn title(&self, text: &str) -> anyhow::Result<()> {
        self.line(&self.bold(text))
    }

    /// Begins the next step.
    pub(crate) fn step(&self, text: &str) -> anyhow::Result<()> {
        self.steps.set(self.steps.get() + 1);
        self.line("")?;
        self.line(&self.bold(&format!("{}. {text}", self.steps.get())))
    }

    /// A fact with its name.
    pub(crate) fn fact(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.line(&format!("   {name:<12} {value}"))
    }

    /// Something that was checked and holds.
    pub(crate) fn holds(&self, text: &str) -> anyhow::Result<()> {
        let mark = if self.is_plain() {
            "ok"
        } else {
            "\x1b[32mok\x1b[0m"
        };
        self.line(&format!("   {mark} {text}"))
    }

    /// A line as it is.
    pub(crate) fn line(&self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    /// The reason why the transcript ends early.
    pub(crate) fn failure(&self, error: &anyhow::Error) {
        // Nothing more can be done for whoever closed both streams.
        let _closed = self.line("");
        let _closed = writeln!(std::io::stderr(), "FAILED: {error:#}");
    }

    fn bold(&self, text: &str) -> String {
        if self.is_plain() {
            text.to_owned()
        } else {
            format!("\x1b[1m{text}\x1b[0m")
        }
    }

    fn is_plain(&self) -> bool {
        std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal()
    }
}
