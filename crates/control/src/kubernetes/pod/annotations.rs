//! The downward API's file of annotations: on each line a key and its value as a Go string literal.

use std::collections::BTreeMap;
use std::str::Chars;

/// The annotations of the file.
///
/// # Errors
/// For people, at the first line that is none.
pub(super) fn annotations(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let entry = line.split_once('=').and_then(|(key, value)| Some((key, unquote(value)?)));
        let (key, value) = entry.ok_or_else(|| {
            format!("line {} of the Pod's annotations is no `key=\"value\"`", at + 1)
        })?;
        found.insert(key.to_owned(), value);
    }
    Ok(found)
}

/// What a literal in double quotes stands for.
fn unquote(literal: &str) -> Option<String> {
    let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?.chars();
    // Bytes: Go writes what is no UTF-8 as single ones.
    let mut value = Vec::new();
    while let Some(next) = rest.next() {
        match next {
            '\\' => escape(&mut rest, &mut value)?,
            '"' => return None,
            plain => push(plain, &mut value),
        }
    }
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn escape(rest: &mut Chars<'_>, value: &mut Vec<u8>) -> Option<()> {
    let escaped = rest.next()?;
    let byte = match escaped {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => u8::try_from(hexadecimal(rest, 2)?).ok()?,
        'u' | 'U' => {
            let digits = if escaped == 'u' { 4 } else { 8 };
            push(char::from_u32(hexadecimal(rest, digits)?)?, value);
            return Some(());
        }
        _ => return None,
    };
    value.push(byte);
    Some(())
}

fn hexadecimal(rest: &mut Chars<'_>, digits: usize) -> Option<u32> {
    let text = rest.as_str().get(..digits)?;
    rest.nth(digits - 1);
    u32::from_str_radix(text, 16).ok()
}

fn push(character: char, value: &mut Vec<u8>) {
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
