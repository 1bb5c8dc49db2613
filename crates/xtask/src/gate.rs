//! `cargo xtask bench gate`: instructions of a packet whose session is known, against the figures of the repository.
//!
//! Times differ from machine to machine and from minute to minute; instructions do not. They are counted by
//! callgrind, in one function of the benchmark of the engine, of two runs with different numbers of passes: the
//! difference is what the passes took, whatever it took to begin.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::debian;
use crate::workspace::{cargo, output, revision, root, run, target, words};

/// Counts and compares; `BLESS=1` writes the figures anew.
///
/// # Errors
/// When a path takes [`TOLERANCE`] more instructions than the figures say, if these are of the same compiler, or
/// something cannot be run.
pub(crate) fn check() -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        println!("the figures are those of x86_64: nothing to compare with here");
        return Ok(());
    }
    debian::require(debian::GATE)?;
    build()?;
    let counted = count_all()?;
    if std::env::var_os("BLESS").is_some() {
        return bless(&counted);
    }
    let text = std::fs::read_to_string(figures()).with_context(|| format!("no {FIGURES}"))?;
    let known: Value = serde_json::from_str(&text).with_context(|| format!("{FIGURES} is JSON"))?;
    let judged = judge(&counted, &known["instructions_a_packet"]);
    print!("{}", judged.text);
    println!("{}", conclude(&judged, &known["compiler"], &compiler()?)?);
    Ok(())
}

/// What follows, for people.
///
/// # Errors
/// When it is worse, and comparable: another compiler makes other instructions of the same code.
fn conclude(judged: &Judged, known: &Value, compiler: &str) -> Result<String> {
    if known != compiler {
        return Ok(format!(
            "\n*** NOT COMPARED: {FIGURES} has the figures of {known}, this is {compiler}. ***\n\
             *** No regression of the path of known sessions would have been noticed.      ***\n\
             hint: on a commit whose figures are known to be good, `BLESS=1 cargo xtask bench gate`"
        ));
    }
    ensure!(
        judged.worse == 0,
        "the path of known sessions takes more instructions than {FIGURES} says\n\
         hint: is that intended? Then `BLESS=1 cargo xtask bench gate`, and say in the commit what it is for"
    );
    Ok(format!("by {compiler}, as the figures"))
}

/// In release, as it is measured, and for any processor of the architecture, whatever this shell says.
fn build() -> Result<()> {
    let mut command = cargo(&["build", "--quiet", "--release", "--package", PACKAGE]);
    run(command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))
}

/// Instructions a packet of each path. The runs are independent, so they share the cores.
fn count_all() -> Result<Vec<(String, f64)>> {
    let counting = std::thread::scope(|scope| {
        let runs: Vec<_> = PATHS
            .iter()
            .map(|path| {
                (*path, FEW_AND_MANY.map(|passes| scope.spawn(move || count(path, passes))))
            })
            .collect();
        runs.into_iter()
            .map(|(path, runs)| {
                let counts = runs.map(|run| run.join().expect("counting does not panic"));
                (path, counts)
            })
            .collect::<Vec<_>>()
    });
    let mut counted = Vec::new();
    for (path, [few, many]) in counting {
        let ([few, few_packets], [many, many_packets]) = (few?, many?);
        let packets = (many_packets - few_packets) as f64;
        let each = many.saturating_sub(few) as f64 / packets;
        counted.push((path.replace(',', "_"), (each * 100.0).round() / 100.0));
    }
    Ok(counted)
}

/// Instructions of a run, and the packets of its passes.
fn count(path: &str, passes: u32) -> Result<[u64; 2]> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(target()?.join("release").join(PACKAGE))
        .args(["--count", path, "--passes", &passes.to_string()])
        // The C library chooses how to copy memory by the processor: here always in the same way.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM")
        .stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", words(&command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed:\n{said}", words(&command));
    let packets = String::from_utf8_lossy(&output.stdout).trim().parse().context("packets")?;
    Ok([read_count(&said)?, packets])
}

/// What callgrind says at its end: `==123== Collected : 456`.
fn read_count(said: &str) -> Result<u64> {
    let counts = said.lines().filter_map(|line| line.split("Collected : ").nth(1));
    match counts.filter_map(|count| count.trim().parse().ok()).next_back() {
        Some(0) | None => bail!("callgrind has counted nothing:\n{said}"),
        Some(count) => Ok(count),
    }
}

/// The comparison, for people, and how many paths have become worse.
struct Judged {
    text: String,
    worse: usize,
}

fn judge(counted: &[(String, f64)], known: &Value) -> Judged {
    let mut judged = Judged { text: String::new(), worse: 0 };
    for (path, now) in counted {
        let was = known[path.as_str()].as_f64().unwrap_or(0.0);
        let change = now / was - 1.0;
        let word = match () {
            () if change > TOLERANCE => {
                judged.worse += 1;
                "MORE THAN IT MAY BE"
            }
            () if change < -TOLERANCE => "less: bless it",
            () => "as it was",
        };
        let percent = change * 100.0;
        writeln!(judged.text, "{path:<10} {now:>8.2} instructions a packet, {was:>8.2} before ({percent:+.2} %): {word}")
            .expect("a string takes all");
    }
    judged
}

fn bless(counted: &[(String, f64)]) -> Result<()> {
    let counts: Map<String, Value> =
        counted.iter().map(|(path, count)| (path.clone(), json!(count))).collect();
    let figures_of_now = json!({
        "what": "instructions of a packet of a known session, with ageing, by callgrind",
        "command": "BLESS=1 cargo xtask bench gate",
        "commit": revision()?,
        "compiler": compiler()?,
        "instructions_a_packet": counts,
    });
    std::fs::write(figures(), format!("{figures_of_now:#}\n"))?;
    println!("{FIGURES} is written: {}", figures_of_now["instructions_a_packet"]);
    Ok(())
}

fn compiler() -> Result<String> {
    Ok(output(Command::new("rustc").arg("--version"))?.trim().to_owned())
}

fn figures() -> PathBuf {
    root().join(FIGURES)
}

const PACKAGE: &str = "mooring-bench-engine";
const FIGURES: &str = "bench/results/instructions.json";
const PATHS: [&str; 4] = ["ipv4,out", "ipv4,in", "ipv6,out", "ipv6,in"];
const FEW_AND_MANY: [u32; 2] = [1, 5];
/// Only in there: what a worker does with a batch, not how the frames are written.
const COUNTED: &str = "--toggle-collect=*scene::timed*";
/// So much more is a regression.
const TOLERANCE: f64 = 0.03;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Judged, conclude, judge, read_count};

    #[test]
    fn three_in_a_hundred_more_instructions_are_a_regression_and_less_is_none() {
        let known = json!({ "a": 100.0, "b": 100.0, "c": 100.0 });
        let counted = [("a", 102.9), ("b", 103.1), ("c", 90.0)];
        let counted = counted.map(|(path, count)| (path.to_owned(), count));
        let judged = judge(&counted, &known);
        assert_eq!(judged.worse, 1, "{}", judged.text);
        assert!(judged.text.contains("(+3.10 %): MORE"), "{}", judged.text);
        assert!(judged.text.contains("(-10.00 %): less"), "{}", judged.text);
    }

    #[test]
    fn a_path_that_no_figure_is_known_of_is_a_regression() {
        assert_eq!(judge(&[("new".to_owned(), 1.0)], &json!({})).worse, 1);
    }

    #[test]
    fn only_figures_of_the_same_compiler_fail_a_run() {
        let [known, this, other] = ["rustc 1.95.0 (a)", "rustc 1.95.0 (a)", "rustc 1.96.0 (b)"];
        let judged = |worse| Judged { text: String::new(), worse };
        assert!(conclude(&judged(0), &json!(known), this).is_ok_and(|said| said.contains(this)));
        assert!(conclude(&judged(1), &json!(known), this).is_err());
        let said = conclude(&judged(1), &json!(known), other).expect("nothing is compared");
        assert!(said.contains("NOT COMPARED") && said.contains(known) && said.contains(other));
        assert!(conclude(&judged(1), &json!(null), this).is_ok_and(|said| said.contains("NOT")));
    }

    #[test]
    fn what_callgrind_has_counted_is_read_and_nothing_is_an_error() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(read_count(said).ok(), Some(123_456));
        assert!(read_count("==7== Collected : 0\n").is_err());
        assert!(read_count("valgrind: not found").is_err());
    }
}
