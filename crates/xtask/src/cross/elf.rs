//! Whether a program needs nothing of the machine that it runs on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Ensures that `binary` is an ELF file that asks for no dynamic linker: what has no interpreter
/// loads no library.
///
/// # Errors
/// When it does, or is no ELF file.
pub(super) fn ensure_static(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| binary.display().to_string())?;
    match interpreter(&bytes) {
        Some(None) => Ok(()),
        Some(Some(name)) => bail!("{} is not static: it needs {name}", binary.display()),
        None => bail!("{} is no 64-bit little-endian ELF file", binary.display()),
    }
}

/// The dynamic linker that a program asks for; `None` where the bytes are no program.
fn interpreter(bytes: &[u8]) -> Option<Option<String>> {
    // 64 bits, little endian.
    bytes.strip_prefix(b"\x7fELF\x02\x01")?;
    let table = usize::try_from(u64_at(bytes, 0x20)?).ok()?;
    let (size, count) = (u16_at(bytes, 0x36)?, u16_at(bytes, 0x38)?);
    for entry in 0..usize::from(count) {
        let at = table.checked_add(entry * usize::from(size))?;
        if bytes.get(at..at.checked_add(4)?)? == PT_INTERP {
            let start = usize::try_from(u64_at(bytes, at + 0x08)?).ok()?;
            let len = usize::try_from(u64_at(bytes, at + 0x20)?).ok()?;
            let name = bytes.get(start..start.checked_add(len)?)?;
            return Some(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Some(None)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

const PT_INTERP: [u8; 4] = [3, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::interpreter;

    /// A file header, and one program header of this kind that speaks of `/lib/ld.so`.
    fn program(kind: u8) -> Vec<u8> {
        let name = b"/lib/ld.so\0";
        let mut bytes = vec![0; 0x78];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // The table: where it is, the size of an entry, how many there are.
        bytes[0x20] = 0x40;
        bytes[0x36] = 0x38;
        bytes[0x38] = 1;
        // The entry: its kind, where it lies in the file, its length there.
        bytes[0x40] = kind;
        bytes[0x48] = 0x78;
        bytes[0x60] = name.len() as u8;
        bytes.extend(name);
        bytes
    }

    #[test]
    fn a_dynamic_program_names_its_linker() {
        assert_eq!(interpreter(&program(3)), Some(Some("/lib/ld.so".to_owned())));
    }

    #[test]
    fn one_without_an_interpreter_is_static() {
        assert_eq!(interpreter(&program(1)), Some(None));
    }

    #[test]
    fn what_is_no_whole_program_is_neither() {
        let whole = program(3);
        for len in [0x30, 0x50, whole.len() - 1] {
            assert_eq!(interpreter(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(interpreter(b"#!/bin/sh"), None);
    }
}
