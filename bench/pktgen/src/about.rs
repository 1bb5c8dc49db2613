//! Where and how something was measured: without it a figure says little.

use std::env;
use std::fmt;
use std::fs;
use std::thread;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::page::Table;

/// Where and how.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    /// When it began, in universal time: `2026-11-30 18:42`.
    pub(crate) date: String,
    /// Of this program.
    pub(crate) commit: &'static str,
    pub(crate) machine: Machine,
    /// The arguments as they were typed.
    arguments: Vec<String>,
    /// What they mean, defaults included.
    parameters: Vec<(String, String)>,
}

/// What it ran on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    /// Those that this process may use.
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

impl About {
    /// A measurement that begins now, with these parameters.
    pub(crate) fn of(parameters: Vec<(String, String)>) -> Self {
        Self {
            date: date(clock_gettime(ClockId::Realtime).tv_sec),
            commit: env!("MOORING_COMMIT"),
            machine: Machine::read(),
            arguments: env::args().skip(1).collect(),
            parameters,
        }
    }

    /// All of it, for people.
    pub(crate) fn table(&self) -> Table {
        let quoted = |argument: &String| {
            let is_plain = !argument.is_empty() && !argument.contains([' ', '\'', '"', '$', '*']);
            if is_plain {
                argument.clone()
            } else {
                format!("'{}'", argument.replace('\'', "'\\''"))
            }
        };
        let arguments: Vec<String> = self.arguments.iter().map(quoted).collect();
        let arguments = format!("mooring-pktgen {}", arguments.join(" "));
        let rows = [("command".to_owned(), arguments)].into_iter().chain(self.parameters.clone());
        let rows = rows.map(|(name, value)| vec![name, value]).collect();
        Table { title: "Parameters", head: Vec::new(), rows }
    }
}

impl Machine {
    fn read() -> Self {
        let value = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kib = value("/proc/meminfo", "MemTotal").and_then(|text| {
            text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok())
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib.unwrap_or(0) / 1_024,
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, kernel } = self;
        write!(f, "{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}")
    }
}

/// Day and minute of so many seconds after 1970 began (Gregorian, universal time).
fn date(seconds: i64) -> String {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March end with the leap day.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + later;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    /// As `date -u -d @SECONDS` prints them.
    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_796_063_940, "2026-11-30 18:39 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
