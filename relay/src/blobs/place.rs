//! Where blobs are, as the operator says.

use std::{path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What `--blobs` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket, or what begins with a prefix in it: `s3://BUCKET[/PREFIX]`.
    Bucket {
        /// Its name.
        name: String,
        /// What the names of all objects begin with, without a slash at either end; may be empty.
        prefix: String,
    },
}

/// Text that names no place for blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blobs are in a folder or in s3://BUCKET[/PREFIX]")]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let Some(rest) = text.strip_prefix("s3://") else {
            // Not a folder named after a URL that is not understood.
            let is_folder = !text.is_empty() && !text.contains("://");
            return is_folder.then(|| Self::Folder(text.into())).ok_or(PlaceError);
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let named = (3..=63).contains(&name.len()) && name.bytes().all(plain);
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        if !named || !(prefix.is_empty() || prefix.split('/').all(part)) {
            return Err(PlaceError);
        }
        Ok(Self::Bucket {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// What opens a bucket. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    /// The id of the access key.
    pub key_id: String,
    /// The access key.
    pub secret: String,
    /// What goes with a key that is good for a while.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads text in the form of `~/.aws/credentials`: its section `[default]`, or what is in none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut key_id, mut secret, mut token) = (None, None, None);
        let mut is_ours = true;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_ours = line == "[default]";
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_ours) else {
                continue;
            };
            let value = Some(value.trim().to_owned());
            match name.trim() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
        Some(Self {
            key_id: key_id?,
            secret: secret?,
            token,
        })
    }
}

/// A bucket, and how to get there. What is not said here, the environment variables of AWS's own tools say.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    /// Its name.
    pub name: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
    /// URL of the store, if it is not AWS's own.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Whether the bucket is part of the host's name instead of the path.
    pub virtual_host: bool,
    /// What opens it.
    pub credentials: Option<Credentials>,
}

/// Where blobs are.
#[derive(Debug, Clone)]
pub struct BlobsConfig {
    /// The folder of all blobs, or of those that are not complete.
    pub folder: PathBuf,
    /// The bucket of those that are complete.
    pub bucket: Option<BucketConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_a_folder_or_a_bucket_with_a_prefix() {
        let bucket = |name: &str, prefix: &str| {
            Ok(Place::Bucket {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        for (text, place) in [
            ("/var/blobs", Ok(Place::Folder("/var/blobs".into()))),
            ("blobs", Ok(Place::Folder("blobs".into()))),
            ("s3://blobs", bucket("blobs", "")),
            ("s3://blobs/", bucket("blobs", "")),
            ("s3://blobs.example/a/b-1/", bucket("blobs.example", "a/b-1")),
            ("", Err(PlaceError)),
            ("s3:///a", Err(PlaceError)),
            ("s3://ab", Err(PlaceError)),
            ("s3://key:secret@blobs", Err(PlaceError)),
            ("s3://blobs/../a", Err(PlaceError)),
            ("s3://blobs/a//b", Err(PlaceError)),
            ("s3://blobs/a b", Err(PlaceError)),
            ("gs://blobs", Err(PlaceError)),
        ] {
            assert_eq!(text.parse(), place, "{text}");
        }
    }

    #[test]
    fn credentials_are_those_of_the_default_section() {
        let text = "# mine\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id=id\n\
                    aws_secret_access_key = a=b/c\nregion = x\n[last]\naws_secret_access_key = no\n";
        let found = Credentials::parse(text).unwrap();
        assert_eq!((found.key_id.as_str(), found.secret.as_str()), ("id", "a=b/c"));
        assert_eq!(found.token, None);
        assert_eq!(format!("{found:?}"), "Credentials");
        let bare = "aws_access_key_id = id\naws_secret_access_key = s\naws_session_token = t\n";
        assert_eq!(Credentials::parse(bare).unwrap().token.as_deref(), Some("t"));
        assert!(Credentials::parse("aws_access_key_id = id\n").is_none());
        assert!(Credentials::parse("[other]\naws_access_key_id = i\naws_secret_access_key = s").is_none());
    }
}
