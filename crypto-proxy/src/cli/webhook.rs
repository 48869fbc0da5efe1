//! `waxwire-proxy webhook`: receivers that are called when something happens.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    client::{ClientArgs, LocalApi, encoded},
    people::carry_out,
    print::{self, field, items},
};

/// Dead letters that are asked for at once.
const PAGE: usize = 100;

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// List the webhooks.
    List,
    /// Register a webhook; prints its secret, once.
    Add {
        /// Where to call: http or https, on this host unless run --webhook-allow names another one.
        url: String,
        /// What to call for; may be given more than once.
        #[arg(long = "event", value_name = "EVENT", default_value = "message.new")]
        events: Vec<String>,
        /// File with the secret that signs the calls, in one line; made by the proxy if absent.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Remove a webhook with everything that waits for it.
    Remove {
        /// The webhook.
        id: String,
    },
    /// List what a webhook could not be told, oldest first.
    Dead {
        /// The webhook.
        id: String,
        /// How many; at most 100.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: u16,
        /// How many of the oldest are left out.
        #[arg(long, default_value_t = 0, value_name = "COUNT")]
        offset: u64,
    },
    /// Try what a webhook could not be told again.
    Redeliver {
        /// The webhook.
        id: String,
        /// What; everything if it is not there.
        delivery: Option<String>,
    },
}

pub(super) fn run(args: &WebhookArgs) -> anyhow::Result<()> {
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

async fn ask(api: &mut LocalApi, command: &WebhookCommand) -> anyhow::Result<Value> {
    let webhook = |id: &str| format!("/v1/webhooks/{}", encoded(id));
    match command {
        WebhookCommand::List => api.get("/v1/webhooks").await,
        WebhookCommand::Add {
            url,
            events,
            secret_file,
        } => {
            let secret = secret_file.as_deref().map(secret).transpose()?;
            let secret = secret.as_ref().map(|secret| secret.as_str());
            let body = json!({ "url": url, "events": events, "secret": secret });
            api.post("/v1/webhooks", Some(&body)).await
        }
        WebhookCommand::Remove { id } => api.delete(&webhook(id)).await,
        WebhookCommand::Dead { id, limit, offset } => {
            let query = format!("limit={limit}&offset={offset}");
            api.get(&format!("{}/dead-letters?{query}", webhook(id))).await
        }
        WebhookCommand::Redeliver { id, delivery } => {
            let deliveries = match delivery {
                Some(delivery) => vec![delivery.clone()],
                None => dead(api, &webhook(id)).await?,
            };
            for delivery in &deliveries {
                let path = format!("{}/dead-letters/{}/redeliver", webhook(id), encoded(delivery));
                api.post(&path, None).await?;
            }
            Ok(json!({ "redelivered": deliveries }))
        }
    }
}

fn secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Every dead letter as it is now.
async fn dead(api: &mut LocalApi, webhook: &str) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let path = format!("{webhook}/dead-letters?limit={PAGE}&offset={}", all.len());
        let page = api.get(&path).await?;
        let letters = items(&page["dead_letters"]);
        let ids = letters.iter().filter_map(|letter| letter["delivery_id"].as_str());
        all.extend(ids.map(str::to_owned));
        if letters.len() < PAGE {
            return Ok(all);
        }
    }
}

fn tell(command: &WebhookCommand, answer: &Value) {
    match command {
        WebhookCommand::List => items(&answer["webhooks"]).iter().for_each(webhook_line),
        WebhookCommand::Add { .. } => {
            print::pair("id", &field(answer, "id"));
            print::pair("secret", &field(answer, "secret"));
        }
        WebhookCommand::Remove { .. } => {}
        WebhookCommand::Dead { .. } => {
            let letters = items(&answer["dead_letters"]);
            letters.iter().for_each(letter_line);
            print::line(&format!("{} of {}", letters.len(), field(answer, "total")));
        }
        WebhookCommand::Redeliver { .. } => {
            print::line(&format!("{} tried again", items(&answer["redelivered"]).len()));
        }
    }
}

fn webhook_line(webhook: &Value) {
    let events: Vec<&str> = items(&webhook["events"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    print::line(&format!(
        "{}  {}  {}",
        field(webhook, "id"),
        field(webhook, "url"),
        events.join(",")
    ));
}

fn letter_line(letter: &Value) {
    print::line(&format!(
        "{}  {}  {:<16} {:<20} {}",
        field(letter, "dead_at"),
        field(letter, "delivery_id"),
        field(letter, "event"),
        field(letter, "reason"),
        field(letter, "message_id"),
    ));
}
