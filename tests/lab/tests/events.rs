//! What the log says of events.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mooring_lab::address::{CLIENT, SERVER};
use mooring_lab::{Appliance, Config, Lab, isolated};

/// The log asks for events twice a second; what happened since the last question is written when the
/// appliance is told to end.
#[test]
fn events_of_the_last_moment_are_in_the_log() {
    isolated("events_of_the_last_moment_are_in_the_log", || {
        let lab = Lab::new()?;
        // By chance the log may ask right before the end: not three times.
        for _ in 0..3 {
            let said = stopped_right_after_an_event(&lab)?;
            ensure!(said.contains("mooring: event kind=table_full"), "{said}");
        }
        Ok(())
    });
}

/// Everything that an appliance says which is told to end as soon as its table has been full.
fn stopped_right_after_an_event(lab: &Lab) -> Result<String> {
    let config = Config::nat44().table("[limits]\nsessions = 1\n");
    let appliance = Appliance::start(&lab.gateway, &config)?;
    for _ in 0..2 {
        let socket = lab.client.udp(SocketAddr::new(CLIENT.into(), 0))?;
        socket.send_to(b"hello", SocketAddr::new(SERVER.into(), 9))?;
    }
    while appliance.drops("table_full")? == 0 {}
    appliance.stop()
}
