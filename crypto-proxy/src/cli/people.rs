//! The commands that speak to a running proxy: `status`, `send`, `inbox`, `group`, `trust`, `audit`,
//! `rotate-now`, `webhook`.

use anyhow::ensure;
use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    client::{ClientArgs, LocalApi, Refused, encoded, parse},
    one_thread,
    print::{self, Message, field, items, pair, plain},
};
use crate::json;

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

#[derive(Debug, Deserialize)]
struct InboxPage {
    messages: Vec<Message>,
    total: u64,
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
        let path = format!("/v1/inbox?{}", query.join("&"));
        let answer = api.call(Method::GET, &path, None).await?;
        if args.client.json {
            print::line(&answer);
            return Ok(());
        }
        let page: InboxPage = parse(&answer)?;
        page.messages.iter().for_each(print::message);
        print::line(&format!("{} of {}", page.messages.len(), page.total));
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
    /// What to say; read from standard input, without a last end of line, if it is a single hyphen or not there.
    #[arg(value_name = "TEXT", default_value = "-", hide_default_value = true)]
    text: String,
    /// Type of the message.
    #[arg(long = "type", default_value = "text", value_name = "TYPE")]
    message_type: String,
    /// Content in place of TEXT: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    content: Option<Box<RawValue>>,
    /// A JSON object beside the content.
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Box<RawValue>>,
    /// The message that this one answers.
    #[arg(long, value_name = "ID")]
    reply_to: Option<String>,
    /// Repeating a command with the same id never sends a second message; random if absent.
    #[arg(long, value_name = "ID")]
    client_msg_id: Option<String>,
}

/// An object that goes out as it was written.
fn object(text: &str) -> anyhow::Result<Box<RawValue>> {
    let object = RawValue::from_string(json::compact(text.as_bytes())?)?;
    ensure!(object.get().starts_with('{'), "not a JSON object");
    Ok(object)
}

pub(super) fn send(args: &SendArgs) -> anyhow::Result<()> {
    let id = args.client_msg_id.clone().unwrap_or_else(random_id);
    let body = serde_json::to_string(&send_body(args, &id)?)?;
    carry_out(&args.client, async |api| {
        let answer = api.call(Method::POST, "/v1/messages", Some(body)).await;
        let answer = answer.map_err(|error| match what_next(&error, &id) {
            Some(advice) => error.context(advice),
            None => error,
        })?;
        if args.client.json {
            print::line(&answer);
        } else {
            let sent: SentMessage = parse(&answer)?;
            print::line(&format!("{} {}", plain(&sent.status), plain(&sent.id)));
        }
        Ok(())
    })
}

#[derive(Debug, Deserialize)]
struct SentMessage {
    id: String,
    status: String,
}

/// What helps after a send that failed: nothing if it was refused for good.
fn what_next(error: &anyhow::Error, id: &str) -> Option<String> {
    let repeat = format!("the same command with --client-msg-id {id}");
    match error.downcast_ref::<Refused>() {
        Some(refused) if refused.body["details"]["queued"] == true => Some(format!(
            "queued, and sent when the relay is back; {repeat} tells what became of it"
        )),
        Some(refused) if !refused.status.is_server_error() => None,
        _ => Some(format!("it may have been sent; {repeat} never sends it twice")),
    }
}

/// Body of `POST /v1/messages`.
#[derive(Debug, Serialize)]
struct SendBody<'a> {
    to: Option<&'a str>,
    conversation_id: Option<&'a str>,
    client_msg_id: &'a str,
    r#type: &'a str,
    content: Box<RawValue>,
    metadata: Option<&'a RawValue>,
    reply_to: Option<&'a str>,
}

fn send_body<'a>(args: &'a SendArgs, id: &'a str) -> anyhow::Result<SendBody<'a>> {
    let content = match &args.content {
        Some(content) => content.clone(),
        None if args.text == "-" => {
            let text = std::io::read_to_string(std::io::stdin())?;
            // What echo and editors end a line with.
            text_content(text.strip_suffix('\n').unwrap_or(&text))?
        }
        None => text_content(&args.text)?,
    };
    let to = args.to.as_str();
    // No handle has an underscore.
    let conversation = to.starts_with("grp_") || to.starts_with("conv_");
    Ok(SendBody {
        to: (!conversation).then_some(to),
        conversation_id: conversation.then_some(to),
        client_msg_id: id,
        r#type: &args.message_type,
        content,
        metadata: args.metadata.as_deref(),
        reply_to: args.reply_to.as_deref(),
    })
}

fn text_content(text: &str) -> serde_json::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(&json!({ "text": text }))
}

fn random_id() -> String {
    use rand_core::Rng as _;
    let mut bytes = [0; 16];
    crate::rng::OsRng.fill_bytes(&mut bytes);
    format!("cli-{}", hex::encode(bytes))
}
