//! Where a webhook may lead. A URL is read strictly; its host has to be this machine, or one that the
//! operator names; and every address that the host resolves to, at each call, has to be one that such a
//! host may have. So neither a spelling nor a name that resolves to something else leads elsewhere.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;
use waxwire_shared::reach::{Reach, is_disguised_address};

/// Longest URL in bytes.
const LONGEST: usize = 2_048;

/// Why text is not the URL of a webhook, or not a host to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not `http://` or `https://` with a host.
    #[error("not a URL of the form http[s]://host[:port]/path")]
    Malformed,
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
enum Host {
    Name(String),
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
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
        if !text.bytes().all(plain) {
            return Err(TargetError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TargetError::Malformed),
        };
        let authority = uri.authority().ok_or(TargetError::Malformed)?.as_str();
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (host, port) = split(authority)?;
        Ok(Self {
            tls,
            host: Host::parse(host)?,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Whether it is called over TLS.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name to resolve, or the address as text without brackets.
    pub(super) fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }

    /// The address, if the URL has one in place of a name.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// As in the header `Host`.
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Whether its host is this machine.
    fn is_here(&self) -> bool {
        match &self.host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => Reach::of(*address) == Reach::Loopback,
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

/// A host, or one port of it, that webhooks may call besides this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host,
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = split(text)?;
        let host = Host::parse(host)?;
        match host {
            Host::Address(address) if Reach::of(address) == Reach::Never => Err(TargetError::Never),
            _ => Ok(Self { host, port }),
        }
    }
}

/// Which hosts webhooks may call.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Vec<AllowedHost>);

impl Allowed {
    /// This machine, and these.
    #[must_use]
    pub const fn new(hosts: Vec<AllowedHost>) -> Self {
        Self(hosts)
    }

    fn is_named(&self, target: &Target) -> bool {
        self.0
            .iter()
            .any(|allowed| allowed.host == target.host && allowed.port.is_none_or(|port| port == target.port))
    }

    /// Whether a webhook may name this host.
    #[must_use]
    pub fn permits(&self, target: &Target) -> bool {
        target.is_here() || self.is_named(target)
    }

    /// Whether this host may be called at this address.
    #[must_use]
    pub fn permits_at(&self, target: &Target, address: IpAddr) -> bool {
        match Reach::of(address) {
            Reach::Loopback => self.permits(target),
            Reach::Private | Reach::Public => self.is_named(target),
            Reach::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    fn allowed(hosts: &[&str]) -> Allowed {
        Allowed::new(hosts.iter().map(|host| host.parse().unwrap()).collect())
    }

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
            ("https://[::1]:443/a", "[::1]", 443, "/a"),
            ("https://a-b.example:8443", "a-b.example:8443", 8443, "/"),
        ] {
            let target = target(text);
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
            ("http://[fe80::1%25eth0]/", TargetError::Malformed),
            ("http://localhost./", TargetError::Malformed),
            ("http://127.0.0.1\\@example.com/", TargetError::Malformed),
            ("http://127.0.0.1/#x", TargetError::Malformed),
            ("http://127.0.0.1/ x", TargetError::Malformed),
            ("http://127.0.0.1:0/", TargetError::Malformed),
            ("http://127.0.0.1:/", TargetError::Malformed),
            ("http://127.0.0.1:+80/", TargetError::Malformed),
            ("gopher://127.0.0.1/", TargetError::Malformed),
            ("/hook", TargetError::Malformed),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        let long = format!("http://127.0.0.1/{}", "a".repeat(LONGEST));
        assert_eq!(Target::parse(&long), Err(TargetError::TooLong));
    }

    #[test]
    fn this_machine_is_allowed_at_its_own_addresses_only() {
        let allowed = allowed(&[]);
        for text in ["http://localhost", "http://127.0.0.1", "http://[::1]"] {
            let target = target(text);
            assert!(allowed.permits(&target));
            for address in ["127.0.0.1", "127.0.0.2", "::1"] {
                assert!(allowed.permits_at(&target, address.parse().unwrap()));
            }
            for address in [
                "10.0.0.1",
                "1.1.1.1",
                "169.254.169.254",
                "0.0.0.0",
                "::",
                "::ffff:127.0.0.1",
                "fe80::1",
                "64:ff9b::7f00:1",
            ] {
                assert!(
                    !allowed.permits_at(&target, address.parse().unwrap()),
                    "{address}"
                );
            }
        }
        for text in [
            "http://example.com",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::ffff:127.0.0.1]",
            "http://localhost.example",
        ] {
            assert!(!allowed.permits(&target(text)), "{text}");
        }
    }

    #[test]
    fn host_that_the_operator_names_is_allowed_but_nowhere_bad() {
        let allowed = allowed(&["agent.internal:8080", "10.1.2.3", "[fd00::1]:80"]);
        let named = target("http://Agent.internal:8080/");
        for address in ["10.0.0.1", "1.1.1.1", "127.0.0.1", "fd00::2"] {
            assert!(allowed.permits_at(&named, address.parse().unwrap()), "{address}");
        }
        for address in ["169.254.169.254", "0.0.0.0", "::ffff:10.0.0.1", "224.0.0.1"] {
            assert!(!allowed.permits_at(&named, address.parse().unwrap()), "{address}");
        }
        assert!(!allowed.permits(&target("http://agent.internal/")));
        assert!(!allowed.permits(&target("http://agent.internal:8081/")));
        assert!(allowed.permits(&target("http://10.1.2.3:99/")));
        assert!(allowed.permits(&target("http://[fd00::1]/")));
        for (text, error) in [
            ("169.254.169.254", TargetError::Never),
            ("[::ffff:10.0.0.1]", TargetError::Never),
            ("0.0.0.0", TargetError::Never),
            ("012.1.1.1", TargetError::Disguised),
            ("a b", TargetError::Malformed),
            ("host:port", TargetError::Malformed),
            ("", TargetError::Malformed),
        ] {
            assert_eq!(text.parse::<AllowedHost>(), Err(error), "{text}");
        }
    }
}
