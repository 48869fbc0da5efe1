//! Whom webhooks may call: this machine, and what the operator names. Every address that a host resolves
//! to, at each call, has to be one that such a host may have, so no name leads elsewhere.

use std::{net::IpAddr, str::FromStr};

use waxwire_outbound::hook::Rules;
use waxwire_shared::{
    reach::Reach,
    target::{Host, HostRule, Target, TargetError},
};

/// A host, or one port of it, that webhooks may call besides this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(HostRule);

impl FromStr for AllowedHost {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rule: HostRule = text.parse()?;
        match rule.host() {
            Host::Address(address) if Reach::of(*address) == Reach::Never => Err(TargetError::Never),
            _ => Ok(Self(rule)),
        }
    }
}

/// Which hosts webhooks may call.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Vec<AllowedHost>);

/// Whether a URL names this machine.
fn is_here(target: &Target) -> bool {
    match target.host() {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => Reach::of(*address) == Reach::Loopback,
    }
}

impl Allowed {
    /// This machine, and these.
    #[must_use]
    pub const fn new(hosts: Vec<AllowedHost>) -> Self {
        Self(hosts)
    }

    fn is_named(&self, target: &Target) -> bool {
        self.0.iter().any(|allowed| allowed.0.matches(target))
    }
}

impl Rules for Allowed {
    fn permits(&self, target: &Target) -> bool {
        is_here(target) || self.is_named(target)
    }

    fn permits_at(&self, target: &Target, address: IpAddr) -> bool {
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
            ("a b", TargetError::Rule),
            ("host:port", TargetError::Rule),
            ("", TargetError::Rule),
        ] {
            assert_eq!(text.parse::<AllowedHost>(), Err(error), "{text}");
        }
    }
}
