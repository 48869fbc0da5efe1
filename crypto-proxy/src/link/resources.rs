//! What a proxy asks of a relay: each control resource as one typed call (docs/relay-api.md).

use bytes::Bytes;
use http::{Method, StatusCode};
use waxwire_shared::{
    api::{
        frames::{Cursor, Queue, RelayFrame, Seen},
        hooks::HookRequest,
        problem::ProblemType,
        profile::{DirectoryAnswer, ProfileAnswer},
        rest::{
            ApiKeyRequest, AppendAnswer, BundleAnswer, ChallengeAnswer, ChallengeRequest, ChannelAnswer,
            ChannelsAnswer, LeaseAnswer, LogConsistencyAnswer, LogHeadAnswer, LogLeavesAnswer,
            PresenceAnswer, PresenceRequest, QueuesAnswer, RegisterRequest, Registered, RelayInfo,
            SuccessionRequest,
        },
    },
    identity::IdentityKey,
    ids::{GroupId, Handle, Nonce32},
};

use super::http::{ANSWER, Call, CallError, Client, Connection, RELAY_INFO, parse};
use crate::engine::{Declaration, LogPage};

/// Where this proxy is to be woken.
const HOOK: &str = "/v1/agents/me/hook";
/// Commits that are asked for at once.
const COMMITS: usize = 1_000;

impl Client {
    /// `GET /v1/relay`: what the relay says of itself, see [`super::verify_relay`].
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn relay_info(&self, nonce: &Nonce32) -> Result<RelayInfo, CallError> {
        self.call(relay_info_call(nonce)).await
    }

    /// `POST /v1/challenges`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn challenge(&self, request: &ChallengeRequest) -> Result<ChallengeAnswer, CallError> {
        self.call(Call::post("/v1/challenges", request)?).await
    }

    /// `POST /v1/agents`: registers the agent, or gives the same one a new API key.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn register(&self, request: &RegisterRequest) -> Result<Registered, CallError> {
        self.call(Call::post("/v1/agents", request)?).await
    }

    /// `GET /v1/agents/{handle}/succession`: the latest signed bundle of the agent whose recovery key this is,
    /// not verified; `None` if no agent has it under the handle.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn holder(
        &self,
        handle: &Handle,
        recovery: &IdentityKey,
    ) -> Result<Option<BundleAnswer>, CallError> {
        let key = hex::encode(recovery.to_prefixed());
        let path = format!("/v1/agents/{handle}/succession?recovery={key}");
        match self.call(Call::get(path)).await {
            Err(CallError::Problem(problem)) if problem.problem_type() == Some(ProblemType::NotFound) => {
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// `POST /v1/agents/{handle}/succession`: the handle goes to another identity.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn succeed(
        &self,
        handle: &Handle,
        request: &SuccessionRequest,
    ) -> Result<Registered, CallError> {
        let path = format!("/v1/agents/{handle}/succession");
        self.call(Call::post(&path, request)?).await
    }

    /// `GET /v1/queues`: how far this agent's queues are taken.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn queues(&self) -> Result<QueuesAnswer, CallError> {
        self.call(Call::get("/v1/queues".to_owned())).await
    }

    /// `POST /v1/agents/api-key`: replaces the API key.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn api_key(&self, request: &ApiKeyRequest) -> Result<Registered, CallError> {
        self.call(Call::post("/v1/agents/api-key", request)?).await
    }

    /// `PUT /v1/agents/me/bundle`: publishes a signed bundle.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn put_bundle(&self, bundle: Vec<u8>) -> Result<BundleAnswer, CallError> {
        let path = "/v1/agents/me/bundle".to_owned();
        self.call(Call::octets(Method::PUT, path, bundle.into())).await
    }

    /// `PUT /v1/agents/me/lease`: offers a signed lease.
    ///
    /// # Errors
    /// [`CallError`]; a problem `stale` carries the lease that stands in the way.
    pub async fn put_lease(&self, lease: Bytes) -> Result<(), CallError> {
        let answer = self.call(lease_call(lease.clone())).await?;
        is_taken(&answer, &lease)
    }

    /// The same on one connection.
    pub(super) async fn put_lease_on(
        &self,
        connection: &mut Connection,
        lease: Bytes,
    ) -> Result<(), CallError> {
        let answer = self.ask(connection, &lease_call(lease.clone()), ANSWER).await?;
        is_taken(&parse(answer.status, &answer.body)?, &lease)
    }

    /// `PUT /v1/agents/me/hook`: where to wake this proxy.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn put_hook(&self, url: &str, secret: &str) -> Result<(), CallError> {
        let request = HookRequest {
            url: url.to_owned(),
            secret: secret.to_owned(),
        };
        let call = Call::json(Method::PUT, HOOK, &request)?;
        self.octets(call).await.map(drop)
    }

    /// `DELETE /v1/agents/me/hook`: it is not to be woken.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_hook(&self) -> Result<(), CallError> {
        let call = Call::bare(Method::DELETE, HOOK.to_owned());
        self.octets(call).await.map(drop)
    }

    /// `GET /v1/agents/{handle}/bundle`: the latest signed bundle of an agent, not verified.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn bundle(&self, handle: &Handle) -> Result<BundleAnswer, CallError> {
        self.call(Call::get(format!("/v1/agents/{handle}/bundle"))).await
    }

    /// `POST /v1/presence`: what the relay says of these, without those it does not know.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn presences(&self, handles: Vec<Handle>) -> Result<Vec<Seen>, CallError> {
        let call = Call::post("/v1/presence", &PresenceRequest { handles })?;
        let answer: PresenceAnswer = self.call(call).await?;
        Ok(answer.presences)
    }

    /// `PUT` and `DELETE` of what the relay holds of this agent: contacts, blocks, the profile.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn declare(&self, declaration: &Declaration) -> Result<(), CallError> {
        self.octets(declaring(declaration)?).await.map(drop)
    }

    /// `GET /v1/agents/{handle}`: what an agent tells of itself, as the relay says.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn profile(&self, handle: &Handle) -> Result<ProfileAnswer, CallError> {
        self.call(Call::get(format!("/v1/agents/{handle}"))).await
    }

    /// `GET /v1/directory`: agents whose handles begin with `prefix`, which has characters of handles
    /// only.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn directory(
        &self,
        prefix: &str,
        limit: u64,
        offset: u64,
    ) -> Result<DirectoryAnswer, CallError> {
        let path = format!("/v1/directory?q={prefix}&limit={limit}&offset={offset}");
        let (_, body) = self.octets(Call::get(path)).await?;
        parse(StatusCode::OK, &body)
    }

    /// `GET /v1/channels/{slug}`: the group that a slug names, as the relay says.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn channel(&self, slug: &Handle) -> Result<ChannelAnswer, CallError> {
        self.call(Call::get(format!("/v1/channels/{slug}"))).await
    }

    /// `GET /v1/channels`: open channels after one, by slug, as the relay says.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn channels(&self, after: Option<&Handle>, limit: u64) -> Result<ChannelsAnswer, CallError> {
        let after = after.map_or_else(String::new, |slug| format!("&after={slug}"));
        self.call(Call::get(format!("/v1/channels?limit={limit}{after}")))
            .await
    }

    /// `POST /v1/groups`, or `POST /v1/groups/{group}/commits` for a group that exists: appends a
    /// commit.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn append(&self, group: Option<&GroupId>, body: Vec<u8>) -> Result<(), CallError> {
        let path = match group {
            Some(group) => format!("/v1/groups/{group}/commits"),
            None => "/v1/groups".to_owned(),
        };
        let call = Call::octets(Method::POST, path, body.into());
        self.call::<AppendAnswer>(call).await.map(drop)
    }

    /// `GET /v1/queues/log-{group}/envelopes`: signed commits after the first `after`, not verified.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn log(&self, group: &GroupId, after: u64) -> Result<LogPage, CallError> {
        let queue = Queue::Log(*group);
        let path = format!("/v1/queues/{queue}/envelopes?after={after}&limit={COMMITS}");
        let (head, body) = self.octets(Call::get(path)).await?;
        let commits = commits(queue, after, &body).ok_or(CallError::Malformed)?;
        Ok(LogPage {
            after,
            commits,
            length: head.ok_or(CallError::Malformed)?,
        })
    }

    /// `GET /v1/groups/{group}/epochs/{epoch}/leaves/{index}`: an encoded leaf with its path.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn leaf(&self, group: &GroupId, epoch: u64, index: u32) -> Result<Vec<u8>, CallError> {
        let call = Call::get(format!("/v1/groups/{group}/epochs/{epoch}/leaves/{index}"));
        let (_, body) = self.octets(call).await?;
        Ok(body.into())
    }

    /// `GET /v1/log/head`: the newest signed head of the transparency log, not verified.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn log_head(&self) -> Result<Vec<u8>, CallError> {
        let answer: LogHeadAnswer = self.call(Call::get("/v1/log/head".to_owned())).await?;
        Ok(answer.head.0)
    }

    /// `GET /v1/log/consistency`: a proof that the head of one size continues that of another, not verified.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn log_consistency(&self, from: u64, to: u64) -> Result<Vec<u8>, CallError> {
        let call = Call::get(format!("/v1/log/consistency?from={from}&to={to}"));
        let answer: LogConsistencyAnswer = self.call(call).await?;
        Ok(answer.consistency.0)
    }

    /// `GET /v1/log/leaves`: encoded leaves from a place on, not verified.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn log_leaves(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, CallError> {
        let call = Call::get(format!("/v1/log/leaves?from={from}&limit={limit}"));
        let (_, body) = self.octets(call).await?;
        let answer: LogLeavesAnswer = parse(StatusCode::OK, &body)?;
        Ok(answer.leaves.into_iter().map(|leaf| leaf.0).collect())
    }
}

/// Asks for the relay's proof of its identity.
pub(super) fn relay_info_call(nonce: &Nonce32) -> Call {
    Call::get(format!("{RELAY_INFO}nonce={nonce}"))
}

fn lease_call(lease: Bytes) -> Call {
    Call::octets(Method::PUT, "/v1/agents/me/lease".to_owned(), lease)
}

/// A relay that answers with another lease did not take this one.
fn is_taken(answer: &LeaseAnswer, lease: &[u8]) -> Result<(), CallError> {
    if answer.lease.0 == lease {
        Ok(())
    } else {
        Err(CallError::Malformed)
    }
}

/// What the relay has to hold of this agent.
fn declaring(declaration: &Declaration) -> Result<Call, CallError> {
    Ok(match declaration {
        Declaration::Contact(handle, held) => {
            let method = if *held { Method::PUT } else { Method::DELETE };
            Call::bare(method, format!("/v1/contacts/{handle}"))
        }
        Declaration::Block(handle, block) => {
            let path = format!("/v1/blocks/{handle}");
            match block {
                Some(block) => Call::json(Method::PUT, &path, block)?,
                None => Call::bare(Method::DELETE, path),
            }
        }
        Declaration::Profile(profile) => Call::json(Method::PUT, "/v1/agents/me/profile", profile)?,
    })
}

/// The objects of delivery frames, each with its length before it, if they are consecutive ones of
/// this queue.
fn commits(queue: Queue, after: u64, body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut commits = Vec::new();
    let mut rest = body;
    let mut position = after;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (frame, tail) = tail.split_at_checked(length)?;
        let Ok(RelayFrame::Deliver(delivery)) = RelayFrame::decode(frame) else {
            return None;
        };
        position = position.checked_add(1)?;
        if delivery.cursor != (Cursor { queue, position }) {
            return None;
        }
        commits.push(delivery.object.to_vec());
        rest = tail;
    }
    Some(commits)
}
