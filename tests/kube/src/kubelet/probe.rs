//! Probes: when each is due, and what its results make of the container.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// One probe of a container.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    target: Target,
    period: Duration,
    timeout: Duration,
    thresholds: (u64, u64),
    due: Duration,
    /// Results in a row: successes, failures.
    row: (u64, u64),
    /// What it says now; `None` until a threshold was reached.
    pub(super) verdict: Option<bool>,
}

#[derive(Debug, Clone)]
enum Target {
    Http { port: u16, path: String },
    Tcp { port: u16 },
}

impl Probe {
    /// The probe of this name; `None` if the container has none.
    pub(super) fn of(container: &Value, name: &str) -> Result<Option<Self>> {
        let probe = &container[name];
        if probe.is_null() {
            return Ok(None);
        }
        let number = |name: &str, default| probe[name].as_u64().unwrap_or(default);
        let target = if probe["httpGet"].is_object() {
            let path = probe["httpGet"]["path"].as_str().unwrap_or("/").to_owned();
            Target::Http { port: port(container, &probe["httpGet"]["port"])?, path }
        } else {
            let known = probe.get("tcpSocket").context("a probe that we do not know")?;
            Target::Tcp { port: port(container, &known["port"])? }
        };
        Ok(Some(Self {
            target,
            period: Duration::from_secs(number("periodSeconds", 10)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            thresholds: (number("successThreshold", 1), number("failureThreshold", 3)),
            due: Duration::from_secs(number("initialDelaySeconds", 0)),
            row: (0, 0),
            verdict: None,
        }))
    }

    /// Asks, if it is time to. Times are since the container's start.
    pub(super) fn ask(&mut self, now: Duration, pod: Ipv4Addr) {
        if now < self.due {
            return;
        }
        self.due = now + self.period;
        let well = self.target.answers(pod, self.timeout);
        self.count(well);
    }

    fn count(&mut self, well: bool) {
        self.row = if well { (self.row.0 + 1, 0) } else { (0, self.row.1 + 1) };
        let (successes, failures) = self.thresholds;
        if self.row.0 >= successes {
            self.verdict = Some(true);
        } else if self.row.1 >= failures {
            self.verdict = Some(false);
        }
    }
}

impl Target {
    fn answers(&self, pod: Ipv4Addr, limit: Duration) -> bool {
        match self {
            Self::Tcp { port } => connect(pod, *port, limit).is_ok(),
            Self::Http { port, path } => {
                let status = http_status(pod, *port, path, limit);
                status.is_ok_and(|status| (200..400).contains(&status))
            }
        }
    }
}

fn connect(pod: Ipv4Addr, port: u16, limit: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((pod, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    Ok(stream)
}

/// The status code of an answer to GET.
fn http_status(pod: Ipv4Addr, port: u16, path: &str, limit: Duration) -> Result<u16> {
    let mut stream = connect(pod, port, limit)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {pod}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    let status = std::str::from_utf8(&start)?.strip_prefix("HTTP/1.1 ").context("HTTP/1.1")?;
    Ok(status.parse()?)
}

/// A port by its number or by its name in the container's list.
fn port(container: &Value, given: &Value) -> Result<u16> {
    let number = match given {
        Value::String(name) => {
            let ports = container["ports"].as_array().into_iter().flatten();
            let mut named = ports.filter(|port| port["name"] == **name);
            named.next().with_context(|| format!("no port {name}"))?["containerPort"].as_u64()
        }
        number => number.as_u64(),
    };
    Ok(u16::try_from(number.context("a port")?)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Probe;

    #[test]
    fn a_probe_says_no_after_failures_in_a_row_and_yes_again_after_one_success() {
        let container = json!({
            "ports": [{ "name": "health", "containerPort": 9465 }],
            "readinessProbe": {
                "httpGet": { "path": "/readyz", "port": "health" }, "failureThreshold": 2,
            },
        });
        let probe = Probe::of(&container, "readinessProbe").expect("a probe");
        let mut probe = probe.expect("a probe");
        assert!(Probe::of(&container, "startupProbe").expect("none").is_none());
        let mut verdicts = Vec::new();
        for well in [false, true, false, false, true] {
            probe.count(well);
            verdicts.push(probe.verdict);
        }
        assert_eq!(verdicts, [None, Some(true), Some(true), Some(false), Some(true)]);
    }
}
