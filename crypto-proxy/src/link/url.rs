//! Where a relay is, as people write it: `https://host[:port][#fingerprint]`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::Uri;
use waxwire_shared::fingerprint::Fingerprint;

/// The address of a relay and, where it was given, the fingerprint that its identity must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    tls: bool,
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
    fingerprint: Option<Fingerprint>,
}

/// Why text is not the address of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// Not `http(s)://host[:port]`, or with a path, a query or a user.
    #[error("a relay is https://host[:port], with #fingerprint if it is known")]
    Malformed,
    /// What follows `#` is no fingerprint.
    #[error("a relay's fingerprint has 64 hexadecimal digits")]
    Fingerprint,
    /// `http://` to another machine, where the API key would travel in clear.
    #[error("a relay on another machine needs https")]
    Insecure,
}

impl RelayUrl {
    /// Parses `http(s)://host[:port][/][#fingerprint]`. `http` is for this machine only, unless
    /// `allow_insecure`.
    ///
    /// # Errors
    /// [`RelayUrlError`].
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Self, RelayUrlError> {
        let (address, fingerprint) = match text.split_once('#') {
            Some((address, digits)) => {
                let fingerprint = digits.parse().map_err(|_| RelayUrlError::Fingerprint)?;
                (address, Some(fingerprint))
            }
            None => (text, None),
        };
        let uri: Uri = address.parse().map_err(|_| RelayUrlError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(RelayUrlError::Malformed),
        };
        let authority = uri.authority().ok_or(RelayUrlError::Malformed)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let port = authority
            .as_str()
            .strip_prefix(authority.host())
            .ok_or(RelayUrlError::Malformed)?;
        let host = bare_host(authority.host()).ok_or(RelayUrlError::Malformed)?;
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| RelayUrlError::Malformed)?,
            None if !port.is_empty() => return Err(RelayUrlError::Malformed),
            None if tls => 443,
            None => 80,
        };
        if !bare || host.is_empty() || port == 0 || authority.as_str().contains('@') {
            return Err(RelayUrlError::Malformed);
        }
        let url = Self {
            tls,
            host,
            port,
            fingerprint,
        };
        if url.tls || url.is_loopback() || allow_insecure {
            Ok(url)
        } else {
            Err(RelayUrlError::Insecure)
        }
    }

    /// The fingerprint that the relay's identity must have, where it was given.
    #[must_use]
    pub const fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// A name or an address, IPv6 without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// `host[:port]` as in the `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn is_loopback(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        self.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    }
}

/// A host in the one way to write it, without the brackets of an IPv6 address, which stand around a whole address or
/// nowhere.
fn bare_host(host: &str) -> Option<String> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            Some(address.to_string())
        }
        None => (!host.contains(['[', ']', ':'])).then(|| host.to_ascii_lowercase()),
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())?;
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "#{fingerprint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_parse_agree() {
        let with_fingerprint = format!("https://relay.example#{}", "ab".repeat(32));
        for (text, host, port) in [
            ("http://127.0.0.1:7600", "127.0.0.1", 7600),
            ("http://localhost", "localhost", 80),
            ("http://[::1]:7600", "::1", 7600),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("https://relay.example:8443", "relay.example", 8443),
            (&with_fingerprint, "relay.example", 443),
        ] {
            let url = RelayUrl::parse(text, false).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.to_string(), text);
            assert_eq!(RelayUrl::parse(&url.to_string(), false), Ok(url));
        }
        let folded = RelayUrl::parse("https://Relay.Example:443/", false).unwrap();
        assert_eq!(folded.to_string(), "https://relay.example");
        let local = RelayUrl::parse("http://[0:0::01]:80", false).unwrap();
        assert_eq!(local.to_string(), "http://[::1]");
    }

    #[test]
    fn parse_refuses_what_is_no_relay() {
        for bad in [
            "",
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://relay.example/v1",
            "https://relay.example/?a=b",
            "https://user:word@relay.example",
            "https://relay.example:0",
            "https://relay.example:99999",
            "https://relay.example:",
            "https://a[::1]:80",
            "https://[::1]a",
            "https://[relay.example]",
            "unix:/run/relay",
        ] {
            assert_eq!(RelayUrl::parse(bad, true), Err(RelayUrlError::Malformed), "{bad}");
        }
        assert_eq!(
            RelayUrl::parse("https://relay.example#12", true),
            Err(RelayUrlError::Fingerprint)
        );
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for far in [
            "http://relay.example",
            "http://10.0.0.1:7600",
            "http://localhost.example",
        ] {
            assert_eq!(RelayUrl::parse(far, false), Err(RelayUrlError::Insecure), "{far}");
            assert!(RelayUrl::parse(far, true).is_ok());
        }
        assert!(RelayUrl::parse("http://127.9.9.9", false).is_ok());
    }
}
