//! Whom the relay may call. Agents choose the URLs, so each is taken for an attempt to reach what only the
//! relay can: its own machine, its neighbours, the metadata service of its cloud.
//!
//! Without the operator's word a call goes over TLS and to public unicast addresses only. A name is
//! resolved for each call, and all of its addresses have to be allowed.

use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use waxwire_outbound::hook::Rules;
use waxwire_shared::{
    reach::Reach,
    target::{Host, HostRule, Target, TargetError},
};

/// A host, one port of it, or a network that may be called besides, without TLS, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAllow {
    /// `HOST` or `HOST:PORT`.
    Host(HostRule),
    /// `ADDRESS/BITS`.
    Network(IpAddr, u8),
}

impl FromStr for HookAllow {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let Some((address, bits)) = text.split_once('/') else {
            return text.parse().map(Self::Host);
        };
        let address: IpAddr = address.parse().map_err(|_| TargetError::Network)?;
        let bits: u8 = bits.parse().map_err(|_| TargetError::Network)?;
        if bits > width(address) {
            return Err(TargetError::Network);
        }
        Ok(Self::Network(address, bits))
    }
}

impl<'de> Deserialize<'de> for HookAllow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let rest = u32::from(width(network) - bits);
    network.is_ipv4() == address.is_ipv4()
        && (rest >= 128 || number(network) >> rest == number(address) >> rest)
}

/// Whom the relay may call.
#[derive(Debug, Clone, Default)]
pub struct HookRules(Vec<HookAllow>);

impl HookRules {
    /// Public addresses over TLS, and these.
    #[must_use]
    pub const fn new(allowed: Vec<HookAllow>) -> Self {
        Self(allowed)
    }

    fn names(&self, target: &Target) -> bool {
        self.0
            .iter()
            .any(|allow| matches!(allow, HookAllow::Host(rule) if rule.matches(target)))
    }

    fn holds(&self, address: IpAddr) -> bool {
        self.0.iter().any(|allow| match allow {
            HookAllow::Network(network, bits) => contains(*network, *bits, address),
            HookAllow::Host(_) => false,
        })
    }
}

impl Rules for HookRules {
    fn permits(&self, target: &Target) -> bool {
        match target.host() {
            Host::Address(address) => self.permits_at(target, *address),
            Host::Name(_) => {
                let networks = self.0.iter().any(|allow| matches!(allow, HookAllow::Network(..)));
                target.is_tls() || networks || self.names(target)
            }
        }
    }

    fn permits_at(&self, target: &Target, address: IpAddr) -> bool {
        match Reach::of(address) {
            Reach::Never => false,
            _ if self.names(target) || self.holds(address) => true,
            Reach::Public => target.is_tls(),
            Reach::Loopback | Reach::Private => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str]) -> HookRules {
        HookRules::new(allowed.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn at(rules: &HookRules, url: &str, address: &str) -> bool {
        rules.permits_at(&target(url), address.parse().unwrap())
    }

    const NOWHERE: [&str; 12] = [
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "fe80::1",
        "ff02::1",
    ];

    #[test]
    fn only_public_addresses_over_tls_are_called() {
        let rules = rules(&[]);
        let name = "https://hooks.example/";
        for address in ["8.8.8.8", "2606:4700::1111"] {
            assert!(at(&rules, name, address), "{address}");
            assert!(!at(&rules, "http://hooks.example/", address), "{address}");
        }
        let inside = [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "fd00::1",
        ];
        for address in inside.into_iter().chain(NOWHERE) {
            assert!(!at(&rules, name, address), "{address}");
        }
        for url in [
            "http://8.8.8.8/",
            "http://hooks.example/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://10.0.0.1/",
            "https://169.254.169.254/",
            "https://[::ffff:8.8.8.8]/",
            "https://[fd00::1]/",
        ] {
            assert!(!rules.permits(&target(url)), "{url}");
        }
        assert!(rules.permits(&target(name)) && rules.permits(&target("https://8.8.8.8/")));
    }

    #[test]
    fn what_the_operator_names_is_called_without_tls_but_nothing_that_leads_nowhere() {
        let rules = rules(&["127.0.0.0/8", "fd00::/8", "sidecar.internal:8443"]);
        for (url, address) in [
            ("http://127.0.0.1:1/", "127.0.0.1"),
            ("http://anything/", "127.9.9.9"),
            ("https://anything/", "fd12::1"),
            ("http://sidecar.internal:8443/", "10.0.0.1"),
        ] {
            assert!(
                rules.permits(&target(url)) && at(&rules, url, address),
                "{url} {address}"
            );
        }
        for (url, address) in [
            ("http://anything/", "10.0.0.1"),
            ("http://anything/", "8.8.8.8"),
            ("https://anything/", "::1"),
            ("https://sidecar.internal/", "10.0.0.1"),
        ] {
            assert!(!at(&rules, url, address), "{url} {address}");
        }
        for address in NOWHERE {
            assert!(!at(&rules, "http://sidecar.internal:8443/", address), "{address}");
        }
        assert!(!at(
            &self::rules(&["0.0.0.0/0", "::/0"]),
            "http://x/",
            "169.254.169.254"
        ));
        assert!(at(&self::rules(&["0.0.0.0/0"]), "http://x/", "10.0.0.1"));
        assert!(at(&self::rules(&["::/0"]), "http://x/", "::1"));
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/x", "/8", "a/8"] {
            assert_eq!(text.parse::<HookAllow>(), Err(TargetError::Network), "{text}");
        }
    }
}
