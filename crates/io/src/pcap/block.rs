//! Bytes of a capture file, and the numbers in them.

use std::io::{self, BufRead, Read};

use super::Fault;

/// A file being read, and how far.
#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    /// Bytes read so far.
    pub(super) offset: u64,
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, offset: 0 }
    }

    /// True at the end of the file.
    pub(super) fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.input.fill_buf()?.is_empty())
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(cut_off)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// The next `len` bytes. Memory is taken as they come, so a length that lies costs nothing.
    pub(super) fn bytes(&mut self, len: u32) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(len.into()).read_to_end(&mut bytes)?;
        self.offset += read as u64;
        if read == len as usize { Ok(bytes) } else { Err(Fault::CutOff) }
    }

    /// Passes over the next `len` bytes.
    pub(super) fn skip(&mut self, len: u32) -> Result<(), Fault> {
        let skipped = io::copy(&mut self.input.by_ref().take(len.into()), &mut io::sink())?;
        self.offset += skipped;
        if skipped == u64::from(len) { Ok(()) } else { Err(Fault::CutOff) }
    }
}

fn cut_off(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::CutOff,
        _ => Fault::Io(error),
    }
}

/// The byte order of a file or a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// A cursor over the body of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    pub(super) rest: &'a [u8],
    pub(super) order: Order,
}

impl<'a> Body<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let too_short = Fault::Length(self.rest.len() as u64);
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(too_short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(self.order.u16(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(self.order.u32(self.array()?))
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Fault::Length(len as u64))?;
        self.rest = rest;
        Ok(bytes)
    }
}
