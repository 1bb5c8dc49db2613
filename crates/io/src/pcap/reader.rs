//! Reads captures of either format, a packet at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::block::Source;
use super::classic::Classic;
use super::section::{SECTION_HEADER, Section};
use super::{Captured, Error, Fault};

/// The packets of a capture, in the order of the file. After an error there are no more.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    format: Format,
    broken: bool,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Section(Section),
}

impl Reader<BufReader<File>> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// When it cannot be read or is no capture.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error { offset: 0, fault: error.into() })?;
        Self::new(BufReader::new(file))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads a capture from its beginning.
    ///
    /// # Errors
    /// When it cannot be read or is no capture.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut source = Source::new(input);
        let format = recognise(&mut source).map_err(|fault| Error { offset: 0, fault })?;
        Ok(Self { source, format, broken: false })
    }

    fn read(&mut self) -> Result<Option<Captured>, Error> {
        loop {
            let offset = self.source.offset;
            let packet = self.step().map_err(|fault| Error { offset, fault })?;
            match packet {
                Step::End => return Ok(None),
                Step::Packet(packet) => return Ok(Some(packet)),
                Step::Other => {}
            }
        }
    }

    fn step(&mut self) -> Result<Step, Fault> {
        if self.source.at_end()? {
            return Ok(Step::End);
        }
        match &mut self.format {
            Format::Classic(classic) => classic.record(&mut self.source).map(Step::Packet),
            Format::Section(section) => {
                let packet = section.block(&mut self.source)?;
                Ok(packet.map_or(Step::Other, Step::Packet))
            }
        }
    }
}

enum Step {
    Packet(Captured),
    /// Read, but no packet.
    Other,
    End,
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Captured, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let next = self.read().transpose();
        self.broken = !matches!(next, Some(Ok(_)));
        next
    }
}

fn recognise<R: BufRead>(source: &mut Source<R>) -> Result<Format, Fault> {
    let magic = source.array().map_err(|fault| match fault {
        Fault::CutOff => Fault::NotACapture,
        other => other,
    })?;
    if magic == SECTION_HEADER {
        return Section::open(source).map(Format::Section);
    }
    let recognised = Classic::recognise(magic).ok_or(Fault::NotACapture)?;
    Classic::open(source, recognised).map(Format::Classic)
}
