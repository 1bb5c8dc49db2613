//! Cases whose load is that of the packet generator, which knows nothing of what is between its two devices.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_lab::clock::wait_for;
use mooring_lab::{Process, isolation};
use serde_json::Value;

use crate::bed::{ADDRESSES, Bed, Nat, Running, client, server};

/// Sessions a second: the highest rate at which they can begin. Before each trial the NAT is started anew.
pub(crate) fn session_rate(bed: &Bed, running: &mut Running<'_>) -> Result<f64> {
    if running.nat() == Nat::Nftables {
        let room = bed.room_of_nftables()?;
        ensure!(
            room > SESSIONS,
            "nftables has room for {room} sessions here, a trial has {SESSIONS}\n\
             hint: sysctl -w net.netfilter.nf_conntrack_max={}, outside of all namespaces",
            2 * SESSIONS
        );
    }
    let (ask, sessions) = (format!("{}/anew", isolation::SCRATCH), SESSIONS.to_string());
    // The NAT is ours: the generator asks for a new one by a file, and waits until we have taken it away.
    let reset = format!("touch {ask}; while [ -e {ask} ]; do sleep 0.01; done");
    let mut arguments = vec!["sessions".to_owned(), "rate".to_owned()];
    arguments.extend(path(bed)?);
    arguments.extend(options(&[
        ["--sessions", &sessions],
        ["--validation-rate", "200000"],
        ["--settle", "0.1"],
        ["--lowest", "5000"],
        ["--precision", "5000"],
        ["--confirmations", "1"],
        ["--loss", LOSS],
        ["--reset", &reset],
    ]));
    let ask = Path::new(&ask);
    let mut restart_if_asked = || {
        if ask.exists() {
            running.restart()?;
            fs::remove_file(ask)?;
        }
        Ok(())
    };
    bed.while_client_is_deaf(|| {
        search(FIRST_HIGHEST_SESSIONS, |highest| {
            let report = generate(bed, &up_to(&arguments, highest), &mut restart_if_asked)?;
            ensure_nobody_elses(&report)?;
            Ok(report)
        })
    })
}

/// Connections a second that are made, answered and closed.
pub(crate) fn connect_rate(bed: &Bed) -> Result<f64> {
    let Ends { from, to, count } = Ends::all();
    let mut arguments = vec!["connect".to_owned()];
    arguments.extend(options(&[
        ["--client-netns", bed.lab.client.name()],
        ["--server-netns", bed.lab.server.name()],
        ["--source", &from],
        ["--sources", &count],
        ["--destination", &to],
        ["--destinations", &count],
        ["--concurrent", "64"],
        ["--duration", "3"],
    ]));
    connections(&generate(bed, &arguments, || Ok(()))?)
}

/// Packets a second of mixed sizes: the highest rate at which hardly any is lost.
pub(crate) fn imix_loss_free(bed: &Bed) -> Result<f64> {
    let mut arguments = vec!["search".to_owned()];
    arguments.extend(path(bed)?);
    arguments.extend(options(&[
        ["--size", "imix"],
        ["--flows", "1000"],
        ["--warm-up", "50000"],
        ["--lowest", "5000"],
        ["--precision", "5000"],
        ["--loss", LOSS],
        ["--trial", "0.7"],
    ]));
    search(FIRST_HIGHEST_PACKETS, |highest| generate(bed, &up_to(&arguments, highest), || Ok(())))
}

/// All addresses of a side, as the generator is told them.
struct Ends {
    from: String,
    to: String,
    count: String,
}

impl Ends {
    fn all() -> Self {
        let [from, to] = [client(1), server(1)].map(|first| first.to_string());
        Self { from, to, count: ADDRESSES.to_string() }
    }
}

/// From the client's device to the server's, by way of the gateway.
fn path(bed: &Bed) -> Result<Vec<String>> {
    let Ends { from, to, count } = Ends::all();
    let hop = bed.gateway_mac()?.map(|byte| format!("{byte:02x}")).join(":");
    Ok(options(&[
        ["--send", "eth0"],
        ["--send-netns", bed.lab.client.name()],
        ["--receive", "eth0"],
        ["--receive-netns", bed.lab.server.name()],
        ["--next-hop", &hop],
        ["--source", &from],
        ["--sources", &count],
        ["--destination", &to],
        ["--destinations", &count],
    ]))
}

fn options(pairs: &[[&str; 2]]) -> Vec<String> {
    pairs.as_flattened().iter().map(|&word| word.to_owned()).collect()
}

/// Runs the generator to its end, and `meanwhile` again and again; returns its report.
fn generate(
    bed: &Bed,
    arguments: &[String],
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Value> {
    let pktgen = &bed.pktgen;
    ensure!(
        pktgen.is_file(),
        "there is no packet generator {}\nhint: cargo build --package mooring-pktgen, or --pktgen FILE",
        pktgen.display()
    );
    let file = format!("{}/report.json", isolation::SCRATCH);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" --json >\"$REPORT\""]).env("REPORT", &file);
    let mut process = Process::spawn("mooring-pktgen", command.arg(pktgen).args(arguments))?;
    wait_for("the packet generator", LONGEST, || {
        meanwhile()?;
        Ok((!process.is_running()?).then_some(()))
    })?;
    let exit = process.wait()?;
    ensure!(exit.code == Some(0), "mooring-pktgen: {:?}: {}", exit.code, exit.stderr.trim());
    let text = fs::read_to_string(&file).context(file)?;
    serde_json::from_str(&text).with_context(|| format!("the generator's report: {text}"))
}

/// The arguments of a search that begins at this rate.
fn up_to(arguments: &[String], highest: u64) -> Vec<String> {
    [arguments, &options(&[["--highest", &highest.to_string()]])].concat()
}

/// The rate that is found by a search, which is made anew from twice as high while its highest rate passes. Trials that
/// nothing can pass take long, so the first search does not begin higher than it has to.
fn search(first_highest: u64, mut look: impl FnMut(u64) -> Result<Value>) -> Result<f64> {
    let mut highest = first_highest;
    loop {
        let report = look(highest)?;
        let rate = report["rate_pps"].as_u64();
        let rate = rate.with_context(|| format!("no rate has passed: {report:#}"))?;
        if rate < highest {
            return Ok(rate as f64);
        }
        highest *= 2;
        ensure!(highest <= FASTEST, "no rate is too high: {report:#}");
    }
}

/// Checks that no answer came to somebody else than who began the session.
fn ensure_nobody_elses(report: &Value) -> Result<()> {
    let trials = report["sessions"].as_array();
    let trials = trials.with_context(|| format!("sessions of the trials: {report:#}"))?;
    let is_right = |trial: &Value| trial["wrong"].as_u64() == Some(0);
    ensure!(trials.iter().all(is_right), "answers came to somebody else: {report:#}");
    Ok(())
}

/// Connections a second, if there are hardly any that failed: time that is spent on those is not the NAT's speed.
fn connections(report: &Value) -> Result<f64> {
    let of = || format!("connections: {report:#}");
    let rate = report["connections_per_second"].as_f64().with_context(of)?;
    let done = report["connections"].as_u64().with_context(of)?;
    let failed = report["failed"].as_object().with_context(of)?;
    let failed: u64 = failed.values().filter_map(Value::as_u64).sum();
    ensure!(done > 0 && failed * 1_000 <= done, "{failed} connections failed: {report:#}");
    Ok(rate)
}

/// Sessions of a trial: many times what waits in a ring or queue, so that a rate is held and not stored.
const SESSIONS: u64 = 80_000;

/// A second: where the search begins.
const FIRST_HIGHEST_SESSIONS: u64 = 128_000;

/// A second, as above.
const FIRST_HIGHEST_PACKETS: u64 = 200_000;

/// A second: far more than a generator of one thread sends.
const FASTEST: u64 = 10_000_000;

/// The part that may be lost in a trial, of packets or sessions.
const LOSS: &str = "0.001";

/// A search that takes longer does not end.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{connections, ensure_nobody_elses, search};

    /// What a search says of a NAT that carries so many, if it begins at `highest`.
    fn report(carries: Option<u64>, highest: u64) -> Value {
        json!({ "rate_pps": carries.map(|carries| carries.min(highest)) })
    }

    #[test]
    fn a_search_begins_higher_until_its_highest_rate_is_too_high() {
        for (carries, expected) in [
            (90_000, &[100_000][..]),
            (100_000, &[100_000, 200_000]),
            (399_999, &[100_000, 200_000, 400_000]),
        ] {
            let mut begun = Vec::new();
            let rate = search(100_000, |highest| {
                begun.push(highest);
                Ok(report(Some(carries), highest))
            });
            assert_eq!((rate.unwrap(), &begun[..]), (carries as f64, expected));
        }
        let refusal =
            |carries| search(100_000, |highest| Ok(report(carries, highest))).unwrap_err();
        assert!(refusal(None).to_string().contains("no rate has passed"));
        assert!(refusal(Some(u64::MAX)).to_string().contains("no rate is too high"));
    }

    #[test]
    fn answers_that_came_to_somebody_else_are_no_figure() {
        let trials =
            |wrong: [u64; 2]| json!({ "sessions": wrong.map(|wrong| json!({ "wrong": wrong })) });
        ensure_nobody_elses(&trials([0, 0])).unwrap();
        assert!(ensure_nobody_elses(&trials([0, 1])).is_err());
        assert!(ensure_nobody_elses(&json!({ "sessions": [{}] })).is_err());
        assert!(ensure_nobody_elses(&json!({})).is_err());
    }

    #[test]
    fn connections_count_if_hardly_any_has_failed() {
        let report = |done: u64, reset: u64, cut: u64| {
            let failed = json!({ "reset": reset, "cut": cut });
            json!({ "connections": done, "connections_per_second": 4_000.5, "failed": failed })
        };
        assert_eq!(connections(&report(12_000, 8, 4)).unwrap(), 4_000.5);
        assert!(connections(&report(12_000, 8, 5)).is_err());
        assert!(connections(&report(0, 0, 0)).is_err());
        assert!(connections(&json!({ "connections": 1 })).is_err());
    }
}
