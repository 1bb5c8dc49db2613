//! Where the configuration says what decides: for people who ask why.

use crate::model::Element;
use crate::report::Report;

/// The lines of one table of the configuration, from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    head: u32,
    keys: Vec<(&'static str, u32)>,
}

impl Lines {
    /// Of a table and those of these keys that it has.
    pub(crate) fn new<T>(element: &Element<T>, keys: &[&'static str], report: &Report<'_>) -> Self {
        let line = |offset: usize| report.line(offset) as u32;
        let place = |key: &&'static str| Some((*key, line(element.place(key)?.start)));
        let keys = keys.iter().filter_map(place).collect();
        Self { head: line(element.at.start), keys }
    }

    /// Where the table begins.
    #[must_use]
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// Where one of its keys is; `None` if it has its default.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<u32> {
        self.keys.iter().find(|(known, _)| *known == key).map(|(_, line)| *line)
    }
}
