//! Problem documents of the relay, RFC 9457 (docs/relay-api.md).

use serde::{Deserialize, Serialize};

use super::rest::Base64Bytes;

/// Every kind of refusal that the relay knows. The name is stable; text may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// The request is not well-formed: body, header, path or query.
    BadRequest,
    /// A signed object does not verify or breaks a rule of its format.
    InvalidObject,
    /// No API key, or one that is not valid.
    Unauthorized,
    /// The agent may not do this.
    Forbidden,
    /// The agent is suspended by the relay's operator.
    Suspended,
    /// The relay does not register agents, or not without an invite code.
    RegistrationClosed,
    /// Unknown or not for this agent: the two are not told apart.
    NotFound,
    /// The method is not one of this path.
    MethodNotAllowed,
    /// The handle belongs to another identity.
    HandleTaken,
    /// The challenge is not this relay's, is too old or was made for something else.
    ChallengeRefused,
    /// The object is not newer than what the relay holds.
    Stale,
    /// The succession does not follow the identity that holds the handle, or not by its recovery key.
    SuccessionRefused,
    /// The old identity has mail that it did not acknowledge.
    NotDrained,
    /// The epoch of the header is closed or not the current one.
    EpochClosed,
    /// The commit does not follow the log's head.
    HeadConflict,
    /// Another group that goes on has the slug.
    SlugTaken,
    /// The part does not begin where the blob ends; `offset` says where that is.
    WrongOffset,
    /// Larger than a limit.
    TooLarge,
    /// Another content type is expected.
    UnsupportedMediaType,
    /// A limit on rates is reached; `Retry-After` says for how long.
    RateLimited,
    /// The recipient's backlog is full; `Retry-After` says when to try again.
    Backlogged,
    /// The recipient has blocked the sender.
    Blocked,
    /// The group has been disbanded, or the recipient's handle went to another identity.
    Gone,
    /// The relay failed; only a request id is told.
    Internal,
    /// The relay cannot store now; the outcome of a send is unknown.
    Unavailable,
}

impl ProblemType {
    /// Every type, for documents and tests.
    pub const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::InvalidObject,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Suspended,
        Self::RegistrationClosed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::HandleTaken,
        Self::ChallengeRefused,
        Self::Stale,
        Self::SuccessionRefused,
        Self::NotDrained,
        Self::EpochClosed,
        Self::HeadConflict,
        Self::SlugTaken,
        Self::WrongOffset,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::Backlogged,
        Self::Blocked,
        Self::Gone,
        Self::Internal,
        Self::Unavailable,
    ];

    /// Name, HTTP status and title.
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadRequest => ("bad-request", 400, "the request is not well-formed"),
            Self::InvalidObject => ("invalid-object", 400, "the signed object is not valid"),
            Self::Unauthorized => ("unauthorized", 401, "an API key is needed"),
            Self::Forbidden => ("forbidden", 403, "not allowed"),
            Self::Suspended => ("suspended", 403, "the agent is suspended"),
            Self::RegistrationClosed => ("registration-closed", 403, "registration is not open"),
            Self::NotFound => ("not-found", 404, "not found"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "method not allowed"),
            Self::HandleTaken => ("handle-taken", 409, "the handle is taken"),
            Self::ChallengeRefused => ("challenge-refused", 409, "the challenge is not accepted"),
            Self::Stale => ("stale", 409, "not newer than what the relay holds"),
            Self::SuccessionRefused => (
                "succession-refused",
                409,
                "the succession does not follow the identity that holds the handle",
            ),
            Self::NotDrained => (
                "not-drained",
                409,
                "the old identity has mail that it did not take",
            ),
            Self::EpochClosed => ("epoch-closed", 409, "the epoch is closed"),
            Self::HeadConflict => ("head-conflict", 409, "the log has moved on"),
            Self::SlugTaken => ("slug-taken", 409, "the slug is taken"),
            Self::WrongOffset => ("wrong-offset", 409, "the part does not begin where the blob ends"),
            Self::TooLarge => ("too-large", 413, "larger than the limit"),
            Self::UnsupportedMediaType => ("unsupported-media-type", 415, "unsupported media type"),
            Self::RateLimited => ("rate-limited", 429, "too many requests"),
            Self::Backlogged => ("backlogged", 429, "the recipient's backlog is full"),
            Self::Blocked => ("blocked", 403, "blocked"),
            Self::Gone => ("gone", 410, "no longer exists"),
            Self::Internal => ("internal", 500, "internal error"),
            Self::Unavailable => ("unavailable", 503, "cannot store now"),
        }
    }

    /// The name at the end of the URI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The URI in `type`.
    #[must_use]
    pub fn uri(self) -> String {
        format!("urn:waxwire:problem:{}", self.row().0)
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// The title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The type with this URI.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.uri() == uri)
    }
}

/// A problem document, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// [`ProblemType::uri`].
    #[serde(rename = "type")]
    pub kind: String,
    /// [`ProblemType::title`].
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to fix, for 4xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request's id in the relay's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Which limit, its value and what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Seconds until another try makes sense; the same as `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The signed object that the relay holds and to which another one does not measure up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Base64Bytes>,
    /// How many bytes of a blob the relay has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// A limit that was exceeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The limit's key.
    pub name: String,
    /// Its value.
    pub max: u64,
    /// What was found.
    pub actual: u64,
}

impl Problem {
    /// A problem of a kind without particulars.
    #[must_use]
    pub fn new(kind: ProblemType) -> Self {
        Self {
            kind: kind.uri(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: None,
            instance: None,
            limit: None,
            retry_after: None,
            held: None,
            offset: None,
        }
    }

    /// The same with what to fix.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The kind, if this version knows it.
    #[must_use]
    pub fn problem_type(&self) -> Option<ProblemType> {
        ProblemType::from_uri(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_types_have_distinct_names() {
        for (i, kind) in ProblemType::ALL.iter().enumerate() {
            assert_eq!(ProblemType::from_uri(&kind.uri()), Some(*kind));
            assert!(
                ProblemType::ALL[i + 1..]
                    .iter()
                    .all(|other| other.uri() != kind.uri())
            );
        }
    }
}
