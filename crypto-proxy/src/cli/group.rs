//! `waxwire-proxy group`: groups, their members and invites.

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    client::{ClientArgs, LocalApi, encoded},
    people::carry_out,
    print::{self, field, items, pair},
};

#[derive(Debug, Args)]
pub(super) struct GroupArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List the groups.
    List,
    /// Found a group and invite members.
    Create {
        /// Its name; the relay never sees it.
        name: String,
        /// Whom to invite.
        #[arg(value_name = "HANDLE")]
        members: Vec<String>,
    },
    /// Show a group, its members, and its key.
    Show {
        /// The group.
        id: String,
    },
    /// Invite somebody.
    Add {
        /// The group.
        id: String,
        /// Whom.
        handle: String,
        /// Show the new member what was written until now.
        #[arg(long)]
        share_current: bool,
    },
    /// Take a member or an open invite out; the key is replaced with it.
    Remove {
        /// The group.
        id: String,
        /// Whom.
        handle: String,
    },
    /// Make a member admin.
    Promote {
        /// The group.
        id: String,
        /// Whom.
        handle: String,
    },
    /// Make an admin member.
    Demote {
        /// The group.
        id: String,
        /// Whom.
        handle: String,
    },
    /// Leave a group.
    Leave {
        /// The group.
        id: String,
    },
    /// Replace the key of a group now.
    Rekey {
        /// The group.
        id: String,
    },
    /// Set whose confirmation of the key is required before anything is sent; show it if nothing is set.
    Confirmation {
        /// The group.
        id: String,
        /// Nobody's.
        #[arg(long, conflicts_with_all = ["everybody", "members"])]
        nobody: bool,
        /// That of every other member.
        #[arg(long, conflicts_with = "members")]
        everybody: bool,
        /// That of this member; may be given more than once.
        #[arg(long = "member", value_name = "HANDLE")]
        members: Vec<String>,
        /// Whether this agent confirms each new key by itself: true, or false.
        #[arg(long, value_name = "BOOL")]
        confirm: Option<bool>,
    },
    /// End a group for everybody.
    Disband {
        /// The group.
        id: String,
    },
    /// List the invites to groups.
    Invites,
    /// Accept an invite.
    Accept {
        /// The invite.
        invite: String,
    },
    /// Decline an invite.
    Reject {
        /// The invite.
        invite: String,
    },
}

pub(super) fn run(args: &GroupArgs) -> anyhow::Result<()> {
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

async fn ask(api: &mut LocalApi, command: &GroupCommand) -> anyhow::Result<Value> {
    let group = |id: &str, rest: &str| format!("/v1/groups/{}{rest}", encoded(id));
    let member =
        |id: &str, handle: &str, rest: &str| group(id, &format!("/members/{}{rest}", encoded(handle)));
    match command {
        GroupCommand::List => list(api).await,
        GroupCommand::Create { name, members } => {
            let body = json!({ "name": name, "member_handles": members });
            api.post("/v1/groups", Some(&body)).await
        }
        GroupCommand::Show { id } => {
            let shown = api.get(&group(id, "")).await?;
            let security = api.get(&group(id, "/security")).await?;
            Ok(json!({ "group": shown, "security": security }))
        }
        GroupCommand::Add {
            id,
            handle,
            share_current,
        } => {
            let body = json!({ "handle": handle, "share_current": share_current });
            api.post(&group(id, "/members"), Some(&body)).await
        }
        GroupCommand::Remove { id, handle } => api.delete(&member(id, handle, "")).await,
        GroupCommand::Promote { id, handle } => api.post(&member(id, handle, "/promote"), None).await,
        GroupCommand::Demote { id, handle } => api.post(&member(id, handle, "/demote"), None).await,
        GroupCommand::Leave { id } => api.post(&group(id, "/leave"), None).await,
        GroupCommand::Rekey { id } => api.post(&group(id, "/rekey"), None).await,
        GroupCommand::Confirmation {
            id,
            nobody,
            everybody,
            members,
            confirm,
        } => {
            let required = match (nobody, everybody, members.is_empty()) {
                (true, ..) => "nobody",
                (_, true, _) => "everybody",
                (_, _, false) => "listed",
                _ => return confirmation(api, &group(id, ""), *confirm).await,
            };
            let body = json!({ "require_confirmed": required, "members": members, "confirm": confirm });
            api.put(&group(id, "/confirmation"), &body).await
        }
        GroupCommand::Disband { id } => api.delete(&group(id, "")).await,
        GroupCommand::Invites => api.get("/v1/groups/invites").await,
        GroupCommand::Accept { invite } => {
            api.post(&format!("/v1/groups/invites/{}/accept", encoded(invite)), None)
                .await
        }
        GroupCommand::Reject { invite } => {
            api.delete(&format!("/v1/groups/invites/{}", encoded(invite)))
                .await
        }
    }
}

/// What holds, with another `confirm` if one is given.
async fn confirmation(api: &mut LocalApi, group: &str, confirm: Option<bool>) -> anyhow::Result<Value> {
    let security = api.get(&format!("{group}/security")).await?;
    let Some(confirm) = confirm else {
        return Ok(security);
    };
    let mut body = security["confirmation"].clone();
    body["confirm"] = json!(confirm);
    api.put(&format!("{group}/confirmation"), &body).await
}

/// Every conversation of kind group, page by page.
async fn list(api: &mut LocalApi) -> anyhow::Result<Value> {
    const PAGE: usize = 100;
    let mut groups = Vec::new();
    for page in 0.. {
        let rows = api
            .get(&format!("/v1/conversations?limit={PAGE}&offset={}", page * PAGE))
            .await?;
        let rows = items(&rows);
        ensure!(rows.len() <= PAGE, "the proxy's pages are larger than asked for");
        groups.extend(rows.iter().filter(|row| row["type"] == "group").cloned());
        if rows.len() < PAGE {
            break;
        }
    }
    Ok(Value::Array(groups))
}

/// What is shown of each group: of one that was left, too, that it was.
const LISTED: [&str; 4] = ["id", "group_standing", "group_member_count", "group_name"];

fn tell(command: &GroupCommand, answer: &Value) {
    match command {
        GroupCommand::List => rows(answer, &LISTED),
        GroupCommand::Invites => rows(answer, &["id", "inviter_handle", "group_name"]),
        GroupCommand::Create { .. } => {
            show(&answer["group"]);
            rows(&answer["add_results"], &["handle", "outcome"]);
        }
        GroupCommand::Show { .. } => {
            show(&answer["group"]);
            let security = &answer["security"];
            pair("epoch", &field(security, "epoch"));
            pair("roster head", &field(security, "roster_head"));
            pair("debt", &field(&security["debt"], "kind"));
            rows(&security["members"], &["handle", "state", "confirmed_epoch"]);
        }
        GroupCommand::Confirmation { .. } => {
            let holds = &answer["confirmation"];
            pair("required", &field(holds, "require_confirmed"));
            pair("confirms", &field(holds, "confirm"));
            for (name, handles) in [("members", &holds["members"]), ("missing", &holds["missing"])] {
                let handles: Vec<&str> = items(handles).iter().filter_map(Value::as_str).collect();
                pair(name, &print::plain(&handles.join(" ")));
            }
        }
        GroupCommand::Accept { .. } => show(answer),
        GroupCommand::Add { .. } => pair(&field(answer, "handle"), &field(answer, "outcome")),
        GroupCommand::Rekey { .. } => pair("epoch", &field(answer, "epoch")),
        GroupCommand::Disband { .. } => pair("ended", &field(answer, "deleted_at")),
        GroupCommand::Remove { .. }
        | GroupCommand::Promote { .. }
        | GroupCommand::Demote { .. }
        | GroupCommand::Leave { .. }
        | GroupCommand::Reject { .. } => print::line(&field(answer, "message")),
    }
}

fn show(group: &Value) {
    pair("id", &field(group, "id"));
    pair("name", &field(group, "name"));
    pair("own role", &field(group, "your_role"));
    rows(&group["members"], &["handle", "role", "joined_at"]);
}

fn rows(list: &Value, columns: &[&str]) {
    for row in items(list) {
        print::line(&cells(row, columns));
    }
}

fn cells(row: &Value, columns: &[&str]) -> String {
    let cells: Vec<String> = columns.iter().map(|column| field(row, column)).collect();
    format!("  {}", cells.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_that_was_left_is_listed_as_left() {
        let mut row = json!({ "id": "grp_1", "group_name": "Freight", "group_member_count": 3 });
        for standing in ["member", "left"] {
            row["group_standing"] = json!(standing);
            assert_eq!(cells(&row, &LISTED), format!("  grp_1  {standing}  3  Freight"));
        }
    }
}
