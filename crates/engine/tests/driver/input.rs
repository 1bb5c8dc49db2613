//! Reads a program; what is missing at its end is 0.

pub(crate) struct Input<'p> {
    rest: &'p [u8],
}

impl<'p> Input<'p> {
    pub(crate) fn new(program: &'p [u8]) -> Self {
        Self { rest: program }
    }

    /// The byte of the next step; `None` at the end.
    pub(crate) fn step(&mut self) -> Option<u8> {
        let (&step, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(step)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `len` bytes, or as many as there are.
    pub(crate) fn bytes(&mut self, len: usize) -> &'p [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}
