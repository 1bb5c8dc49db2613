//! A log of HdrHistogram (V2), which its tools read.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder};

/// A log to write latencies to, interval by interval.
pub(crate) struct LatencyLog {
    file: BufWriter<File>,
    serializer: V2Serializer,
}

impl LatencyLog {
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self { file: BufWriter::new(file), serializer: V2Serializer::new() })
    }

    /// Begins the log; what it returns writes intervals.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn begin(&mut self) -> Result<Intervals<'_>> {
        IntervalLogWriterBuilder::new()
            .add_comment("latencies in nanoseconds, by mooring-pktgen")
            .begin_log_with(&mut self.file, &mut self.serializer)
            .map(Intervals)
            .context("the histogram log")
    }
}

/// A log that has begun.
pub(crate) struct Intervals<'l>(IntervalLogWriter<'l, 'l, BufWriter<File>, V2Serializer>);

impl Intervals<'_> {
    /// Writes the latencies of an interval that began `start` after the run did.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(
        &mut self,
        start: Duration,
        length: Duration,
        latencies: &Histogram<u64>,
    ) -> Result<()> {
        self.0
            .write_histogram(latencies, start, length, None)
            .map_err(|error| anyhow!("the histogram log: {error:?}"))
    }
}
