//! Who gets a port, and when a rule holds (`nft_nat.sh`, `conntrack_tcp_unreplied.sh`).

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::nginx;
use mooring_lab::{Family, Namespace, Process, Site};

use super::nat::{Running, SNAT, Setup};

/// A host inside sends to somebody from the very port that a service of the NAT's own has, on the same
/// address. Who that somebody is then reaches the service, not the host.
///
/// The kernel needs a rule for that (its hosts' ports lie in another range); without it the port is
/// taken, which shows that this lab would notice.
pub(crate) fn port_shadow() -> Result<()> {
    let shadowed = Running::nftables(&Setup::default())?;
    let _service = nginx(&shadowed.site.gateway, SERVICES)?;
    for family in &Family::BOTH {
        ensure!(
            !service_answers(&shadowed, family)?,
            "the kernel without a rule: the lab is wrong"
        );
    }
    drop(shadowed);

    let ranged = SNAT
        .replace("203.0.113.10;", "203.0.113.10:10000-60000;")
        .replace("2001:db8:2::10;", "[2001:db8:2::10]:10000-60000;")
        .replace("snat ip", "meta l4proto tcp snat ip");
    let ranged = Running::nftables(&Setup { ruleset: ranged, ..Setup::default() })?;
    let _service = nginx(&ranged.site.gateway, SERVICES)?;
    for family in &Family::BOTH {
        ensure!(service_answers(&ranged, family)?, "the kernel with its rule: the lab is wrong");
    }
    drop(ranged);

    for allocation in ["random", "preserve"] {
        let site = Site::new(mooring_lab::Variant::AfPacket)?;
        let mut config = site.config();
        for family in &Family::BOTH {
            let pool = format!("addresses = [\"{}/{}\"]", family.pool, family.pick(32, 128));
            config = config
                .replace(&pool, &format!("{pool}\nallocation = {{ kind = \"{allocation}\" }}"))
                .table(&format!(
                    "[[service]]\nname = \"health-{}\"\nkind = \"health\"\naddress = \"{}\"\n\
                     port = {}",
                    family.pick("v4", "v6"),
                    family.pool,
                    service_port(family)
                ));
        }
        let appliance = site.start(&config)?;
        let mooring = Running { site, appliance: Some(appliance) };
        for family in &Family::BOTH {
            let answers = service_answers(&mooring, family)?;
            ensure!(answers, "{allocation}: the port was taken\n{}", mooring.said());
        }
        mooring.stop()?;
    }
    Ok(())
}

/// Whether the service answers a request from the port that the host inside has sent to.
fn service_answers(nat: &Running, family: &Family) -> Result<bool> {
    let Site { client, far, .. } = &nat.site;
    let address = family.pick("ip", "ip6");
    let (pool, peer, port) = (family.pool, family.far, family.pick(41_404, 41_405));
    // Nobody answers the host: its SYN waits.
    far.output("nft", &[&format!(
        "table {address} far {{ counter asked {{ }}; chain in {{ type filter hook input priority 0; \
         {address} saddr {pool} tcp dport {port} tcp flags & (syn | ack) == syn \
         counter name asked drop; }}; }}"
    )])?;
    let asking = connecting(client, service_port(family), SocketAddr::new(peer, port))?;
    wait_for("the host's SYN", LIMIT, || {
        let counted = far.output("nft", &["list", "counter", address, "far", "asked"])?;
        Ok((!counted.contains("packets 0")).then_some(()))
    })?;
    let url = format!("http://{}/healthz", SocketAddr::new(pool, service_port(family)));
    let said = far
        .command("curl")
        .args(["-sS", "--max-time", "3", "--local-port", &port.to_string()])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}", &url])
        .output()
        .context("cannot run curl")?;
    drop(asking);
    let complaint = String::from_utf8_lossy(&said.stderr);
    ensure!(!complaint.contains("bind failed"), "{complaint}");
    // nginx has no such page, which is an answer as well.
    Ok(matches!(&said.stdout[..], b"200" | b"404"))
}

/// A program that connects from a port of choice, and tries for a while.
fn connecting(namespace: &Namespace, port: u16, server: SocketAddr) -> Result<Process> {
    let url = format!("http://{server}/");
    let mut command = namespace.command("curl");
    command.args(["--silent", "--connect-timeout", "30", "--local-port", &port.to_string(), &url]);
    Process::spawn("curl", &mut command)
}

/// SYNs of one connection go on into nothing. A rule that comes later holds for the next of them: the
/// mapping that the first one made is not kept for ever by those that follow.
///
/// The kernel has to forget the connection first (its timeout is set to two seconds, and SYNs do not
/// renew it); the appliance asks its new rules at once.
pub(crate) fn unreplied_syn() -> Result<()> {
    let later = |family: &Family| family.pick("203.0.113.20", "2001:db8:2::20");
    let kernel = Running::nftables(&Setup::default())?;
    kernel.site.gateway.sysctl("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", "2")?;
    for family in &Family::BOTH {
        let syns = Syns::begin(&kernel.site, family)?;
        syns.wait_for(&family.pool.to_string())?;
        let (ip, far) = (family.pick("ip", "ip6"), family.far);
        kernel.rules(&format!(
            "insert rule inet nat post oifname out0 {ip} daddr {far} snat {ip} to {}",
            later(family)
        ))?;
        syns.wait_for(later(family)).context("by nftables: the lab itself is wrong")?;
    }
    drop(kernel);

    let mooring = Running::mooring(&Setup::default())?;
    let Some(appliance) = &mooring.appliance else { bail!("the appliance runs") };
    let mut config = mooring.site.config();
    for family in &Family::BOTH {
        let syns = Syns::begin(&mooring.site, family)?;
        syns.wait_for(&family.pool.to_string())?;
        let name = family.pick("later-v4", "later-v6");
        config = config
            .table(&format!("[[pool]]\nname = \"{name}\"\naddresses = [\"{}\"]", later(family)))
            .first_rule(&format!(
                "name = \"{name}\"\nkind = \"source-nat\"\nfrom = \"inside\"\nto = \"outside\"\n\
                 destination = [\"{}\"]\npool = \"{name}\"",
                family.far
            ));
        appliance.reload(&config.to_string())?;
        syns.wait_for(later(family)).with_context(|| mooring.said())?;
    }
    mooring.stop()
}

/// SYNs of one connection go on into nothing, faster than a session times out: it ends all the same.
/// RFC 7857 §2: what is half open has a timeout of its own; only what is answered renews it.
pub(crate) fn unpinned_syn() -> Result<()> {
    let setup = Setup {
        configure: |config| config.table(&format!("\n[timeouts]\ntcp_half_open = {HALF_OPEN}")),
        ..Setup::default()
    };
    // The kernel tells the seconds that are left: they go down although SYNs come.
    let kernel = Running::nftables(&setup)?;
    let timeout = HALF_OPEN.to_string();
    kernel.site.gateway.sysctl("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", &timeout)?;
    repeat_syns(&kernel.site, &Family::BOTH[0], || {
        let all = kernel.site.gateway.output("conntrack", &["-L", "-p", "tcp"])?;
        let left = all.split_whitespace().nth(2).and_then(|seconds| seconds.parse::<u32>().ok());
        Ok(left.is_some_and(|left| left < 2))
    })
    .context("by nftables: the lab itself is wrong")?;
    drop(kernel);

    for family in &Family::BOTH {
        let mooring = Running::mooring(&setup)?;
        let Some(appliance) = &mooring.appliance else { bail!("the appliance runs") };
        repeat_syns(&mooring.site, family, || {
            let counters = appliance.show("counters")?;
            let expired = &counters["workers"][0]["sessions_expired"];
            Ok(expired.as_u64().with_context(|| format!("no count in {counters}"))? > 0)
        })
        .with_context(|| mooring.said())?;
        mooring.stop()?;
    }
    Ok(())
}

/// Sends a SYN about every second from one port to one, until its session has ended.
fn repeat_syns(
    site: &Site,
    family: &Family,
    mut ended: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let syns = Syns::begin(site, family)?;
    syns.wait_for(&family.pool.to_string())?;
    drop(syns);
    let port = syn_port(family).to_string();
    let url = format!("http://{}/", SocketAddr::new(family.far, 81));
    let waiting = Stopwatch::start();
    while waiting.elapsed() < LIMIT {
        let asked = ["--silent", "--connect-timeout", "1", "--local-port", &port, &url];
        // It never connects.
        site.client.command("curl").args(asked).output().context("cannot run curl")?;
        if ended()? {
            return Ok(());
        }
    }
    bail!("SYNs kept their session for {} s", LIMIT.as_secs())
}

/// A connection that nobody answers, and where its SYNs come from as the far host sees it.
struct Syns<'s> {
    far: &'s Namespace,
    family: &'static str,
    _asking: Process,
}

impl<'s> Syns<'s> {
    fn begin(site: &'s Site, family: &Family) -> Result<Self> {
        let name = family.pick("ip", "ip6");
        let address = family.pick("ipv4_addr", "ipv6_addr");
        site.far.output(
            "nft",
            &[&format!(
                "table {name} far {{ set seen {{ type {address}; size 64; flags dynamic; }}; \
             chain in {{ type filter hook input priority 0; \
             tcp dport 81 add @seen {{ {name} saddr }} drop; }}; }}"
            )],
        )?;
        let asking = connecting(&site.client, syn_port(family), SocketAddr::new(family.far, 81))?;
        Ok(Self { far: &site.far, family: name, _asking: asking })
    }

    fn wait_for(&self, source: &str) -> Result<()> {
        wait_for(&format!("a SYN from {source}"), LIMIT, || {
            let seen = self.far.output("nft", &["list", "set", self.family, "far", "seen"])?;
            let words = seen.split(|c: char| !(c.is_ascii_hexdigit() || ".:".contains(c)));
            Ok(words.into_iter().any(|word| word == source).then_some(()))
        })
    }
}

/// The service's, of each family: a program that has just ended leaves a port busy in both.
fn service_port(family: &Family) -> u16 {
    family.pick(8080, 8081)
}

/// Where the SYNs that nobody answers come from.
fn syn_port(family: &Family) -> u16 {
    family.pick(5000, 5001)
}

/// Seconds.
const HALF_OPEN: u32 = 4;
const SERVICES: &[&str] = &["203.0.113.10:8080", "[2001:db8:2::10]:8081"];
