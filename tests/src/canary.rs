//! Secrets of a run, and the search for them where they must not be.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use serde_json::Value;

/// Shortest text that cannot turn up by chance.
const SHORTEST: usize = 16;
/// What is looked for of a longer one: whoever shortens a leak leaks all the same.
const LONGEST: usize = 24;
/// Fewest different bytes.
const VARIETY: usize = 5;
/// Most secrets that are looked for.
const MOST: usize = 256;
/// Length of the windows by which a search begins.
const WINDOW: usize = 8;

/// Texts that must not be found in clear in any file; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Canaries(Arc<Mutex<Vec<Vec<u8>>>>);

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In which file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: usize,
    /// What.
    pub secret: String,
}

/// Unique text of 32 random hexadecimal digits after a name.
///
/// # Errors
/// The system has no randomness.
pub fn unique(name: &str) -> anyhow::Result<String> {
    Ok(format!("{name}-{}", hex::encode(random::<16>()?)))
}

/// Random bytes.
///
/// # Errors
/// The system has no randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "secrets of a test are not repeatable by design; this is the one place that makes them"
)]
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

impl Canaries {
    /// A text must not be found. Short and monotonous ones are passed over, and so is what exceeds a
    /// fair number.
    pub fn forbid(&self, text: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = &text.as_bytes()[..text.len().min(LONGEST)];
        let variety = secret.iter().collect::<HashSet<_>>().len();
        let telling = secret.len() >= SHORTEST && variety >= VARIETY;
        if telling && all.len() < MOST && !all.iter().any(|known| known == secret) {
            all.push(secret.to_vec());
        }
    }

    /// Forbids every text of a value, the names of fields and handles aside.
    pub fn forbid_all(&self, value: &Value) {
        match value {
            Value::String(text) => self.forbid(text),
            Value::Array(items) => items.iter().for_each(|item| self.forbid_all(item)),
            Value::Object(fields) => {
                let open = ["to", "conversation_id", "type", "reply_to"];
                for (_, value) in fields.iter().filter(|(name, _)| !open.contains(&name.as_str())) {
                    self.forbid_all(value);
                }
            }
            _ => {}
        }
    }

    /// Where in some bytes a secret begins.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, String)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_window: HashMap<[u8; WINDOW], Vec<&[u8]>> = HashMap::new();
        for secret in all.iter() {
            if let Some(window) = secret.first_chunk() {
                by_window.entry(*window).or_default().push(secret);
            }
        }
        (0..bytes.len()).find_map(|at| {
            let rest = &bytes[at..];
            let secrets = by_window.get(rest.first_chunk()?)?;
            let secret = secrets.iter().find(|secret| rest.starts_with(secret))?;
            Some((at, String::from_utf8_lossy(secret).into_owned()))
        })
    }

    /// Searches every file below a folder but those that `allowed` names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn search(&self, folder: &Path, allowed: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<Found>> {
        let mut found = Vec::new();
        for file in files(folder)? {
            if allowed(&file) {
                continue;
            }
            // The program may have removed it since.
            let Ok(bytes) = fs::read(&file) else { continue };
            if let Some((offset, secret)) = self.find(&bytes) {
                found.push(Found { file, offset, secret });
            }
        }
        Ok(found)
    }
}

/// Every ordinary file below a folder.
///
/// # Errors
/// A folder cannot be read.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(self::files(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_finds_a_secret_and_only_that() {
        let canaries = Canaries::default();
        let secret = unique("text").unwrap();
        canaries.forbid(&secret);
        canaries.forbid("short");
        canaries.forbid(&"t".repeat(100));
        let mut bytes = vec![b't'; 1000];
        assert_eq!(canaries.find(&bytes), None);
        bytes.splice(500..500, secret.bytes());
        assert_eq!(canaries.find(&bytes), Some((500, secret[..LONGEST].to_owned())));
        assert_eq!(canaries.find(&bytes[501..]), None);
        assert_eq!(canaries.find(b"short text"), None);
    }

    #[test]
    fn every_text_of_a_body_is_forbidden_but_the_recipient() {
        let canaries = Canaries::default();
        let (id, deep, to) = (
            unique("id").unwrap(),
            unique("deep").unwrap(),
            unique("to").unwrap(),
        );
        canaries.forbid_all(&serde_json::json!({
            "to": to, "client_msg_id": id, "content": { "data": [{ "text": deep }] },
        }));
        for secret in [id, deep] {
            assert!(canaries.find(secret.as_bytes()).is_some());
        }
        assert_eq!(canaries.find(to.as_bytes()), None);
    }
}
