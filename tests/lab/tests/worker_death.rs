//! A worker dies under traffic: the process ends soon, says which worker it was and why, nothing that it had
//! is left, and the next one serves.
//!
//! How it dies is no hook of the appliance's: the kernel's answer to one system call of one thread is another one
//! than the kernel gave. A build without `panic = "abort"` ends by itself then, a release build by SIGABRT.
#![cfg(target_arch = "x86_64")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_lab::address::{CLIENT, GATEWAY_INSIDE, GATEWAY_OUTSIDE, INSIDE, POOL, SERVER, at};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::{Ping, UdpEcho};
use mooring_lab::{Appliance, Capture, Config, Exit, Lab, isolated};

/// It sleeps under traffic, too: between two packets.
#[test]
fn a_worker_that_the_kernel_fails_ends_the_appliance() {
    isolated("a_worker_that_the_kernel_fails_ends_the_appliance", || {
        let exit =
            dies(&[], |appliance| appliance.answer_once(VICTIM, EPOLL_WAIT, -BAD_DESCRIPTOR))?;
        ensure!(exit.code == Some(1), "{:?}: {}", exit.code, exit.stderr);
        let errors: Vec<_> = exit.stderr.lines().filter(|line| line.contains("error:")).collect();
        ensure!(errors.len() == 1, "one message: {}", exit.stderr);
        ensure!(errors[0].contains("worker 1: Bad file descriptor"), "{}", exit.stderr);
        Ok(())
    });
}

/// The kernel says that it has sent more than it was asked to: that cannot be, and is a panic of the code that
/// goes on behind what was sent.
#[test]
fn a_worker_that_panics_ends_the_appliance() {
    isolated("a_worker_that_panics_ends_the_appliance", || panics(&[]));
}

/// The kernel spares process 1 of a container the signal by which a release build ends; it ends by the next one.
#[test]
fn a_worker_that_panics_ends_the_first_process_of_a_pod() {
    isolated("a_worker_that_panics_ends_the_first_process_of_a_pod", || {
        panics(&["unshare", "--pid", "--fork", "--kill-child"])
    });
}

fn panics(wrapper: &[&str]) -> Result<()> {
    let exit = dies(wrapper, |appliance| appliance.answer_once(VICTIM, SENDMMSG, 1 << 20))?;
    for said in ["panic in thread `worker-1` at", "this is a bug of mooring", "hint: please"] {
        ensure!(exit.stderr.contains(said), "{said}: {}", exit.stderr);
    }
    match exit.code {
        // What the main thread makes of a worker that has unwound.
        Some(code) => {
            ensure!(code == 1, "{code}: {}", exit.stderr);
            ensure!(exit.stderr.contains("error: worker 1 has panicked"), "{}", exit.stderr);
        }
        // Aborted: nobody was left to say anything.
        None => ensure!(!exit.stderr.contains("error:"), "{}", exit.stderr),
    }
    Ok(())
}

/// One thread cannot be aborted alone: the kernel ends the whole process, and takes back all it had.
#[test]
fn an_appliance_that_is_aborted_leaves_nothing_behind() {
    isolated("an_appliance_that_is_aborted_leaves_nothing_behind", || {
        let exit = dies(&[], Appliance::abort)?;
        ensure!(exit.code.is_none(), "{:?}: {}", exit.code, exit.stderr);
        Ok(())
    });
}

/// Lets the second of two workers die while hosts of both are served, and looks at what comes after.
fn dies(wrapper: &[&str], how: impl FnOnce(&Appliance) -> Result<()>) -> Result<Exit> {
    let lab = Lab::new()?;
    let config = Config::nat44().replace("workers = 1", "workers = 2");
    let appliance = Appliance::start_limited(&lab.gateway, &config, wrapper)?;
    let _echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
    let (hosts, inside) = hosts(&lab)?;
    let over = AtomicBool::new(false);
    let exit = thread::scope(|scope| {
        scope.spawn(|| load(&hosts, &over));
        let exit = under_load(&lab, &inside, appliance, how);
        over.store(true, Ordering::Relaxed);
        exit
    })?;

    // The next one finds nothing in its way. Hosts begin anew.
    let next = Appliance::start(&lab.gateway, &config)?;
    let mut ping = Ping::new(&lab.client, CLIENT, SERVER)?;
    (0..5).try_for_each(|_| ping.send(56).map(drop))?;
    for host in hosts {
        host.set_nonblocking(false)?;
        host.send(b"again")?;
        let mut answer = [0; 16];
        // What was under way of before may come first.
        while host.recv(&mut answer)? != b"again".len() || !answer.starts_with(b"again") {}
    }
    next.stop()?;
    Ok(exit)
}

fn under_load(
    lab: &Lab,
    hosts: &[Ipv4Addr],
    appliance: Appliance,
    how: impl FnOnce(&Appliance) -> Result<()>,
) -> Result<Exit> {
    let whole = Capture::start(&lab.server, "eth0")?;
    wait_for("both workers to have sessions", LIMIT, || {
        let counters = appliance.show("counters")?;
        let workers = counters["workers"].as_array().context("a list of workers")?;
        let busy = workers.iter().filter(|worker| worker["translated"].as_u64() > Some(500));
        Ok((busy.count() == 2).then_some(()))
    })?;
    how(&appliance)?;
    let dying = Stopwatch::start();
    let exit = appliance.ended()?;
    ensure!(dying.elapsed() < SOON, "it took {:?}", dying.elapsed());
    println!("ended after {:?}", dying.elapsed());
    let seen = whole.stop()?;
    ensure!(seen.packets_from(POOL).len() > 100, "{} packets", seen.packets_from(POOL).len());
    let leaks = seen.carrying(hosts);
    ensure!(leaks.is_empty(), "inside addresses in {leaks:02x?}");

    // Nobody speaks for its addresses, and nothing comes through: hosts still send what they can.
    let outside = Capture::start(&lab.server, "eth0")?;
    let inside = Capture::start(&lab.client, "eth0")?;
    for (host, gone) in [(&lab.client, GATEWAY_INSIDE), (&lab.server, GATEWAY_OUTSIDE)] {
        host.ip("neigh flush dev eth0")?;
        let asked = host.tool("ping", &["-c", "2", "-W", "1", &gone.to_string()]);
        ensure!(asked.is_err(), "{gone} answers: {asked:?}");
    }
    for (capture, side) in [(outside, "outside"), (inside, "inside")] {
        let frames = capture.stop()?;
        ensure!(frames.all().is_empty(), "{side}: {frames:02x?}");
    }
    Ok(exit)
}

/// Sockets of sixteen hosts, connected to the server, and all the addresses of the inside.
fn hosts(lab: &Lab) -> Result<(Vec<UdpSocket>, Vec<Ipv4Addr>)> {
    let (mut sockets, mut addresses) = (Vec::new(), INSIDE.to_vec());
    for number in 20..36 {
        let address = Ipv4Addr::new(10, 0, 0, number);
        lab.client.ip(&format!("address add {address}/24 dev eth0"))?;
        let socket = lab.client.udp(at(address, 5000))?;
        socket.connect(at(SERVER, 7000))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

/// Some thousand packets a second, whatever becomes of them.
fn load(hosts: &[UdpSocket], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for host in hosts {
            let _ = host.send(b"hello");
            while host.recv(&mut [0; 16]).is_ok() {}
        }
        thread::sleep(Duration::from_millis(2));
    }
}

const VICTIM: &str = "worker-1";

/// Numbers of system calls on x86_64: `epoll_wait` and `epoll_pwait`.
const EPOLL_WAIT: &[u32] = &[232, 281];
const SENDMMSG: &[u32] = &[307];
/// `EBADF`
const BAD_DESCRIPTOR: i64 = 9;

/// Far more than a worker takes to see that it is to end, and the main thread to wait for one that does not.
const SOON: Duration = Duration::from_secs(10);
