//! Transmit coalescing between real hosts: what leaves joined arrives as it was sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use mooring_lab::address::{CLIENT, SERVER, at};
use mooring_lab::clock::LIMIT;
use mooring_lab::peers::{Digest, HttpServer, download};
use mooring_lab::{Appliance, Config, Lab, isolated};

/// Each of them says which it is, and one in ten is shorter; the receiver has not asked for more than one at
/// a time (UDP_GRO), so its kernel cuts what came joined.
#[test]
fn bursts_of_datagrams_arrive_one_by_one_and_in_order() {
    isolated("bursts_of_datagrams_arrive_one_by_one_and_in_order", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().coalescing())?;
        let server = lab.server.udp(at(SERVER, 7000))?;
        server.set_read_timeout(Some(LIMIT))?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.connect(at(SERVER, 7000))?;
        // Neighbours are found first: few packets may wait for them.
        client.send(b"hello")?;
        server.recv_from(&mut [0; 16])?;
        let arrived = AtomicU32::new(0);
        let receive = || {
            let mut bytes = [0; 2_000];
            let received = (0..DATAGRAMS).try_for_each(|number| {
                let (len, _) = server.recv_from(&mut bytes)?;
                arrived.store(number + 1, Ordering::Release);
                ensure!(bytes[..len] == datagram(number), "not datagram {number}: {len} bytes");
                Ok(())
            });
            // Also when something is missing: nobody waits for it any more.
            arrived.store(DATAGRAMS, Ordering::Release);
            received
        };
        let send = || {
            for burst in 0..DATAGRAMS / BURST {
                for number in burst * BURST..(burst + 1) * BURST {
                    client.send(&datagram(number))?;
                }
                // The receiver's buffer holds one of them at least.
                while arrived.load(Ordering::Acquire) < (burst + 1) * BURST {
                    thread::yield_now();
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let receiver = scope.spawn(receive);
            let sent = send();
            receiver.join().expect("the receiver does not panic").and(sent)
        })?;
        let [packets, super_packets] = coalesced(&appliance, "outside")?;
        ensure!(packets > super_packets && super_packets > 0, "nothing left joined");
        appliance.stop().map(drop)
    });
}

/// A host that cuts its stream into segments by itself, so that they come one by one.
#[test]
fn segments_of_a_stream_are_joined_and_arrive() {
    isolated("segments_of_a_stream_are_joined_and_arrive", || {
        let lab = Lab::new()?;
        lab.server.output("ethtool", &["-K", "eth0", "tso", "off", "gso", "off"])?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().coalescing())?;
        HttpServer::start(&lab.server, at(SERVER, 8080))?;
        let got = download(&lab.client, at(SERVER, 8080), 20 * MEGABYTE)?;
        ensure!(got.digest == Digest::of_noise(20 * MEGABYTE), "another file");
        let [packets, super_packets] = coalesced(&appliance, "inside")?;
        ensure!(packets > super_packets && super_packets > 0, "nothing left joined");
        appliance.stop().map(drop)
    });
}

/// Packets that left joined to others by an interface, and the super-packets that they left in.
fn coalesced(appliance: &Appliance, interface: &str) -> Result<[u64; 2]> {
    let shown = appliance.show("counters")?;
    let counters = &shown["interfaces"][interface];
    let counter = |name: &str| counters[name].as_u64().with_context(|| format!("{name}: {shown}"));
    Ok([counter("tx_coalesced")?, counter("tx_super_packets")?])
}

fn datagram(number: u32) -> Vec<u8> {
    let len = if number % 10 == 9 { 700 } else { 1_200 };
    (0..len).map(|at: u32| (number * 7 + at) as u8).collect()
}

/// Datagrams sent without a pause.
const BURST: u32 = 40;

const DATAGRAMS: u32 = 50 * BURST;

const MEGABYTE: u64 = 1_000_000;
