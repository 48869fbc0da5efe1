//! What handlers take out of a request. Everything that is wrong with it is a 400 of one form,
//! without a word of what was sent.

use std::{borrow::Cow, str::FromStr, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Request},
    http::{header::EXPECT, request::Parts},
};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use waxwire_shared::{fingerprint::Address, ids::Handle};

use super::error::ApiError;
use crate::{
    json::{self, Members},
    model::{ConversationKind, InviteId, LocalConversation, MessageId, Refusal},
};

/// Largest body of a request.
pub(crate) const BODY: usize = 512 * 1024;
/// How much more of a body is read and dropped, so that its sender gets to read the refusal.
const DISCARD: usize = 8 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(15);

/// A body that is a JSON object, in compact form.
#[derive(Debug)]
pub(crate) struct JsonBody(String);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let expects = request.headers().contains_key(EXPECT);
        let bytes = tokio::time::timeout(BODY_TIME, collect(request.into_body(), expects))
            .await
            .unwrap_or_else(|_| Err(ApiError::request_timeout()))?;
        json::compact(&bytes)
            .map(Self)
            .map_err(|error| ApiError::json(&[], error))
    }
}

impl<S: Send + Sync> OptionalFromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        use axum::body::HttpBody as _;

        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state)
            .await
            .map(Some)
    }
}

async fn collect(mut body: Body, expects: bool) -> Result<Vec<u8>, ApiError> {
    use axum::body::HttpBody as _;

    let too_long = |actual| ApiError::limit(&[], "body", BODY, actual);
    let announced = body
        .size_hint()
        .exact()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > DISCARD || (expects && length > BODY)) {
        return Err(too_long(announced));
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(BODY));
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid(&[], "the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= BODY {
            bytes.extend_from_slice(&data);
        } else if length > DISCARD {
            return Err(too_long(None));
        }
    }
    if length > BODY {
        Err(too_long(Some(length)))
    } else {
        Ok(bytes)
    }
}

impl JsonBody {
    /// The object as text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The fields of the object.
    pub(crate) fn fields(&self) -> Result<Fields<'_>, ApiError> {
        Fields::of(&self.0, &[])
    }
}

/// The fields of an object, each of which may stand there once.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: Members<'a>,
    /// The field whose value the object is.
    parent: Option<String>,
}

impl<'a> Fields<'a> {
    fn of(compact: &'a str, path: &[&str]) -> Result<Self, ApiError> {
        let members = Members::of(compact).ok_or_else(|| ApiError::invalid(path, "not a JSON object"))?;
        Ok(Self {
            members,
            parent: path.last().map(|name| (*name).to_owned()),
        })
    }

    fn invalid(&self, name: &str, message: &'static str) -> ApiError {
        match &self.parent {
            Some(parent) => ApiError::invalid(&[parent, name], message),
            None => ApiError::invalid(&[name], message),
        }
    }

    /// The members of a message's content, with their repetitions: what is in there is the agents'
    /// own affair.
    pub(crate) fn of_content(compact: &'a str) -> Result<Vec<(Cow<'a, str>, &'a str)>, ApiError> {
        Ok(Self::of(compact, &["content"])?.members.0)
    }

    /// The text of a field; `None` if it is absent or null.
    pub(crate) fn raw(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let members = self.members.0.iter();
        let mut values = members.filter(|(key, _)| key == name).map(|(_, value)| *value);
        let first = values.next();
        if values.next().is_some() {
            return Err(self.invalid(name, "given more than once"));
        }
        Ok(first.filter(|value| *value != "null"))
    }

    /// A string; `None` if it is absent or null.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(raw) = self.raw(name)? else {
            return Ok(None);
        };
        let text = serde_json::from_str(raw).map_err(|_| self.invalid(name, "not a string"))?;
        Ok(Some(text))
    }

    /// Whether a field is there, null or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.0.iter().any(|(key, _)| key == name)
    }

    /// The fields of an object; `None` if it is absent or null.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.raw(name)?.map(|raw| Self::of(raw, &[name])).transpose()
    }

    /// True or false; `None` if it is absent or null.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.raw(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid(name, "true or false")),
        }
    }

    /// A string that has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.string(name)?.ok_or_else(|| self.invalid(name, "required"))
    }
}

/// What a query should have said.
const FLAG: &str = "true or false expected";

/// The query of a request.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::try_from_uri(&parts.uri).map_err(|rejection| {
            // "<what failed>: <field>: <why>"; the values are numbers and flags, and not repeated.
            let text = rejection.body_text();
            let mut pieces = text.splitn(3, ": ").skip(1);
            match (pieces.next(), pieces.next()) {
                (Some(field), Some(FLAG)) => ApiError::invalid(&["query", field], FLAG),
                (Some(field), Some(_)) => ApiError::invalid(&["query", field], "a whole number expected"),
                (Some(reason), None) => ApiError::invalid(&["query"], reason.to_owned()),
                _ => ApiError::invalid(&["query"], "not a query"),
            }
        })?;
        Ok(Self(query.0))
    }
}

/// `true`, `false`, `1` or `0` in a query.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(serde::de::Error::custom(FLAG)),
    }
}

/// The number of rows of a page: the default, never more than the cap, never none.
pub(crate) fn page_size(limit: Option<u64>, default: usize, cap: usize) -> Result<usize, ApiError> {
    match limit {
        None => Ok(default),
        Some(0) => Err(ApiError::invalid(&["query", "limit"], "at least 1")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(cap).min(cap)),
    }
}

/// The rows before a page. More than any store has is as good as any other number that large.
pub(crate) fn page_offset(offset: Option<u64>) -> usize {
    let most = i64::MAX.unsigned_abs();
    usize::try_from(offset.unwrap_or_default().min(most)).unwrap_or(usize::MAX)
}

/// A handle as people and SDKs write it, with or without `@` and fingerprint.
pub(crate) fn address(path: &[&str], text: &str) -> Result<Address, ApiError> {
    text.parse()
        .map_err(|error: waxwire_shared::ids::IdError| ApiError::invalid(path, error.to_string()))
}

/// A handle where no fingerprint is compared: one that is given is refused, not passed over.
pub(crate) fn handle(path: &[&str], text: &str) -> Result<Handle, ApiError> {
    match address(path, text)? {
        Address {
            handle,
            fingerprint: None,
        } => Ok(handle),
        _ => Err(ApiError::invalid(path, "a handle without a fingerprint")),
    }
}

/// The one parameter of a path.
async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text)
        .map_err(|_| ApiError::invalid(&["path"], "not one parameter"))
}

/// The conversation that a path names. Ids are opaque to agents: what is none names nothing.
#[derive(Debug)]
pub(crate) struct ConversationPath(pub(crate) LocalConversation);

impl<S: Send + Sync> FromRequestParts<S> for ConversationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|_| ApiError::conversation_not_found())
    }
}

/// The message that a path names.
#[derive(Debug)]
pub(crate) struct MessagePath(pub(crate) MessageId);

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        text.parse().map(Self).map_err(|_| ApiError::message_not_found())
    }
}

/// The agent that a path names. A name that no agent can have is answered like one that none has.
#[derive(Debug)]
pub(crate) struct AgentPath(pub(crate) Address);

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        match Address::from_str(&text) {
            Ok(address) => Ok(Self(address)),
            Err(waxwire_shared::ids::IdError::Handle) => Err(ApiError::agent_not_found()),
            Err(error) => Err(ApiError::invalid(&["handle"], error.to_string())),
        }
    }
}

/// The same where no fingerprint is compared.
#[derive(Debug)]
pub(crate) struct HandlePath(pub(crate) Handle);

impl<S: Send + Sync> FromRequestParts<S> for HandlePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        if let Err(waxwire_shared::ids::IdError::Handle) = Address::from_str(&text) {
            return Err(ApiError::agent_not_found());
        }
        handle(&["handle"], &text).map(Self)
    }
}

/// The group that a path names. A direct conversation is none.
#[derive(Debug)]
pub(crate) struct GroupPath(pub(crate) LocalConversation);

impl<S: Send + Sync> FromRequestParts<S> for GroupPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        group(&parameter(parts, state).await?).map(Self)
    }
}

fn group(text: &str) -> Result<LocalConversation, ApiError> {
    text.parse()
        .ok()
        .filter(|id: &LocalConversation| id.kind == ConversationKind::Group)
        .ok_or_else(|| Refusal::GroupNotFound.into())
}

/// The channel that a path names. A name that no channel can have is answered like one that none has.
#[derive(Debug)]
pub(crate) struct ChannelPath(pub(crate) Handle);

impl<S: Send + Sync> FromRequestParts<S> for ChannelPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|_| Refusal::ChannelNotFound.into())
    }
}

/// A group and somebody in it. A fingerprint is refused: the group's log says who it is.
#[derive(Debug)]
pub(crate) struct MemberPath {
    pub(crate) group: LocalConversation,
    pub(crate) handle: Handle,
}

impl<S: Send + Sync> FromRequestParts<S> for MemberPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, name)) = path.map_err(|_| ApiError::invalid(&["path"], "not two parameters"))?;
        let group = group(&id)?;
        if let Err(waxwire_shared::ids::IdError::Handle) = Address::from_str(&name) {
            return Err(Refusal::NotMember.into());
        }
        let handle = handle(&["handle"], &name)?;
        Ok(Self { group, handle })
    }
}

/// The invite that a path names.
#[derive(Debug)]
pub(crate) struct InvitePath(pub(crate) InviteId);

impl<S: Send + Sync> FromRequestParts<S> for InvitePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = parameter(parts, state).await?;
        text.parse().map(Self).map_err(|_| Refusal::InviteNotFound.into())
    }
}
