//! The bytes of a backup around its records (docs/protocol.md, 8.3).
//!
//! ```text
//! backup = header 88 || chunk...                        integers are big-endian
//! header = magic 8 "waxwback" || version u16 (1)
//!       || unlock u16 (1 Argon2id, 2 key file) || memory KiB u32 || passes u32 || lanes u32
//!       || salt 32 || commitment 32
//! chunk  = RestBox(backup key, AadBackup, [header, index u64, last u8], 1 to 65,536 bytes)
//! ```
//!
//! Every chunk but the last has 65,536 bytes of plaintext. The index counts from 0, `last` is 1 in the
//! last chunk and else 0: none can be left out, doubled, moved, or taken from another file.

use std::io::{self, Read, Write};

use rand_core::CryptoRng;
use waxwire_shared::labels::Label;
use zeroize::Zeroizing;

use super::BackupError;
use crate::{
    crypto::{
        aead, kdf,
        secret::{BackupKey, StoreKek},
    },
    keystore::{Argon2Cost, KeyStoreError, Unlock, Unlocking},
};

const MAGIC: [u8; 8] = *b"waxwback";
const VERSION: u16 = 1;
/// Bytes in front of the first chunk.
pub(super) const HEADER: usize = 8 + 2 + Unlocking::LENGTH;
/// Plaintext of every chunk but the last.
pub(super) const CHUNK: usize = 64 * 1024;
/// The same, sealed.
const SEALED: usize = CHUNK + aead::OVERHEAD;

/// A header whose secret is right.
pub(super) struct Opened {
    header: [u8; HEADER],
    key: BackupKey,
}

fn place<T>(header: &[u8], index: u64, last: bool, use_it: impl FnOnce(&[&[u8]]) -> T) -> T {
    use_it(&[header, &index.to_be_bytes(), &[u8::from(last)]])
}

/// Reads the header and compares the commitment with the key-encryption key that `unlock` gives.
pub(super) fn open(
    file: &mut impl Read,
    unlock: impl FnOnce(&Unlocking) -> Result<StoreKek, KeyStoreError>,
) -> Result<Opened, BackupError> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::NotABackup,
        _ => error.into(),
    })?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let (version, rest) = rest.split_at(2);
    if magic != MAGIC {
        return Err(BackupError::NotABackup);
    }
    let version = u16::from_be_bytes([version[0], version[1]]);
    if version != VERSION {
        return Err(BackupError::UnknownVersion { version });
    }
    let kek = Unlocking::decode(rest).and_then(|unlocking| unlock(&unlocking));
    let kek = kek.map_err(|error| match error {
        KeyStoreError::WrongSecret => BackupError::WrongSecret,
        error => BackupError::Unlock(error),
    })?;
    let key = kdf::backup_key(&kek);
    Ok(Opened { header, key })
}

/// Seals what is written to it.
pub(super) struct ChunkWriter<W> {
    file: W,
    opened: Opened,
    index: u64,
    waiting: Zeroizing<Vec<u8>>,
    written: u64,
}

impl<W: Write> ChunkWriter<W> {
    /// Writes the header.
    pub(super) fn begin(
        mut file: W,
        unlock: &Unlock,
        cost: Argon2Cost,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, BackupError> {
        let (unlocking, kek) = Unlocking::make(unlock, cost, rng).map_err(BackupError::Unlock)?;
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[MAGIC.len()..10].copy_from_slice(&VERSION.to_be_bytes());
        header[10..].copy_from_slice(&unlocking.encode());
        file.write_all(&header)?;
        let key = kdf::backup_key(&kek);
        Ok(Self {
            file,
            opened: Opened { header, key },
            index: 0,
            waiting: Zeroizing::new(Vec::with_capacity(CHUNK)),
            written: HEADER as u64,
        })
    }

    pub(super) fn write(
        &mut self,
        mut bytes: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            // A full chunk waits for more: it may be the last.
            if self.waiting.len() == CHUNK {
                self.seal(false, rng)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Writes the last chunk. Gives the length of the file.
    pub(super) fn finish(mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<u64, BackupError> {
        self.seal(true, rng)?;
        self.file.flush()?;
        Ok(self.written)
    }

    fn seal(&mut self, last: bool, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), BackupError> {
        let Opened { header, key } = &self.opened;
        let sealed = place(header, self.index, last, |place| {
            aead::seal(rng, key, Label::AadBackup, place, &self.waiting)
        });
        self.file.write_all(&sealed)?;
        self.written += sealed.len() as u64;
        self.index += 1;
        self.waiting.clear();
        Ok(())
    }
}

/// Opens chunk after chunk.
pub(super) struct ChunkReader<'a, R> {
    file: R,
    opened: &'a Opened,
    index: u64,
    /// The next chunk, sealed; what follows it decides whether it is the last.
    next: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl<'a, R: Read> ChunkReader<'a, R> {
    /// Reads chunks from where the header ends.
    pub(super) const fn new(file: R, opened: &'a Opened) -> Self {
        Self {
            file,
            opened,
            index: 0,
            next: Vec::new(),
            begun: false,
            ended: false,
        }
    }

    /// The next part of the plaintext; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        if !self.begun {
            self.next = self.read()?;
            self.begun = true;
        }
        let following = if self.next.len() == SEALED {
            self.read()?
        } else {
            Vec::new()
        };
        let last = following.is_empty();
        let Opened { header, key } = self.opened;
        let opened = place(header, self.index, last, |place| {
            aead::open(key, Label::AadBackup, place, &self.next)
        });
        let opened = opened.map_err(|_| BackupError::Altered)?;
        if opened.is_empty() {
            return Err(BackupError::Altered);
        }
        (self.next, self.ended) = (following, last);
        self.index += 1;
        Ok(Some(opened))
    }

    fn read(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut chunk = Vec::with_capacity(SEALED);
        let mut part = (&mut self.file).take(SEALED as u64);
        part.read_to_end(&mut chunk)?;
        Ok(chunk)
    }
}
