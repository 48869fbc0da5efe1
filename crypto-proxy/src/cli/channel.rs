//! `waxwire-proxy channel`: groups that are found by a slug.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    client::{ClientArgs, LocalApi, encoded},
    people::carry_out,
    print::{self, field, items, pair},
};

/// Channels that are asked for at once.
const PAGE: usize = 100;

#[derive(Debug, Args)]
pub(super) struct ChannelArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: ChannelCommand,
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// List the channels that were joined, and the open ones as the relay says.
    List {
        /// Only those that were joined.
        #[arg(long)]
        joined: bool,
    },
    /// Found a channel.
    Create {
        /// Public at the relay, and unique there.
        slug: String,
        /// Its name, which the relay never sees; the slug if absent.
        #[arg(long)]
        name: Option<String>,
        /// Who may join. Of an open channel the relay may make itself a reader.
        #[arg(long, value_enum, default_value_t = Join::Invite)]
        join: Join,
    },
    /// Join a channel: an open one, or one to which an invite waits.
    Join {
        /// The channel.
        slug: String,
        /// The group that it must be, whatever it was before.
        #[arg(long, value_name = "GROUP")]
        id: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Join {
    /// Everybody.
    Open,
    /// Who was invited.
    Invite,
}

pub(super) fn run(args: &ChannelArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| {
        let answer = ask(api, &args.command).await?;
        if args.client.json {
            print::json(&answer);
        } else {
            tell(&args.command, &answer);
        }
        Ok(())
    })
}

async fn ask(api: &mut LocalApi, command: &ChannelCommand) -> anyhow::Result<Value> {
    match command {
        ChannelCommand::List { joined } => list(api, *joined).await,
        ChannelCommand::Create { slug, name, join } => {
            let join = match join {
                Join::Open => "open",
                Join::Invite => "invite",
            };
            let body = json!({ "slug": slug, "name": name, "join": join });
            api.post("/v1/channels", Some(&body)).await
        }
        ChannelCommand::Join { slug, id } => {
            let path = format!("/v1/channels/{}/join", encoded(slug));
            api.post(&path, Some(&json!({ "id": id }))).await
        }
    }
}

/// Every channel, page by page.
async fn list(api: &mut LocalApi, joined: bool) -> anyhow::Result<Value> {
    let mut channels = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/channels?limit={PAGE}&joined={joined}{after}");
        let page = api.get(&path).await?;
        channels.extend_from_slice(items(&page["channels"]));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => return Ok(Value::Array(channels)),
        }
    }
}

fn tell(command: &ChannelCommand, answer: &Value) {
    match command {
        ChannelCommand::List { .. } => items(answer).iter().for_each(line),
        ChannelCommand::Create { .. } | ChannelCommand::Join { .. } => {
            for name in ["id", "slug", "name", "join"] {
                pair(name, &field(answer, name));
            }
        }
    }
}

fn line(channel: &Value) {
    let joined = if channel["joined"] == true { "joined" } else { "" };
    print::line(&format!(
        "{:<30}  {:<6}  {:<6}  {}",
        field(channel, "slug"),
        field(channel, "join"),
        joined,
        field(channel, "id"),
    ));
}
