//! Reads the fields of a frame one after the other.

use super::{Allowance, CONTROL, Cursor, FrameError, GROUP, LOG, MAIL, Notice, Queue, RelayFrame};
use crate::ids::{AgentId, GroupId};

pub(super) struct FrameReader<'a>(pub(super) &'a [u8]);

impl<'a> FrameReader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn cursor(&mut self) -> Result<Cursor, FrameError> {
        let queue = match self.u8()? {
            MAIL => Queue::Mail,
            CONTROL => Queue::Control,
            GROUP => Queue::Group(GroupId::from_bytes(self.array()?)),
            LOG => Queue::Log(GroupId::from_bytes(self.array()?)),
            _ => return Err(FrameError),
        };
        Ok(Cursor {
            queue,
            position: self.u64()?,
        })
    }

    pub(super) fn cursors(&mut self) -> Result<Vec<Cursor>, FrameError> {
        let mut cursors = Vec::new();
        while !self.0.is_empty() {
            cursors.push(self.cursor()?);
        }
        Ok(cursors)
    }

    pub(super) fn notice<'b>(&mut self) -> Result<RelayFrame<'b>, FrameError> {
        let request = self.u32()?;
        let (backlog, limit, remaining) = (self.u64()?, self.u64()?, self.u64()?);
        if limit == 0 && remaining > 0 {
            return Err(FrameError);
        }
        let mut skipped = Vec::new();
        while !self.0.is_empty() {
            skipped.push(AgentId::from_bytes(self.array()?));
        }
        let allowance = (limit > 0).then_some(Allowance { limit, remaining });
        Ok(RelayFrame::Notice {
            request,
            notice: Notice {
                backlog,
                allowance,
                skipped,
            },
        })
    }

    pub(super) fn flag(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError),
        }
    }

    /// Everything that is left: at least a byte.
    pub(super) const fn rest(&self) -> Result<&'a [u8], FrameError> {
        if self.0.is_empty() {
            Err(FrameError)
        } else {
            Ok(self.0)
        }
    }

    pub(super) fn end<T>(&self, value: T) -> Result<T, FrameError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(FrameError)
        }
    }
}
