//! The program's commands. Each prints its result on standard output and everything else on
//! standard error; a refusal is one line with its causes and exit status 1 (2 for wrong usage).

mod address;
mod audit;
mod backup;
mod channel;
mod client;
mod group;
mod hook;
mod init;
mod live;
mod logging;
mod new_identity;
mod pages;
mod passphrase;
mod people;
mod print;
mod qr;
mod recover;
mod restore;
mod rotate_now;
mod run;
mod secrets;
mod succession;
mod take_over;
mod trust;
mod undo;
mod vectors;
mod webhook;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::{harden, keystore::UnlockSources, rng::OsRng};

/// Owns an agent's keys, seals and opens its messages, and serves it plaintext REST on localhost.
#[derive(Debug, Parser)]
#[command(name = "waxwire-proxy", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    log: logging::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, pin the relay, register a handle and write the state folder.
    Init(init::InitArgs),
    /// Serve the local API.
    Run(run::RunArgs),
    /// Write a sealed backup of keys and state; the proxy may be running.
    Backup(backup::BackupArgs),
    /// Restore an agent from a backup into an empty state folder, as its live instance.
    Restore(restore::RestoreArgs),
    /// Make the agent in this state folder the live instance, after another one was.
    TakeOver(take_over::TakeOverArgs),
    /// Make a new identity for a handle whose keys are lost, by its recovery key.
    Recover(recover::RecoverArgs),
    /// Go on with a new identity; the old one signs for it and is destroyed. The proxy must not be running.
    NewIdentity(new_identity::NewIdentityArgs),
    /// Seal the key store under another passphrase or key file.
    Passphrase(passphrase::PassphraseArgs),
    /// Tell whether the running proxy can do its work; exit status 1 if not.
    Status(people::StatusArgs),
    /// Send a message.
    Send(people::SendArgs),
    /// List what came in, newest first.
    Inbox(people::InboxArgs),
    /// Groups, their members and invites.
    Group(group::GroupArgs),
    /// Named channels: groups that are found by a slug.
    Channel(channel::ChannelArgs),
    /// Show the keys of peers, compare them and decide on them; files of pins.
    Trust(trust::TrustArgs),
    /// Read the relay's transparency log and tell what does not hold; exit status 1 if anything does not.
    Audit(audit::AuditArgs),
    /// Publish a new encryption key and replace the key of every group, now; exit status 1 if one is not yet.
    RotateNow(rotate_now::RotateNowArgs),
    /// Receivers on this host that are called when something happens.
    Webhook(webhook::WebhookArgs),
    /// Replay test vectors.
    Vectors(vectors::VectorsArgs),
    #[command(flatten)]
    Pages(pages::PagesCommand),
}

/// Where the agent's state is and what unlocks it.
#[derive(Debug, Args)]
struct StateArgs {
    /// Folder of the agent's keys and messages.
    #[arg(long, env = "WAXWIRE_PROXY_STATE", value_name = "DIR")]
    state: PathBuf,
    /// File with the passphrase of the key store, in one line.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_PASSPHRASE_FILE",
        value_name = "FILE",
        conflicts_with = "key_file"
    )]
    passphrase_file: Option<PathBuf>,
    /// File with the key of the key store; made by init if it is missing.
    #[arg(long, env = "WAXWIRE_PROXY_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl StateArgs {
    fn unlock_sources(&self) -> UnlockSources {
        UnlockSources {
            passphrase_file: self.passphrase_file.clone(),
            key_file: self.key_file.clone(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

/// Parses the command line and carries it out.
///
/// # Errors
/// Whatever stops the command, with its causes; printed once, by `main`.
pub fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let traces = match &cli.command {
        Command::Run(args) => args.traces()?,
        _ => None,
    };
    cli.log.start(traces.as_ref());
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args, traces),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::TakeOver(args) => take_over::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::NewIdentity(args) => new_identity::run(&args),
        Command::Passphrase(args) => passphrase::run(&args),
        Command::Status(args) => people::status(&args),
        Command::Send(args) => people::send(&args),
        Command::Inbox(args) => people::inbox(&args),
        Command::Group(args) => group::run(&args),
        Command::Channel(args) => channel::run(&args),
        Command::Trust(args) => trust::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::RotateNow(args) => rotate_now::run(&args),
        Command::Webhook(args) => webhook::run(&args),
        Command::Vectors(args) => vectors::run(&args),
        Command::Pages(command) => pages::run(command, Cli::command()),
    }
}

/// Runs the work of a command that holds keys and speaks with the relay, in a process that is closed to others first.
fn with_keys<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    harden::harden()?;
    OsRng::check()?;
    one_thread()?.block_on(work)
}

/// A runtime without threads of its own.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
