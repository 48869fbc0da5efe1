//! What unlocks a key store: a passphrase or a key file (docs/protocol.md, 8.1).

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{KeyStoreError, files};
use crate::crypto::secret::StoreKek;

/// Name of the key file that `init` makes when it is given neither passphrase nor key file.
pub const KEY_FILE: &str = "key";
/// Name of the passphrase among systemd's credentials.
pub const CREDENTIAL: &str = "waxwire-passphrase";

const KEY_PREFIX: &str = "wxk_";
/// Longest passphrase or key file, in bytes.
const MAX_LENGTH: u64 = 4_096;

/// A passphrase, as bytes: no normalisation, no trimming but for one line end of a file.
#[derive(ZeroizeOnDrop)]
pub struct Passphrase(Box<[u8]>);

impl Passphrase {
    /// Wraps a passphrase.
    ///
    /// # Errors
    /// [`UnlockError::Empty`].
    pub fn new(passphrase: impl Into<Box<[u8]>>) -> Result<Self, UnlockError> {
        let passphrase = Self(passphrase.into());
        if passphrase.0.is_empty() {
            Err(UnlockError::Empty)
        } else {
            Ok(passphrase)
        }
    }

    /// The bytes, for the key derivation.
    pub(super) const fn expose_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What unlocks a key store.
#[derive(Debug)]
pub enum Unlock {
    /// A passphrase, stretched by Argon2id.
    Passphrase(Passphrase),
    /// A file of one line, `wxk_` and 64 lower-case hexadecimal digits, that nobody else can read.
    KeyFile(PathBuf),
}

/// The two ways to unlock a key store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlockKind {
    /// By a passphrase.
    Passphrase,
    /// By a key file.
    KeyFile,
}

/// Where the passphrase or key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlockOrigin {
    /// `--passphrase-file`.
    PassphraseFile,
    /// `--key-file`.
    KeyFile,
    /// The systemd credential [`CREDENTIAL`].
    Credential,
    /// The key file beside the store: whoever copies the folder has both. Worth a warning.
    Beside,
}

/// Where to look for a passphrase or key, as the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct UnlockSources {
    /// `--passphrase-file FILE`.
    pub passphrase_file: Option<PathBuf>,
    /// `--key-file FILE`.
    pub key_file: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`, which systemd sets.
    pub credentials: Option<PathBuf>,
}

/// Why passphrase or key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Both a passphrase file and a key file were named.
    #[error("both a passphrase file and a key file are named")]
    Ambiguous,
    /// The passphrase is empty.
    #[error("passphrase is empty")]
    Empty,
    /// The file is longer than any passphrase or key.
    #[error("{} is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// The file is not a key file.
    #[error("{} is not a key file", path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error("permissions {mode:03o} of {} are too open, at most {allowed:03o} is accepted", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The most that is accepted.
        allowed: u32,
    },
    /// The file cannot be read or made.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl UnlockSources {
    /// Finds what unlocks the store in `dir` and reads a passphrase: a named file first, then
    /// systemd's credential, else the key file in the folder.
    ///
    /// A key file is not read yet: [`KeyStore::open`](super::KeyStore::open) reads it, only
    /// [`KeyStore::create`](super::KeyStore::create) makes one that is missing.
    ///
    /// # Errors
    /// [`UnlockError`]. Files named on the command line must be closed to group and others;
    /// systemd sees to its credentials itself.
    pub fn find(&self, dir: &Path) -> Result<(Unlock, UnlockOrigin), UnlockError> {
        match (&self.passphrase_file, &self.key_file) {
            (Some(_), Some(_)) => Err(UnlockError::Ambiguous),
            (Some(path), None) => {
                let text = files::read_secret(path, files::Access::OwnerOnly, MAX_LENGTH)?;
                Ok((passphrase_line(&text)?, UnlockOrigin::PassphraseFile))
            }
            (None, Some(path)) => Ok((Unlock::KeyFile(path.clone()), UnlockOrigin::KeyFile)),
            (None, None) => {
                let credential = self.credentials.as_ref().map(|dir| dir.join(CREDENTIAL));
                if let Some(path) = credential.filter(|path| path.exists()) {
                    let text = files::read_secret(&path, files::Access::Any, MAX_LENGTH)?;
                    return Ok((passphrase_line(&text)?, UnlockOrigin::Credential));
                }
                Ok((Unlock::KeyFile(dir.join(KEY_FILE)), UnlockOrigin::Beside))
            }
        }
    }
}

impl Unlock {
    /// Which of the two ways it is.
    #[must_use]
    pub const fn kind(&self) -> UnlockKind {
        match self {
            Self::Passphrase(_) => UnlockKind::Passphrase,
            Self::KeyFile(_) => UnlockKind::KeyFile,
        }
    }
}

impl UnlockKind {
    /// How its file is named on the command line.
    pub(super) const fn flag(self) -> &'static str {
        match self {
            Self::Passphrase => "--passphrase-file",
            Self::KeyFile => "--key-file",
        }
    }
}

impl fmt::Display for UnlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
        })
    }
}

/// One line end is the editor's, everything else the passphrase's.
fn passphrase_line(text: &[u8]) -> Result<Unlock, UnlockError> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Passphrase::new(line).map(Unlock::Passphrase)
}

/// Reads a key file.
pub(super) fn read_key_file(path: &Path) -> Result<StoreKek, UnlockError> {
    let malformed = || UnlockError::NotAKeyFile {
        path: path.to_owned(),
    };
    let text = files::read_secret(path, files::Access::OwnerOnly, MAX_LENGTH)?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let digits = line.strip_prefix(KEY_PREFIX.as_bytes()).ok_or_else(malformed)?;
    if digits.iter().any(u8::is_ascii_uppercase) {
        return Err(malformed());
    }
    let mut key = Zeroizing::new([0; StoreKek::LENGTH]);
    hex::decode_to_slice(digits, key.as_mut_slice()).map_err(|_| malformed())?;
    StoreKek::from_slice(key.as_slice()).map_err(|_| malformed())
}

/// Reads a key file, or makes it if it is missing: 32 bytes of `rng`, readable by the owner only.
pub(super) fn read_or_make_key_file(
    path: &Path,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<StoreKek, KeyStoreError> {
    if !path.exists() {
        let key = StoreKek::generate(rng);
        let digits = Zeroizing::new(hex::encode(key.expose_bytes()));
        let text = Zeroizing::new([KEY_PREFIX, digits.as_str(), "\n"].concat());
        files::create_new(path, text.as_bytes())?;
    }
    Ok(read_key_file(path)?)
}
