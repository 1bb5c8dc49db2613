//! Lines of aligned columns.

use std::fmt;

/// A table under way: keeps the text of its cells and nothing else.
#[derive(Debug)]
pub(super) struct Columns {
    /// Characters of the longest cell of each column.
    widths: Vec<usize>,
    /// The cells, each with a mark behind it; the heads are the first line.
    cells: String,
}

impl Columns {
    pub(super) fn new(heads: &[&str]) -> Self {
        let mut columns = Self { widths: vec![0; heads.len()], cells: String::new() };
        columns.add(heads.iter().map(|head| (*head).to_owned()));
        columns
    }

    /// Adds a line of as many cells as there are heads. A control character, which could move the
    /// cursor of a terminal, is shown as a replacement character.
    pub(super) fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
            self.cells.extend(cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
            self.cells.push(END_OF_CELL);
        }
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cells = self.cells.split_terminator(END_OF_CELL).peekable();
        while cells.peek().is_some() {
            // What is empty up to the end of the line needs no spaces.
            let mut gap = 0;
            for (width, cell) in self.widths.iter().zip(cells.by_ref()) {
                if !cell.is_empty() {
                    write!(f, "{:gap$}{cell}", "")?;
                    gap = 0;
                }
                gap += width - cell.chars().count() + BETWEEN;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// No cell has it: it is a control character.
const END_OF_CELL: char = '\n';

/// Spaces between two columns.
const BETWEEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::Columns;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let mut columns = Columns::new(&["A", "LONG", "B"]);
        for line in [["\u{e4}\u{e4}\u{e4}", "", "x"], ["1", "2", ""], ["", "", ""]] {
            columns.add(line.map(str::to_owned));
        }
        let expected = "A    LONG  B\n\u{e4}\u{e4}\u{e4}        x\n1    2\n\n";
        assert_eq!(columns.to_string(), expected);
    }

    #[test]
    fn a_cell_does_not_reach_the_terminal() {
        let mut columns = Columns::new(&["NAME"]);
        columns.add(["red\u{1b}[31m\n".to_owned()]);
        assert_eq!(columns.to_string(), "NAME\nred\u{fffd}[31m\u{fffd}\n");
    }
}
