//! Links of different lengths, and what is too long for them (`conntrack_icmp_related.sh`,
//! `nft_flowtable.sh`, `nft_nat.sh`).

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mooring_lab::isolation::SCRATCH;
use mooring_lab::peers::{Digest, HttpServer, Noise, download, receive};
use mooring_lab::{Capture, Family};

use super::nat::{Running, SNAT, Setup};

/// A datagram that is too long for the link behind the next router but one: that router's error comes
/// back through the NAT, once, and quotes what the host has sent.
pub(crate) fn one_error(nat: &Running) -> Result<()> {
    for family in &Family::BOTH {
        let capture = Capture::start(&nat.site.client, "eth0")?;
        let server = SocketAddr::new(family.far, 7000);
        let sink = nat.site.far.udp(server)?;
        let client = nat.site.client.udp(SocketAddr::new(family.client, 5000))?;
        client.send_to(b"short", server)?;
        receive(&sink)?;
        // The kernel forbids fragments of what fits its own link.
        let sent = [0x5a; 1_400];
        client.send_to(&sent, server)?;
        // Crosses after the error has: what would come twice has come.
        let echoes =
            ["-c", "3", "-i", "0.1", "-W", "5", &family.server.to_string()].map(String::from);
        let echoes: Vec<_> = echoes.iter().map(String::as_str).collect();
        nat.site.client.tool("ping", &echoes)?;

        let frames = capture.stop()?;
        let kind: &[u8] = family.pick(&[3, 4], &[2, 0]);
        let at = family.pick(34, 54);
        let is_error = |bytes: &[u8]| {
            bytes.get(at - 20..).is_some()
                && bytes.get(12) == family.pick(&[8], &[0x86]).first()
                && bytes.get(family.pick(23, 20)) == Some(&family.pick(1, 58))
                && bytes.get(at..at + 2) == Some(kind)
        };
        let errors = frames.filter(is_error);
        ensure!(errors.len() == 1, "{} errors: {errors:02x?}", errors.len());
        let error = &errors[0].bytes[at..];
        ensure!(error[6..8] == 1280_u16.to_be_bytes(), "MTU: {error:02x?}");
        assert_quote(family, error, server)?;
        // RFC 1812 §4.3.2.3: as much as fits into 576 bytes; RFC 4443 §2.4: into 1280.
        let longest = 14 + family.pick(576, 1280);
        ensure!(errors[0].length <= longest, "{} bytes", errors[0].length);
    }
    Ok(())
}

/// Addresses and ports of the quoted packet, as the host knows them, and a right header.
fn assert_quote(family: &Family, error: &[u8], server: SocketAddr) -> Result<()> {
    let quote = &error[8..];
    let (addresses, ports) = family.pick((12..20, 20..24), (8..40, 40..44));
    let octets = |address| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let expected = [octets(family.client), octets(family.far)].concat();
    ensure!(quote.get(addresses) == Some(&expected[..]), "addresses: {quote:02x?}");
    let expected = [5000_u16.to_be_bytes(), server.port().to_be_bytes()].concat();
    ensure!(quote.get(ports) == Some(&expected[..]), "ports: {quote:02x?}");
    if family.client.is_ipv4() {
        let words = quote[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        ensure!((sum & 0xffff) + (sum >> 16) == 0xffff, "header checksum: {quote:02x?}");
    }
    Ok(())
}

/// Port 8080 of the pool's address is the client's port 80.
pub(crate) fn forwarding() -> Setup {
    let chain = "chain pre { type nat hook prerouting priority dstnat;";
    let rules = format!(
        "{chain} iifname out0 ip daddr 203.0.113.10 tcp dport 8080 dnat ip to 10.0.0.2:80; \
         iifname out0 ip6 daddr 2001:db8:2::10 tcp dport 8080 dnat ip6 to [fd00:10::2]:80;"
    );
    Setup {
        configure: |config| {
            Family::BOTH.iter().fold(config, |config, family| {
                config.first_rule(&format!(
                    "name = \"web-{}\"\nkind = \"port-forward\"\naddress = \"{}\"\n\
                     port = 8080\ntarget = \"{}:80\"",
                    family.pick("v4", "v6"),
                    family.pool,
                    Family::host(family.client)
                ))
            })
        },
        ruleset: SNAT.replace(chain, &rules),
        ..Setup::default()
    }
}

/// Both ways through source translation, and through a forwarded port; with path MTU discovery, and
/// (IPv4) without.
pub(crate) fn files(nat: &Running) -> Result<()> {
    for family in &Family::BOTH {
        let expected = Digest::of_noise(BYTES);
        let server = SocketAddr::new(family.far, 80);
        HttpServer::start(&nat.site.far, server)?;
        HttpServer::start(&nat.site.client, SocketAddr::new(family.client, 80))?;
        for discovers in family.pick(&["0", "1"][..], &["0"]) {
            for host in [&nat.site.client, &nat.site.far] {
                host.sysctl("net/ipv4/ip_no_pmtu_disc", discovers)?;
            }
            let got = download(&nat.site.client, server, BYTES)?;
            ensure!(got.digest == expected, "down from {server}");
            upload(nat, server).with_context(|| format!("up to {server}"))?;
            let forwarded = SocketAddr::new(family.pool, 8080);
            let got = download(&nat.site.far, forwarded, BYTES)?;
            ensure!(got.digest == expected, "by the forwarded port");
        }
    }
    Ok(())
}

fn upload(nat: &Running, server: SocketAddr) -> Result<()> {
    let file = format!("{SCRATCH}/upload");
    let mut noise = vec![0; usize::try_from(BYTES)?];
    Noise::default().read_exact(&mut noise)?;
    std::fs::write(&file, noise)?;
    let url = format!("http://{server}/");
    let answer = nat.site.client.tool("curl", &["-sS", "--fail", "--upload-file", &file, &url])?;
    ensure!(answer == Digest::of_noise(BYTES).to_string(), "another file arrived");
    Ok(())
}

/// The inside prefix has an outside one of the same length; the kernel's rules for IPv4 are stateless.
pub(crate) fn fixed() -> Setup {
    Setup {
        configure: |config| {
            config
                .first_rule(
                    "name = \"static-v4\"\nkind = \"static\"\ninside = \"10.0.0.0/24\"\n\
                     outside = \"203.0.113.0/24\"\nfrom = \"inside\"\nto = \"outside\"",
                )
                .first_rule(
                    "name = \"static-v6\"\nkind = \"static\"\ninside = \"fd00:10::/64\"\n\
                     outside = \"2001:db8:2::/64\"\nfrom = \"inside\"\nto = \"outside\"",
                )
                // Wider than the prefix: a rule that another leaves nothing to is refused.
                .replace("source = [\"fd00:10::/64\"]", "source = [\"fd00:10::/48\"]")
                .replace("203.0.113.10/32", "198.51.100.200/32")
                .replace("2001:db8:2::10/128", "2001:db8:5::10/128")
        },
        ruleset: STATELESS.to_owned(),
        ..Setup::default()
    }
}

/// 4,096 bytes of UDP in fragments, both ways.
pub(crate) fn fragmented_datagrams(nat: &Running) -> Result<()> {
    let mut sent = vec![0; 4_096];
    Noise::default().read_exact(&mut sent)?;
    for family in &Family::BOTH {
        let server = nat.site.far.udp(SocketAddr::new(family.far, 7000))?;
        let client = nat.site.client.udp(SocketAddr::new(family.client, 5000))?;
        let outside = SocketAddr::new(family.pick("203.0.113.2", "2001:db8:2::2").parse()?, 5000);
        client.send_to(&sent, server.local_addr()?)?;
        ensure!(receive(&server)? == (sent.clone(), outside), "outward");
        server.send_to(&sent, outside)?;
        ensure!(receive(&client)? == (sent.clone(), server.local_addr()?), "inward");
        // From outside first, to a host that has said nothing.
        let other = nat.site.other.udp(SocketAddr::new(family.other, 5001))?;
        let outside = SocketAddr::new(family.pick("203.0.113.4", "2001:db8:2::4").parse()?, 5001);
        server.send_to(&sent, outside)?;
        ensure!(receive(&other)? == (sent.clone(), server.local_addr()?), "unasked");
    }
    Ok(())
}

const BYTES: u64 = 2 << 20;
/// IPv4 without any state, as `nft_nat.sh` has it; IPv6 with.
const STATELESS: &str = "
table inet fixed {
  chain pre { type filter hook prerouting priority raw;
    iifname out0 ip daddr set ip daddr & 0.0.0.255 | 10.0.0.0; }
  chain post { type filter hook postrouting priority raw;
    oifname out0 ip saddr set ip saddr & 0.0.0.255 | 203.0.113.0; }
}
table ip6 fixed {
  chain pre { type nat hook prerouting priority dstnat;
    iifname out0 dnat ip6 prefix to ip6 daddr map { 2001:db8:2::/64 : fd00:10::/64 }; }
  chain post { type nat hook postrouting priority srcnat;
    oifname out0 snat ip6 prefix to ip6 saddr map { fd00:10::/64 : 2001:db8:2::/64 }; }
}";
