//! What is in a backup: records, one after the other (docs/protocol.md, 8.3).
//!
//! ```text
//! record   = kind u8 || length u32 || content           at most 1 MiB of content
//! manifest = made at u64 || history u8 || schema u32    kind 1, the first
//! slot     = number u16 || content                      kind 2, as in the key store
//! table    = name || (0x00 || column)...                kind 3
//! row      = value...                                   kind 4, of the table before it
//! end      = number of rows u64                         kind 5, the last
//! value    = 0 null, 1 integer i64, 2 text or 3 bytes: length u32 || bytes
//! ```

use std::io::{Read, Write};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{BackupError, Manifest, chunks::ChunkReader, chunks::ChunkWriter, malformed};
use crate::state::Exported;

/// Longest content of a record.
const CONTENT: usize = 1024 * 1024;

const MANIFEST: u8 = 1;
const SLOT: u8 = 2;
const TABLE: u8 = 3;
const ROW: u8 = 4;
const END: u8 = 5;

/// A record.
pub(super) enum Record {
    Manifest(Manifest),
    Slot {
        number: u16,
        content: Zeroizing<Vec<u8>>,
    },
    Table {
        name: String,
        columns: Vec<String>,
    },
    /// Encoded values.
    Row {
        values: Zeroizing<Vec<u8>>,
    },
    End {
        rows: u64,
    },
}

impl From<Exported> for Record {
    fn from(item: Exported) -> Self {
        match item {
            Exported::Table { name, columns } => Self::Table {
                name: name.to_owned(),
                columns,
            },
            Exported::Row { values, .. } => Self::Row { values },
        }
    }
}

impl Record {
    fn encode(&self) -> (u8, Zeroizing<Vec<u8>>) {
        let (kind, content) = match self {
            Self::Manifest(manifest) => {
                let mut content = manifest.made_at.to_be_bytes().to_vec();
                content.push(u8::from(manifest.history));
                content.extend(manifest.schema.to_be_bytes());
                (MANIFEST, content)
            }
            Self::Slot { number, content } => (SLOT, [&number.to_be_bytes(), content.as_slice()].concat()),
            Self::Table { name, columns } => {
                let names = std::iter::once(name).chain(columns);
                let names: Vec<&str> = names.map(String::as_str).collect();
                (TABLE, names.join("\0").into_bytes())
            }
            Self::Row { values } => (ROW, values.to_vec()),
            Self::End { rows } => (END, rows.to_be_bytes().to_vec()),
        };
        (kind, Zeroizing::new(content))
    }

    fn decode(kind: u8, content: &[u8]) -> Result<Self, BackupError> {
        match kind {
            MANIFEST => {
                let (made_at, rest) = content.split_first_chunk().ok_or(malformed("manifest"))?;
                let (history, schema) = match rest {
                    [history @ (0 | 1), schema @ ..] => (*history == 1, schema),
                    _ => return Err(malformed("manifest")),
                };
                Ok(Self::Manifest(Manifest {
                    made_at: u64::from_be_bytes(*made_at),
                    history,
                    schema: u32::from_be_bytes(schema.try_into().map_err(|_| malformed("manifest"))?),
                }))
            }
            SLOT => {
                let (number, content) = content.split_first_chunk().ok_or(malformed("slot"))?;
                Ok(Self::Slot {
                    number: u16::from_be_bytes(*number),
                    content: Zeroizing::new(content.to_vec()),
                })
            }
            TABLE => {
                let text = std::str::from_utf8(content).map_err(|_| malformed("table"))?;
                let mut names = text.split('\0').map(str::to_owned);
                Ok(Self::Table {
                    name: names.next().unwrap_or_default(),
                    columns: names.collect(),
                })
            }
            ROW => Ok(Self::Row {
                values: Zeroizing::new(content.to_vec()),
            }),
            END => {
                let rows = content.try_into().map_err(|_| malformed("end"))?;
                Ok(Self::End {
                    rows: u64::from_be_bytes(rows),
                })
            }
            _ => Err(malformed("unknown record")),
        }
    }
}

/// Writes records into chunks.
pub(super) struct RecordWriter<W>(ChunkWriter<W>);

impl<W: Write> RecordWriter<W> {
    pub(super) const fn new(chunks: ChunkWriter<W>) -> Self {
        Self(chunks)
    }

    pub(super) fn write(
        &mut self,
        record: &Record,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), BackupError> {
        let (kind, content) = record.encode();
        if content.len() > CONTENT {
            return Err(malformed("a row is too long"));
        }
        let length = u32::try_from(content.len()).map_err(|_| malformed("a row is too long"))?;
        self.0.write(&[kind], rng)?;
        self.0.write(&length.to_be_bytes(), rng)?;
        self.0.write(&content, rng)
    }

    pub(super) const fn written(&self) -> u64 {
        self.0.written()
    }

    pub(super) fn finish(self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<u64, BackupError> {
        self.0.finish(rng)
    }
}

/// Reads records from chunks.
pub(super) struct RecordReader<'a, R> {
    chunks: ChunkReader<'a, R>,
    part: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl<'a, R: Read> RecordReader<'a, R> {
    pub(super) fn new(chunks: ChunkReader<'a, R>) -> Self {
        Self {
            chunks,
            part: Zeroizing::default(),
            taken: 0,
        }
    }

    /// The next record; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Record>, BackupError> {
        if !self.fill()? {
            return Ok(None);
        }
        let head = self.take(5)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > CONTENT {
            return Err(malformed("a record is too long"));
        }
        let content = self.take(length)?;
        Record::decode(head[0], &content).map(Some)
    }

    /// Makes sure that something is there to be taken. False at the end.
    fn fill(&mut self) -> Result<bool, BackupError> {
        if self.taken == self.part.len() {
            match self.chunks.next()? {
                Some(part) => (self.part, self.taken) = (part, 0),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Result<Zeroizing<Vec<u8>>, BackupError> {
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        while out.len() < length {
            if !self.fill()? {
                return Err(malformed("a record is cut off"));
            }
            let rest = &self.part[self.taken..];
            let now = rest.len().min(length - out.len());
            out.extend_from_slice(&rest[..now]);
            self.taken += now;
        }
        Ok(out)
    }
}
