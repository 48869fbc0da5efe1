//! The memory of a running program, read from outside, and the search for secrets in it and in files.
//!
//! A proxy is not dumpable, so its memory is root's to read. A test that cannot read it fails: what was
//! not looked at is not shown to be clean.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::{Context as _, ensure};

use crate::canary::files;

/// Where the pieces of a key begin that are looked for. The first and the last byte are left out: they are
/// others once an X25519 scalar has been clamped.
const PIECES: [usize; 4] = [1, 8, 16, 23];
/// Length of a piece: eight random bytes in a row are no chance, and half a key is a leak, too.
const PIECE: usize = 8;
/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// Secrets by name, cut into pieces that are searched for.
#[derive(Debug, Default)]
pub struct Search {
    pieces: Vec<(String, [u8; PIECE])>,
    /// Which two bytes some piece begins with.
    begins: Vec<bool>,
}

impl Search {
    /// Looks for any eight bytes in a row of a 32-byte key, at one of four places in it.
    pub fn key(&mut self, name: &str, key: &[u8; 32]) -> &mut Self {
        for begin in PIECES {
            self.bytes(&format!("{name}[{begin}..]"), &key[begin..]);
        }
        self
    }

    /// Looks for how something random begins.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        if let Some(piece) = bytes.first_chunk() {
            self.begins.resize(1 << 16, false);
            self.begins[beginning(piece)] = true;
            self.pieces.push((name.to_owned(), *piece));
        }
        self
    }

    /// What was found in the memory of a process that it can write to: name and region of each.
    ///
    /// # Errors
    /// The memory cannot be read, for one because the test does not run as root.
    pub fn memory(&self, process: u32) -> anyhow::Result<Vec<String>> {
        let path = format!("/proc/{process}/mem");
        let memory = File::open(&path).with_context(|| {
            format!("{path} is not readable: this test has to run as root (CAP_SYS_PTRACE)")
        })?;
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let mut found = Vec::new();
        let mut looked_at = 0;
        for region in maps
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
        {
            let (from, to) = bounds(region).with_context(|| format!("no region: {region}"))?;
            looked_at += self.region(&memory, (from, to), region, &mut found);
        }
        ensure!(
            looked_at > CHUNK as u64,
            "only {looked_at} bytes of memory could be read"
        );
        Ok(found)
    }

    /// Pages that are gone by now are passed over; gives how much was read.
    fn region(&self, memory: &File, (from, to): (u64, u64), name: &str, found: &mut Vec<String>) -> u64 {
        let mut buffer = vec![0; CHUNK + PIECE];
        let (mut at, mut read) = (from, 0);
        while at < to {
            let length = usize::try_from(to - at).unwrap_or(CHUNK).min(buffer.len());
            if memory.read_exact_at(&mut buffer[..length], at).is_ok() {
                read += length as u64;
                found.extend(
                    self.within(&buffer[..length])
                        .map(|piece| format!("{piece} in {name}")),
                );
            }
            at += CHUNK as u64;
        }
        read
    }

    /// What was found in the files of a folder: name and file of each.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn files(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for file in files(folder)? {
            // Files come and go while a program runs.
            let Ok(bytes) = fs::read(&file) else { continue };
            found.extend(
                self.within(&bytes)
                    .map(|piece| format!("{piece} in {}", file.display())),
            );
        }
        Ok(found)
    }

    fn within<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a str> {
        let windows = bytes
            .windows(PIECE)
            .filter(|window| self.begins[beginning(window)]);
        windows.filter_map(|window| {
            let piece = self.pieces.iter().find(|(_, piece)| piece == window);
            piece.map(|(name, _)| name.as_str())
        })
    }
}

fn beginning(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn bounds(region: &str) -> Option<(u64, u64)> {
    let (from, to) = region.split(' ').next()?.split_once('-')?;
    Some((
        u64::from_str_radix(from, 16).ok()?,
        u64::from_str_radix(to, 16).ok()?,
    ))
}
