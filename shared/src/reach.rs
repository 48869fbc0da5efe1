//! Where an IP address leads, for programs that connect to addresses that others have named.
//!
//! A name or an address out of somebody's request must not lead a program to its own machine, to its
//! neighbours or to the metadata service of a cloud. [`Reach::of`] sorts every address into one kind;
//! what is not [`Reach::Public`] needs the operator's word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine: 127.0.0.0/8 and `::1`.
    Loopback,
    /// Other machines of the operator: RFC 1918, RFC 6598, unique local addresses.
    Private,
    /// One host that is reachable from everywhere.
    Public,
    /// Nothing that a program may be sent to: unspecified, link-local with the metadata services there,
    /// multicast, broadcast, documentation, reserved, and every IPv6 address that carries an IPv4 one.
    Never,
}

impl Reach {
    /// Sorts an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Self::Private,
            // This network, link-local, protocol assignments, documentation, 6to4 relays, benchmarks,
            // multicast and everything reserved above it.
            [0, ..]
            | [169, 254, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..] => Self::Never,
            _ => Self::Public,
        }
    }

    /// Of the unicast space only 2000::/3 is given out; within it, what carries an IPv4 address (Teredo,
    /// 6to4) or belongs to nobody is left out. NAT64, mapped and compatible addresses are outside of it.
    const fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // The metadata service of a cloud, within its private space.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Self::Never,
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Never,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Never,
        }
    }
}

/// Whether the host of a URL is written as a number in a way that only some programs take for an address:
/// decimal, octal, hexadecimal or short, such as `2130706433`, `0177.0.0.1`, `0x7f.1` and `127.1`. The plain
/// form of an address is none of them.
#[must_use]
pub fn is_disguised_address(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let digits = last.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    !last.is_empty() && (digits || hexadecimal) && host.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        Reach::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_this_machine_are_loopback() {
        for text in ["127.0.0.1", "127.0.0.0", "127.255.255.255", "::1"] {
            assert_eq!(reach(text), Reach::Loopback, "{text}");
        }
    }

    #[test]
    fn addresses_of_neighbours_are_private() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "fc00::1",
            "fdff::1",
        ] {
            assert_eq!(reach(text), Reach::Private, "{text}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_good_are_never_used() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert_eq!(reach(text), Reach::Never, "{text}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "172.32.0.1",
            "192.1.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(reach(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn numbers_that_some_take_for_addresses_are_disguised() {
        for host in [
            "2130706433",
            "0177.0.0.1",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.1",
            "0127.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "example.0x7f",
            "0X7F.0.0.1",
            "256.1.1.1",
        ] {
            assert!(is_disguised_address(host), "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "localhost",
            "a1",
            "1a.example",
            "x0x7f",
            "7.example",
        ] {
            assert!(!is_disguised_address(host), "{host}");
        }
    }
}
