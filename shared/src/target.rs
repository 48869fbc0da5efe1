//! Where a webhook may lead: URLs, read strictly, and hosts that an operator allows.
//!
//! What a URL means must not depend on who reads it. So there is one way to write each address, no user,
//! no fragment, and nothing that some programs correct silently.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::reach::is_disguised_address;

/// Longest URL in bytes.
const LONGEST: usize = 2_048;

/// Why text is not the URL of a webhook, or not a host to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not `http://` or `https://` with a host.
    #[error("not a URL of the form http[s]://host[:port]/path")]
    Malformed,
    /// Not `HOST` or `HOST:PORT`.
    #[error("not HOST or HOST:PORT")]
    Rule,
    /// Not `ADDRESS/BITS`.
    #[error("not a network such as 10.1.0.0/16")]
    Network,
    /// Longer than 2,048 bytes.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// It has a user or a password.
    #[error("a URL with a user or a password")]
    UserInfo,
    /// The host is an address in a spelling that only some programs take for one.
    #[error("an address has to be written in its plain form")]
    Disguised,
    /// The host is an address that nothing may be sent to.
    #[error("nothing is ever sent to this address")]
    Never,
}

/// Whom a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// A host as it stands in a URL, IPv6 in brackets.
    fn parse(text: &str) -> Result<Self, TargetError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(TargetError::Malformed)?;
            let address = inner.parse().map_err(|_| TargetError::Malformed)?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        if is_disguised_address(text) {
            return Err(TargetError::Disguised);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return Err(TargetError::Malformed);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }

    /// A name to resolve, or an address as text without brackets.
    #[must_use]
    pub fn unbracketed(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Where a webhook is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    tls: bool,
    host: Host,
    port: u16,
    path: String,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`TargetError`] but for `Never`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > LONGEST {
            return Err(TargetError::TooLong);
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(TargetError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Malformed)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError::Malformed),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (host, port) = split(authority)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            tls,
            host: Host::parse(host)?,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: format!("{slash}{path}"),
        })
    }

    /// Whether it is called over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whom it names.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As in the header `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Host and port.
fn split(authority: &str) -> Result<(&str, Option<u16>), TargetError> {
    let end = authority.find(']').map_or(0, |end| end + 1);
    let Some(colon) = authority[end..].find(':').map(|colon| end + colon) else {
        return Ok((authority, None));
    };
    let digits = &authority[colon + 1..];
    let port = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
        .ok_or(TargetError::Malformed)?;
    Ok((&authority[..colon], Some(port)))
}

/// A host, or one port of it, as an operator names it: `HOST` or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    host: Host,
    port: Option<u16>,
}

impl HostRule {
    /// Whom it names.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Whether it names the host of a URL.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.host == target.host && self.port.is_none_or(|port| port == target.port)
    }
}

impl FromStr for HostRule {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let malformed = |error| match error {
            TargetError::Malformed => TargetError::Rule,
            other => other,
        };
        let (host, port) = split(text).map_err(malformed)?;
        let host = Host::parse(host).map_err(malformed)?;
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_url_are_read() {
        for (text, authority, port, path) in [
            (
                "http://127.0.0.1:8080/hook?x=1",
                "127.0.0.1:8080",
                8080,
                "/hook?x=1",
            ),
            ("http://LocalHost", "localhost", 80, "/"),
            ("http://localhost?a=b", "localhost", 80, "/?a=b"),
            ("https://[::1]:443/a", "[::1]", 443, "/a"),
            ("https://a-b.example:8443", "a-b.example:8443", 8443, "/"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (target.authority().as_str(), target.port(), target.path()),
                (authority, port, path),
                "{text}"
            );
            assert_eq!(target.is_tls(), text.starts_with("https"));
        }
    }

    #[test]
    fn urls_that_mean_something_else_elsewhere_are_refused() {
        for (text, error) in [
            ("http://user@127.0.0.1/", TargetError::UserInfo),
            ("http://127.0.0.1@example.com/", TargetError::UserInfo),
            ("http://2130706433/", TargetError::Disguised),
            ("http://0177.0.0.1/", TargetError::Disguised),
            ("http://0x7f000001/", TargetError::Disguised),
            ("http://127.1/", TargetError::Disguised),
            ("http://127.0.0.1./", TargetError::Disguised),
            ("http://[::1/", TargetError::Malformed),
            ("http://[::1]x/", TargetError::Malformed),
            ("http://[fe80::1%25eth0]/", TargetError::Malformed),
            ("http://localhost./", TargetError::Malformed),
            ("http://127.0.0.1\\@example.com/", TargetError::Malformed),
            ("http://127.0.0.1/#x", TargetError::Malformed),
            ("http://127.0.0.1/ x", TargetError::Malformed),
            ("http://127.0.0.1/\r\nx: y", TargetError::Malformed),
            ("http://127.0.0.1:0/", TargetError::Malformed),
            ("http://127.0.0.1:/", TargetError::Malformed),
            ("http://127.0.0.1:+80/", TargetError::Malformed),
            ("http:///path", TargetError::Malformed),
            ("HTTP://127.0.0.1/", TargetError::Malformed),
            ("gopher://127.0.0.1/", TargetError::Malformed),
            ("/hook", TargetError::Malformed),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        let long = format!("http://127.0.0.1/{}", "a".repeat(LONGEST));
        assert_eq!(Target::parse(&long), Err(TargetError::TooLong));
    }

    #[test]
    fn rule_names_a_host_or_one_port_of_it() {
        let rule = |text: &str| text.parse::<HostRule>();
        let target = Target::parse("http://Agent.internal:8080/").unwrap();
        assert!(rule("agent.internal").unwrap().matches(&target));
        assert!(rule("AGENT.internal:8080").unwrap().matches(&target));
        assert!(!rule("agent.internal:80").unwrap().matches(&target));
        assert!(!rule("internal").unwrap().matches(&target));
        for (text, error) in [
            ("012.1.1.1", TargetError::Disguised),
            ("a b", TargetError::Rule),
            ("host:port", TargetError::Rule),
            ("", TargetError::Rule),
        ] {
            assert_eq!(rule(text), Err(error), "{text}");
        }
    }
}
