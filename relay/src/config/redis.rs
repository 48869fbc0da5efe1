//! Where Redis is.

use redis::IntoConnectionInfo as _;
use zeroize::Zeroizing;

/// `redis://...` or, over TLS, `rediss://...`. There may be a password in it, so it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Zeroizing<String>);

/// Text that is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redis is at redis://HOST[:PORT][/NUMBER], or over TLS at rediss://...")]
pub struct RedisUrlError;

impl RedisUrl {
    /// The URL.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let is_of_redis = text.starts_with("redis://") || text.starts_with("rediss://");
        if is_of_redis && text.into_connection_info().is_ok() {
            Ok(Self(text.to_owned().into()))
        } else {
            Err(RedisUrlError)
        }
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_redis_are_taken_and_none_is_shown() {
        for good in [
            "redis://host",
            "redis://user:hunter2@host:6380/3",
            "rediss://host",
        ] {
            let url: RedisUrl = good.parse().unwrap();
            assert_eq!(url.expose_text(), good);
            assert_eq!(format!("{url:?}"), "RedisUrl");
        }
        for bad in [
            "",
            "host",
            "http://host",
            "redis://",
            "redis://host:x",
            "redis://host/x",
            "unix:///run/redis",
        ] {
            assert_eq!(bad.parse::<RedisUrl>(), Err(RedisUrlError), "{bad}");
        }
    }
}
