//! Refusals: what the outside is told and what the log is told, kept apart.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use waxwire_shared::api::{
    problem::{Limit, Problem, ProblemType},
    rest::Base64Bytes,
};

use crate::{
    accounts::auth::AuthError,
    delivery::send::{SendRefusal, UNAVAILABLE_RETRY},
    logging,
    relay::RequestId,
    rng::RandomError,
    store::{ReadError, WriteError},
};

/// An answer other than success.
#[derive(Debug, Clone)]
pub struct ApiError {
    problem: Box<Problem>,
    /// For the log, never for the outside.
    cause: Option<Box<str>>,
}

impl ApiError {
    /// A refusal of a kind.
    #[must_use]
    pub fn new(kind: ProblemType) -> Self {
        Self {
            problem: Box::new(Problem::new(kind)),
            cause: None,
        }
    }

    /// A refusal of a malformed request, with what to fix.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::BadRequest).detail(detail)
    }

    /// The same with what to fix.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.problem.detail = Some(detail.into());
        self
    }

    /// The same with the limit that was exceeded.
    #[must_use]
    pub fn limit(mut self, name: &str, max: u64, actual: u64) -> Self {
        self.problem.limit = Some(Limit {
            name: name.to_owned(),
            max,
            actual,
        });
        self
    }

    /// The same with seconds until another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.problem.retry_after = Some(seconds);
        self
    }

    /// The same with the signed object that the relay holds instead.
    #[must_use]
    pub fn held(mut self, object: Vec<u8>) -> Self {
        self.problem.held = Some(Base64Bytes(object));
        self
    }

    /// The same with how much of a blob the relay has.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.problem.offset = Some(offset);
        self
    }

    /// A fault of the relay, told to the log only.
    #[must_use]
    pub fn fault(kind: ProblemType, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            problem: Box::new(Problem::new(kind)),
            cause: Some(logging::chain(error).to_string().into()),
        }
    }

    /// What the outside is told.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Why, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer with its body.
    #[must_use]
    pub fn render(mut self, id: RequestId) -> Response {
        self.problem.instance = Some(id.to_string());
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status(&self.problem);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Handlers answer with the error itself; `service` renders it, because it knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(&self.problem);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unknown => Self::new(ProblemType::Unauthorized),
            AuthError::Suspended => Self::new(ProblemType::Suspended),
            AuthError::Read(error) => error.into(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(_) => {
                Self::fault(ProblemType::Unavailable, &error).retry_after(UNAVAILABLE_RETRY)
            }
            ReadError::Row { .. } => Self::fault(ProblemType::Internal, &error),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            // The writer has logged why, once.
            WriteError::Unavailable => Self::new(ProblemType::Unavailable).retry_after(UNAVAILABLE_RETRY),
            WriteError::Failed => Self::fault(ProblemType::Internal, &error),
        }
    }
}

impl From<RandomError> for ApiError {
    fn from(error: RandomError) -> Self {
        Self::fault(ProblemType::Internal, &error)
    }
}

impl From<SendRefusal> for ApiError {
    fn from(refusal: SendRefusal) -> Self {
        let failed = matches!(refusal, SendRefusal::Write(WriteError::Failed));
        let cause = failed.then(|| logging::chain(&refusal).to_string().into());
        Self {
            problem: Box::new(refusal.problem()),
            cause,
        }
    }
}

/// Paths that do not exist.
pub(super) async fn not_found() -> ApiError {
    ApiError::new(ProblemType::NotFound)
}

/// Methods that a path does not have.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(ProblemType::MethodNotAllowed)
}
