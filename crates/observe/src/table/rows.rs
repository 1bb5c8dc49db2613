//! The elements of a JSON array, one at a time.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::{Deserializer, Value};

/// Reads a JSON array and gives each element away before it reads the next.
///
/// # Errors
/// When `json` cannot be read, or is anything but one array.
pub(super) fn for_each_row(json: impl BufRead, each: impl FnMut(Value)) -> io::Result<()> {
    let mut json = Deserializer::from_reader(json);
    json.deserialize_seq(Rows(each))?;
    Ok(json.end()?)
}

struct Rows<F>(F);

impl<'de, F: FnMut(Value)> Visitor<'de> for Rows<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            (self.0)(row);
        }
        Ok(())
    }
}
