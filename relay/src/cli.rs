//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use waxwire_outbound::{
    logs::{LogFilter, LogFormat},
    traces::Collector,
};
use waxwire_shared::{api::rest::Registration, ids::Handle};

use crate::{
    blobs::Place, config::Listen, hooks::HookAllow, limits::DEFAULT_TIER, snowflake::WorkerId,
    transparency::Switch,
};

/// Stores and routes ciphertext between agents.
#[derive(Debug, Parser)]
#[command(name = "waxwire-relay", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves agents until it is told to stop.
    Serve(Box<ServeArgs>),
    /// Creates the database or brings its schema up to date, then ends.
    Migrate(DatabaseArgs),
    /// Looks after the agents of this relay, also while it serves.
    Admin {
        /// Which database.
        #[command(flatten)]
        database: DatabaseArgs,
        /// What to do there.
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Prints the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Writes the manual pages into a folder
    Man {
        /// The folder, which is made if it is missing
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Where the database is.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// The relay's database: sqlite://PATH or postgres://... [default: sqlite://waxwire-relay.db]
    #[arg(long, value_name = "URL", env = "WAXWIRE_DATABASE_URL", global = true)]
    pub database: Option<String>,
    /// A TOML file with the same keys as the flags of serve
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_CONFIG", global = true)]
    pub config: Option<PathBuf>,
}

/// What an administrator can do.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Prints the fingerprint of the relay's identity, which agents pin
    Fingerprint,
    /// Lists the agents: handle, agent id, organisation, registered, state
    Agents,
    /// Shuts an agent out until it is unsuspended; nothing of it is deleted
    Suspend {
        /// The agent
        handle: Handle,
    },
    /// Ends a suspension
    Unsuspend {
        /// The agent
        handle: Handle,
    },
    /// Takes an agent's API key away; it can get another by proving its identity
    Revoke {
        /// The agent
        handle: Handle,
    },
    /// Lists the organisations: name, tier, how many agents
    Orgs,
    /// Makes an organisation, or gives one another tier
    Org {
        /// The organisation
        name: OrgName,
        /// Its tier: `default`, or a table [tiers.NAME] of the configuration file, where --config has it looked up
        #[arg(long, default_value = DEFAULT_TIER)]
        tier: OrgName,
    },
    /// Moves an agent into an organisation
    Move {
        /// The agent
        handle: Handle,
        /// The organisation
        org: OrgName,
    },
    /// Lists the agents whose hooks were called in vain, or has one called again
    DeadLetters {
        /// The agent whose hook to call again
        #[arg(long, value_name = "HANDLE")]
        redeliver: Option<Handle>,
    },
    /// Copies the database and its attachments into a new folder, also while the relay serves; SQLite only.
    /// The copy holds the relay's signing key: keep it as closed as the database
    Backup {
        /// The folder, which is made
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The folder of attachments, if it is not the one beside the database
        #[arg(long, value_name = "DIR", env = "WAXWIRE_RELAY_BLOBS")]
        blobs: Option<PathBuf>,
    },
    /// Tells agents, from the next start of the relay on, that this database was set back to an earlier state.
    /// Copies by `admin backup` and databases on another PostgreSQL do so by themselves
    Restored,
    /// Prints new invite codes, each good for one registration
    Invite {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// For how many days they can be used
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: u16,
    },
}

/// The name of an organisation or tier: 1 to 64 letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgName(pub String);

/// Text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 letters, digits, '-', '_' and '.'")]
pub struct OrgNameError;

impl std::str::FromStr for OrgName {
    type Err = OrgNameError;

    fn from_str(text: &str) -> Result<Self, OrgNameError> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(is_fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OrgNameError)
        }
    }
}

/// Settings of `serve`. A flag wins over its environment variable, that over the configuration
/// file, that over the default.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// A TOML file with the same keys as these flags, and `[limits]`
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where to listen: HOST:PORT (port 0 is any free one) or unix:PATH [default: 127.0.0.1:7600]
    #[arg(long, value_name = "ADDRESS", env = "WAXWIRE_RELAY_LISTEN")]
    pub listen: Option<Listen>,
    /// The database: sqlite://PATH, or postgres://... with no password on the command line [default: sqlite://waxwire-relay.db]
    #[arg(long, value_name = "URL", env = "WAXWIRE_DATABASE_URL")]
    pub database: Option<String>,
    /// Where attachments are: a folder, which is made if it is missing, or a bucket in a store that speaks S3
    /// [default: a folder, the database's file with -blobs after its name; waxwire-relay-blobs with PostgreSQL]
    #[arg(long, value_name = "DIR|s3://BUCKET[/PREFIX]", env = "WAXWIRE_RELAY_BLOBS")]
    pub blobs: Option<Place>,
    /// With a bucket: folder of the uploads under way [default: as for attachments without a bucket]
    #[arg(long, value_name = "DIR", env = "WAXWIRE_RELAY_BLOBS_SPOOL")]
    pub blobs_spool: Option<PathBuf>,
    /// URL of the store with the bucket [default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else AWS itself]
    #[arg(long, value_name = "URL", env = "WAXWIRE_RELAY_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket [default: AWS_REGION or AWS_DEFAULT_REGION, else us-east-1]
    #[arg(long, value_name = "REGION", env = "WAXWIRE_RELAY_S3_REGION")]
    pub s3_region: Option<String>,
    /// The bucket is part of the host's name, which a URL given here has in it; otherwise it is part of the path
    #[arg(long, env = "WAXWIRE_RELAY_S3_VIRTUAL_HOST")]
    pub s3_virtual_host: bool,
    /// File with what opens the bucket, in the form of ~/.aws/credentials, [default] of it; only its owner may
    /// read it [default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the role of this machine]
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_S3_CREDENTIALS_FILE")]
    pub s3_credentials_file: Option<PathBuf>,
    /// Redis, by which relays on one PostgreSQL database hear of each other: redis://... or rediss://..., with no
    /// password on the command line; without it the relay is the only one
    #[arg(long, value_name = "URL", env = "WAXWIRE_REDIS_URL")]
    pub redis: Option<String>,
    /// Number of this process in the ids that it makes, 0 to 1023 [default: the first that no other relay on the
    /// database has]
    #[arg(long, value_name = "NUMBER", env = "WAXWIRE_RELAY_WORKER_ID")]
    pub worker_id: Option<WorkerId>,
    /// Under which URL agents reach this relay; shown with the fingerprint at start
    #[arg(long, value_name = "URL", env = "WAXWIRE_RELAY_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Certificate chain in PEM; with it and --tls-key the relay speaks HTTPS
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Who may register: open, invite or closed [default: open on loopback, else invite]
    #[arg(long, value_name = "MODE", env = "WAXWIRE_RELAY_REGISTRATION", value_parser = registration)]
    pub registration: Option<Registration>,
    /// File with the master key of the administration API, at least 32 characters; without it there
    /// is no such API
    #[arg(long, value_name = "FILE", env = "WAXWIRE_RELAY_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Where to serve Prometheus metrics: HOST:PORT or unix:PATH; without it nowhere
    #[arg(long, value_name = "ADDRESS", env = "WAXWIRE_RELAY_METRICS_LISTEN")]
    pub metrics_listen: Option<Listen>,
    /// A host, one port of it, or a network (ADDRESS/BITS) whose hooks may be called although they are not
    /// public, and without TLS; may be given more than once
    #[arg(
        long,
        value_name = "HOST[:PORT]|NETWORK",
        env = "WAXWIRE_RELAY_HOOK_ALLOW",
        value_delimiter = ','
    )]
    pub hook_allow: Vec<HookAllow>,
    /// Whether bundles go into a transparency log, which agents check [default: on]
    #[arg(
        long,
        value_name = "on|off",
        env = "WAXWIRE_RELAY_TRANSPARENCY",
        hide_possible_values = true
    )]
    pub transparency: Option<Switch>,
    /// A collector that is told on what time is spent: OTLP as JSON, as at http://127.0.0.1:4318/v1/traces
    #[arg(long, value_name = "URL", env = "WAXWIRE_RELAY_TRACES")]
    pub traces: Option<Collector>,
    /// What to log: a level, or target=level pairs [default: info]
    #[arg(long, value_name = "FILTER", env = "WAXWIRE_LOG")]
    pub log: Option<LogFilter>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", env = "WAXWIRE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

fn registration(text: &str) -> Result<Registration, String> {
    match text {
        "open" => Ok(Registration::Open),
        "invite" => Ok(Registration::Invite),
        "closed" => Ok(Registration::Closed),
        _ => Err("expected open, invite or closed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
