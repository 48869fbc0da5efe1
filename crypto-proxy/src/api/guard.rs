//! Who may speak to the local API: checked before anything else on every route, also on those that
//! do not exist.
//!
//! A page in a browser of this machine reaches localhost too. It cannot lie about `Host` and
//! `Origin`, does not know the token, and cannot send JSON or an `Authorization` header to another
//! origin without a preflight, which nobody here answers.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{ApiState, error::ApiError, live, uploads};

/// Routes that answer without a token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The values of `Host` under which this listener may be addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
    may_be_absent: bool,
}

impl Hosts {
    /// Of a TCP listener: `127.0.0.1`, `localhost`, `[::1]` and the bound address, each with the
    /// bound port (port 80 also without).
    #[must_use]
    pub fn tcp(bound: SocketAddr) -> Self {
        let port = bound.port();
        let mut names = vec![
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            bound.to_string(),
        ];
        if port == 80 {
            let without: Vec<String> = names
                .iter()
                .filter_map(|name| name.strip_suffix(":80").map(str::to_owned))
                .collect();
            names.extend(without);
        }
        Self {
            names,
            may_be_absent: false,
        }
    }

    /// Of a Unix socket: `localhost` or none at all.
    #[must_use]
    pub fn unix() -> Self {
        Self {
            names: vec!["localhost".to_owned()],
            may_be_absent: true,
        }
    }

    fn knows(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| known.as_bytes() == name)
    }

    /// A target in absolute form names a host too; both have to be right.
    fn allow_host(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let target = uri
            .authority()
            .is_none_or(|authority| self.knows(authority.as_str().as_bytes()));
        target
            && match single(headers, &HOST) {
                Single::One(host) => self.knows(host.as_bytes()),
                Single::None => self.may_be_absent,
                Single::Many => false,
            }
    }

    fn allow_origin(&self, headers: &HeaderMap) -> bool {
        match single(headers, &ORIGIN) {
            Single::One(origin) => origin
                .as_bytes()
                .strip_prefix(b"http://")
                .is_some_and(|host| self.knows(host)),
            Single::None => true,
            Single::Many => false,
        }
    }
}

enum Single<'a> {
    None,
    One(&'a HeaderValue),
    Many,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Single<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Single::None,
        (Some(value), None) => Single::One(value),
        (Some(_), Some(_)) => Single::Many,
    }
}

/// What a request has shown of who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The token.
    Token,
    /// Nothing, on a route where it need not.
    Nothing,
}

/// The middleware.
pub(super) async fn guard(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    match check(&state, &request) {
        Ok(shown) => {
            request.extensions_mut().insert(shown);
            next.run(request).await
        }
        Err(error) => {
            let mut response = error.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

fn check(state: &ApiState, request: &Request) -> Result<Shown, ApiError> {
    let (headers, uri) = (request.headers(), request.uri());
    if !state.hosts().allow_host(headers, uri) {
        return Err(ApiError::forbidden("this host name is not served here"));
    }
    if !state.hosts().allow_origin(headers) {
        return Err(ApiError::forbidden("this origin is not served here"));
    }
    let shown = if has_token(state, headers) {
        Shown::Token
    } else {
        Shown::Nothing
    };
    if shown == Shown::Nothing && !is_open(uri.path(), headers) {
        return Err(ApiError::unauthorized("the bearer token is missing or wrong"));
    }
    if !is_utf8_path(uri.path()) {
        return Err(ApiError::invalid(
            &["path"],
            "the path is not percent-encoded UTF-8",
        ));
    }
    let bytes = uploads::takes_bytes(uri.path());
    if has_body(request) && !bytes && !is_json(headers) {
        return Err(ApiError::invalid(
            &["content-type"],
            "a body needs one Content-Type: application/json",
        ));
    }
    Ok(shown)
}

/// Whether a request without the token may pass. At a socket the token may come later, but a wrong one
/// is refused at once.
fn is_open(path: &str, headers: &HeaderMap) -> bool {
    let open = OPEN.contains(&path) || uploads::has_ticket(path);
    open || live::is_socket(path) && !headers.contains_key(AUTHORIZATION)
}

fn has_token(state: &ApiState, headers: &HeaderMap) -> bool {
    let Single::One(value) = single(headers, &AUTHORIZATION) else {
        return false;
    };
    let value = value.as_bytes();
    let Some((scheme, token)) = value.split_at_checked(b"Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && state.token().matches(token)
}

/// Whether every `%` begins an escape and what they stand for is UTF-8.
fn is_utf8_path(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return false;
        };
        decoded.extend(u8::try_from(high << 4 | low));
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// Whether a request that may change something announces a body.
fn has_body(request: &Request) -> bool {
    if !matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        return false;
    }
    let headers = request.headers();
    let length = headers
        .get(http::header::CONTENT_LENGTH)
        .map(HeaderValue::as_bytes);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

/// Exactly one `application/json`, with no parameter but `charset=utf-8`.
fn is_json(headers: &HeaderMap) -> bool {
    let Single::One(value) = single(headers, &CONTENT_TYPE) else {
        return false;
    };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let utf8 = |parameter: &str| {
        parameter.is_empty()
            || parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
    };
    essence && parts.all(utf8)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
