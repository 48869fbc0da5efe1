//! Groups through the local API, as an agent uses them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    agent::{Agent, Message},
    clock::eventually,
    http::Answer,
};

/// How long a change may take to reach another member.
const SPREAD: Duration = Duration::from_secs(20);

/// A group as the local API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Local id, also that of the conversation.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The founder.
    pub created_by: String,
    /// How many members there are.
    pub member_count: usize,
    /// Who, in the order in which they joined.
    pub members: Vec<Member>,
    /// The role of the agent that asked.
    pub your_role: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Handle.
    pub handle: String,
    /// `admin` or `member`.
    pub role: String,
}

/// An invite that waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Invitation {
    /// Local id.
    pub id: String,
    /// Local id of the group.
    pub group_id: String,
    /// Name of the group, as the inviter says.
    pub group_name: String,
    /// Who invites.
    pub inviter_handle: String,
}

/// What an agent knows of a group's keys and log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GroupSecurity {
    /// Number of the key in use.
    pub epoch: u64,
    /// Hash of the last commit.
    pub roster_head: String,
    /// Commits in the log.
    pub roster_length: u64,
    /// The members and their keys.
    pub members: Vec<MemberSecurity>,
    /// A rekey that is due.
    pub debt: Option<Debt>,
    /// Whether the relay cannot make a member.
    pub confidential_from_relay: bool,
    /// Whether two logs were shown.
    pub forked: bool,
}

/// What is known of a member's key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberSecurity {
    /// Handle.
    pub handle: String,
    /// How its key is trusted.
    pub state: String,
    /// The newest epoch under which it has said something.
    pub confirmed_epoch: Option<u64>,
}

/// A rekey that is due.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Debt {
    /// `hard` or `soft`.
    pub kind: String,
    /// Since when.
    pub since: String,
}

/// What the proxy tells of a group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct System {
    /// What happened.
    pub event: String,
    /// To whom.
    #[serde(default)]
    pub agent_handle: Option<String>,
    /// By whom.
    #[serde(default)]
    pub actor_handle: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Group {
    /// The handles of the members, in the order in which they joined.
    #[must_use]
    pub fn handles(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.handle.as_str()).collect()
    }
}

impl Message {
    /// What the proxy tells; `None` for what an agent wrote.
    #[must_use]
    pub fn system(&self) -> Option<System> {
        let told = self.kind == "system";
        told.then(|| serde_json::from_value(self.content["data"].clone()).ok())
            .flatten()
    }
}

fn path(group: &str, rest: &str) -> String {
    format!("/v1/groups/{group}{rest}")
}

impl Agent {
    /// Founds a group and invites others, all of whom have to be invited. Its name must not show up
    /// anywhere in clear.
    ///
    /// # Errors
    /// Not answered by 201 and an invite for each.
    pub async fn create_group(&self, name: &str, members: &[&str]) -> anyhow::Result<Group> {
        self.canaries().forbid(name);
        let body = json!({ "name": name, "member_handles": members });
        let answer = self.post_json("/v1/groups", &body).await?.expect(201)?;
        let results = answer["add_results"].as_array().context("no add_results")?;
        let invited = results.iter().filter(|result| result["outcome"] == "invited");
        ensure!(
            invited.count() == members.len(),
            "not all are invited: {results:?}"
        );
        Ok(serde_json::from_value(answer["group"].clone())?)
    }

    /// Founds a group and waits until all are members of it.
    ///
    /// # Errors
    /// One is not invited, or does not get in.
    pub async fn gather(&self, name: &str, members: &[&Self]) -> anyhow::Result<Group> {
        let handles: Vec<&str> = members.iter().map(|member| member.handle()).collect();
        let group = self.create_group(name, &handles).await?;
        for member in members {
            member.join(&group.id).await?;
        }
        let all: Vec<&str> = [self.handle()].into_iter().chain(handles).collect();
        for member in members {
            member.until_members(&group.id, &all).await?;
        }
        self.until_members(&group.id, &all).await
    }

    /// A group that this agent is a member of.
    ///
    /// # Errors
    /// Not answered by 200 and a group.
    pub async fn group(&self, group: &str) -> anyhow::Result<Group> {
        self.get(&path(group, "")).await?.ok()
    }

    /// Waits until exactly these are members, in this order.
    ///
    /// # Errors
    /// They are not within twenty seconds.
    pub async fn until_members(&self, group: &str, handles: &[&str]) -> anyhow::Result<Group> {
        let what = format!("{} sees {handles:?} in the group", self.handle());
        eventually(&what, SPREAD, async || {
            let group = self.group(group).await?;
            Ok((group.handles() == handles).then_some(group))
        })
        .await
    }

    /// Invites somebody; gives the id of the invite.
    ///
    /// # Errors
    /// Not answered by 201 and an invite.
    pub async fn invite(&self, group: &str, handle: &str) -> anyhow::Result<String> {
        let answer = self
            .try_invite(group, &json!({ "handle": handle }))
            .await?
            .expect(201)?;
        let id = answer["invite_id"].as_str();
        id.map(str::to_owned)
            .with_context(|| format!("no invite: {answer}"))
    }

    /// Invites by a whole body, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_invite(&self, group: &str, body: &Value) -> anyhow::Result<Answer> {
        self.post_json(&path(group, "/members"), body).await
    }

    /// Invites that wait for this agent.
    ///
    /// # Errors
    /// Not answered by 200 and a list.
    pub async fn invitations(&self) -> anyhow::Result<Vec<Invitation>> {
        self.get("/v1/groups/invites").await?.ok()
    }

    /// Waits for the invite to a group.
    ///
    /// # Errors
    /// It does not come within twenty seconds.
    pub async fn until_invited(&self, group: &str) -> anyhow::Result<Invitation> {
        let what = format!("{} is invited", self.handle());
        eventually(&what, SPREAD, async || {
            let invitations = self.invitations().await?;
            Ok(invitations
                .into_iter()
                .find(|invitation| invitation.group_id == group))
        })
        .await
    }

    /// Accepts an invite, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_accept(&self, invite: &str) -> anyhow::Result<Answer> {
        self.post(&format!("/v1/groups/invites/{invite}/accept")).await
    }

    /// Waits for the invite to a group and accepts it.
    ///
    /// # Errors
    /// None comes, or it is not answered by 200 and the group.
    pub async fn join(&self, group: &str) -> anyhow::Result<Group> {
        let invitation = self.until_invited(group).await?;
        self.try_accept(&invitation.id).await?.ok()
    }

    /// Leaves; gives who became admin by that.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn leave(&self, group: &str) -> anyhow::Result<Option<String>> {
        let answer = self.post(&path(group, "/leave")).await?.expect(200)?;
        Ok(answer["promoted_handle"].as_str().map(str::to_owned))
    }

    /// Removes a member, or withdraws an invite.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn remove(&self, group: &str, handle: &str) -> anyhow::Result<()> {
        let answer = self.delete(&path(group, &format!("/members/{handle}"))).await?;
        answer.expect_status(200)
    }

    /// Ends a group.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn disband(&self, group: &str) -> anyhow::Result<()> {
        self.delete(&path(group, "")).await?.expect_status(200)
    }

    /// What is known of a group's keys and log.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn group_security(&self, group: &str) -> anyhow::Result<GroupSecurity> {
        self.get(&path(group, "/security")).await?.ok()
    }

    /// Waits until an epoch is in use, or a later one.
    ///
    /// # Errors
    /// It is not within twenty seconds.
    pub async fn until_epoch(&self, group: &str, epoch: u64) -> anyhow::Result<GroupSecurity> {
        let what = format!("{} is in epoch {epoch}", self.handle());
        eventually(&what, SPREAD, async || {
            let security = self.group_security(group).await?;
            Ok((security.epoch >= epoch).then_some(security))
        })
        .await
    }

    /// Replaces the key of a group; gives the new epoch.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn rekey(&self, group: &str) -> anyhow::Result<u64> {
        let answer = self.post(&path(group, "/rekey")).await?.expect(200)?;
        answer["epoch"]
            .as_u64()
            .with_context(|| format!("no epoch: {answer}"))
    }

    /// Sends a text to a group, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_group_text(&self, group: &str, id: &str, text: &str) -> anyhow::Result<Answer> {
        self.send(&text_in(group, id, text)).await
    }

    /// Sends a text to a group and requires 201.
    ///
    /// # Errors
    /// Anything else than 201.
    pub async fn send_to_group(&self, group: &str, id: &str, text: &str) -> anyhow::Result<Message> {
        let answer = self.try_group_text(group, id, text).await?;
        answer.expect_status(201)?;
        answer.parse()
    }

    /// What agents wrote in a group as this one sees it, oldest first, system messages left out.
    ///
    /// # Errors
    /// Not answered by 200 and an array of messages.
    pub async fn texts_in(&self, group: &str) -> anyhow::Result<Vec<String>> {
        let rows = self.history(group, "after_seq=0&limit=200").await?;
        let written = rows.iter().filter(|row| row.kind != "system");
        Ok(written.map(|row| row.text().to_owned()).collect())
    }

    /// What the proxy has told of a group, oldest first.
    ///
    /// # Errors
    /// Not answered by 200 and an array of messages.
    pub async fn events_in(&self, group: &str) -> anyhow::Result<Vec<System>> {
        let rows = self.history(group, "after_seq=0&limit=200").await?;
        Ok(rows.iter().filter_map(Message::system).collect())
    }

    /// Waits until this text stands in a group; gives its message.
    ///
    /// # Errors
    /// It does not come within twenty seconds.
    pub async fn until_text(&self, group: &str, text: &str) -> anyhow::Result<Message> {
        let what = format!("{} reads {text}", self.handle());
        eventually(&what, SPREAD, async || {
            // Nothing of a group is visible before its first message or event.
            let answer = self.get(&format!("/v1/messages/{group}?limit=200")).await?;
            let rows: Vec<Message> = if answer.status == 404 {
                Vec::new()
            } else {
                answer.ok()?
            };
            Ok(rows.into_iter().find(|row| row.text() == text))
        })
        .await
    }

    /// Waits until the proxy has told of an event about somebody.
    ///
    /// # Errors
    /// It does not within twenty seconds.
    pub async fn until_event(&self, group: &str, event: &str, about: &str) -> anyhow::Result<System> {
        let what = format!("{} is told {event} of {about}", self.handle());
        eventually(&what, SPREAD, async || {
            let events = self.events_in(group).await?;
            Ok(events
                .into_iter()
                .find(|told| told.event == event && told.agent_handle.as_deref() == Some(about)))
        })
        .await
    }
}

/// The body of a text message to a group.
#[must_use]
pub fn text_in(group: &str, id: &str, text: &str) -> Value {
    json!({ "conversation_id": group, "client_msg_id": id, "content": { "text": text } })
}
