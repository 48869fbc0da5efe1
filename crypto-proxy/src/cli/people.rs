//! The commands that speak to a running proxy: `status`, `send`, `inbox`, `group`, `trust`, `audit`,
//! `rotate-now`, `webhook`.

use anyhow::ensure;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    client::{ClientArgs, LocalApi, Refused, encoded},
    one_thread,
    print::{self, field, items, pair, plain},
};

/// Carries out one of them. With `--json` a refusal is printed as the API gave it, too.
pub(super) fn carry_out(
    args: &ClientArgs,
    act: impl AsyncFnOnce(&mut LocalApi) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = one_thread()?;
    let done = runtime.block_on(async { act(&mut LocalApi::connect(args).await?).await });
    if args.json
        && let Err(error) = &done
        && let Some(refused) = error.downcast_ref::<Refused>()
    {
        print::json(&refused.body);
    }
    done
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Exit status 1 if the proxy is not ready.
pub(super) fn status(args: &StatusArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| {
        let (me, readiness) = (api.get("/v1/agents/me").await?, api.readiness().await?);
        let unread = api.get("/v1/inbox/unread-count").await?["unread"].take();
        let requests = api.get("/v1/requests").await?["requests"].take();
        if args.client.json {
            print::json(
                &json!({ "agent": me, "readiness": readiness, "unread": unread, "requests": requests }),
            );
        } else {
            pair("handle", &field(&me, "handle"));
            pair("fingerprint", &field(&me, "fingerprint"));
            for (name, holds) in readiness["checks"].as_object().into_iter().flatten() {
                pair(
                    name,
                    if holds == &Value::Bool(true) {
                        "ok"
                    } else {
                        "FAILS"
                    },
                );
            }
            pair("unread", &plain(&unread.to_string()));
            pair("requests", &items(&requests).len().to_string());
        }
        let fault = match &readiness["link_fault"] {
            Value::String(fault) => format!(": {fault}"),
            _ => String::new(),
        };
        ensure!(
            readiness["ready"] == Value::Bool(true),
            "the proxy is not ready{fault}"
        );
        Ok(())
    })
}

#[derive(Debug, Args)]
pub(super) struct InboxArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only what is not read.
    #[arg(long)]
    unread: bool,
    /// Only from this agent.
    #[arg(long, value_name = "HANDLE")]
    from: Option<String>,
    /// Only messages of this type.
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// Only what came later: Unix seconds, an RFC 3339 time or a delivery id.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// How many, newest first; at most 100.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: u16,
    /// How many of the newest are left out.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    offset: u64,
    /// Settle what is listed: the agent is not offered it again.
    #[arg(long)]
    clear: bool,
}

pub(super) fn inbox(args: &InboxArgs) -> anyhow::Result<()> {
    let mut query = vec![
        ("limit", args.limit.to_string()),
        ("offset", args.offset.to_string()),
    ];
    for (name, flag) in [("unread", args.unread), ("clear", args.clear)] {
        if flag {
            query.push((name, "true".to_owned()));
        }
    }
    for (name, value) in [
        ("from", &args.from),
        ("type", &args.message_type),
        ("since", &args.since),
    ] {
        query.extend(value.as_ref().map(|value| (name, encoded(value))));
    }
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    carry_out(&args.client, async |api| {
        let page = api.get(&format!("/v1/inbox?{}", query.join("&"))).await?;
        if args.client.json {
            print::json(&page);
            return Ok(());
        }
        let messages = items(&page["messages"]);
        messages.iter().for_each(print::message);
        print::line(&format!("{} of {}", messages.len(), field(&page, "total")));
        Ok(())
    })
}

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// A handle, with #fingerprint where it is known, or the id of a conversation or group.
    #[arg(value_name = "TO")]
    to: String,
    /// What to say; read from standard input if it is a single hyphen or not there.
    #[arg(value_name = "TEXT", default_value = "-", hide_default_value = true)]
    text: String,
    /// Type of the message.
    #[arg(long = "type", default_value = "text", value_name = "TYPE")]
    message_type: String,
    /// Content in place of TEXT: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    content: Option<Map<String, Value>>,
    /// A JSON object beside the content.
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Map<String, Value>>,
    /// The message that this one answers.
    #[arg(long, value_name = "ID")]
    reply_to: Option<String>,
    /// Repeating a command with the same id never sends a second message; random if absent.
    #[arg(long, value_name = "ID")]
    client_msg_id: Option<String>,
}

fn object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(text)
}

pub(super) fn send(args: &SendArgs) -> anyhow::Result<()> {
    let id = args.client_msg_id.clone().unwrap_or_else(random_id);
    let body = send_body(args, &id)?;
    carry_out(&args.client, async |api| {
        let sent = api.post("/v1/messages", Some(&body)).await;
        let sent = sent.inspect_err(|_| {
            tracing::info!(client_msg_id = id, "repeat the command with this --client-msg-id");
        })?;
        if args.client.json {
            print::json(&sent);
        } else {
            print::line(&format!("{} {}", field(&sent, "status"), field(&sent, "id")));
        }
        Ok(())
    })
}

fn send_body(args: &SendArgs, id: &str) -> anyhow::Result<Value> {
    let content = match &args.content {
        Some(content) => Value::Object(content.clone()),
        None if args.text == "-" => json!({ "text": std::io::read_to_string(std::io::stdin())? }),
        None => json!({ "text": args.text }),
    };
    // No handle has an underscore.
    let conversation = args.to.starts_with("grp_") || args.to.starts_with("conv_");
    let to = if conversation { "conversation_id" } else { "to" };
    Ok(json!({
        to: args.to, "client_msg_id": id, "type": args.message_type, "content": content,
        "metadata": args.metadata, "reply_to": args.reply_to,
    }))
}

fn random_id() -> String {
    use rand_core::Rng as _;
    let mut bytes = [0; 16];
    crate::rng::OsRng.fill_bytes(&mut bytes);
    format!("cli-{}", hex::encode(bytes))
}
