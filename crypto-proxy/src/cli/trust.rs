//! `waxwire-proxy trust`: how keys of peers are known, and deciding on them.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    client::{ClientArgs, encoded},
    people::carry_out,
    print::{self, field, pair},
};

#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Show fingerprint, safety number and state of a peer's key.
    Show {
        /// The peer.
        handle: String,
    },
    /// Decide on the key that has this fingerprint, after comparing it over another channel.
    Set {
        /// The peer.
        handle: String,
        /// What the key is from now on.
        #[arg(value_name = "STATE")]
        decision: Decision,
        /// The key: 64 hexadecimal digits.
        fingerprint: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    /// Compared over another channel.
    Verified,
    /// Taken as the peer's, not compared.
    Pinned,
    /// Nothing goes to or comes from it.
    Blocked,
}

pub(super) fn run(args: &TrustArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| {
        let identity = match &args.command {
            TrustCommand::Show { handle } => {
                api.get(&format!("/v1/agents/{}/identity", encoded(handle)))
                    .await?
            }
            TrustCommand::Set {
                handle,
                decision,
                fingerprint,
            } => {
                let state = match decision {
                    Decision::Verified => "verified",
                    Decision::Pinned => "pinned",
                    Decision::Blocked => "blocked",
                };
                let body = json!({ "state": state, "fingerprint": fingerprint });
                api.put(&format!("/v1/agents/{}/trust", encoded(handle)), &body)
                    .await?
            }
        };
        if args.client.json {
            print::json(&identity);
        } else {
            show(&identity);
        }
        Ok(())
    })
}

fn show(identity: &Value) {
    pair("handle", &field(identity, "handle"));
    pair("state", &field(identity, "state"));
    pair("fingerprint", &field(identity, "fingerprint"));
    pair("safety number", &format!(" {}", field(identity, "safety_number")));
    pair("key number", &field(identity, "key_number"));
    pair("not after", &field(identity, "not_after"));
}
