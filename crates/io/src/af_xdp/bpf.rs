//! The kernel's BPF: maps, programs and links, by bpf(2). The one door to it.
//!
//! Every object is a file descriptor and lives as long as it: a link takes its program off the device
//! when the process ends, however it ends.
//!
//! Its safe functions keep this invariant: pointers given to the kernel are made anew for every call, from
//! borrows of the lengths that the kernel knows, and it keeps none of them.
#![allow(unsafe_code, reason = "the one file of bpf(2)")]

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use zerocopy::{Immutable, IntoBytes};

use super::assembler::Instruction;

/// A map from `K` to `V`.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    fd: OwnedFd,
    entries: PhantomData<(K, V)>,
}

/// A program that is attached to a device, until this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    _fd: OwnedFd,
}

impl<K: IntoBytes + Immutable, V: IntoBytes + Immutable> Map<K, V> {
    /// A hash map of at most `entries`.
    pub(crate) fn hash(entries: u32) -> io::Result<Self> {
        Self::new(MAP_TYPE_HASH, entries)
    }

    /// Sets the value of `key`.
    pub(crate) fn insert(&self, key: &K, value: &V) -> io::Result<()> {
        self.change(MAP_UPDATE_ELEM, key, ptr::from_ref(value).expose_provenance() as u64)
    }

    /// Takes `key` out.
    pub(crate) fn remove(&self, key: &K) -> io::Result<()> {
        self.change(MAP_DELETE_ELEM, key, 0)
    }

    /// The value of `key`, written to `value`.
    pub(crate) fn read(&self, key: &K, value: &mut V) -> io::Result<()> {
        self.change(MAP_LOOKUP_ELEM, key, ptr::from_mut(value).expose_provenance() as u64)
    }

    fn new(kind: u32, entries: u32) -> io::Result<Self> {
        let request = MapCreate {
            kind,
            key_size: size_of::<K>() as u32,
            value_size: size_of::<V>() as u32,
            max_entries: entries,
        };
        Ok(Self { fd: descriptor(MAP_CREATE, request)?, entries: PhantomData })
    }

    fn change(&self, command: libc::c_int, key: &K, value: u64) -> io::Result<()> {
        let map = self.raw().cast_unsigned();
        let key = ptr::from_ref(key).expose_provenance() as u64;
        call(command, MapElement { map, padding: 0, key, value, flags: 0 })?;
        Ok(())
    }
}

impl Map<u32, u64> {
    /// One number, which a program reaches without a look-up.
    pub(crate) fn number() -> io::Result<Self> {
        Self::new(MAP_TYPE_ARRAY, 1)
    }
}

impl Map<u32, u32> {
    /// A map from a queue to the AF_XDP socket of it.
    pub(crate) fn sockets(entries: u32) -> io::Result<Self> {
        Self::new(MAP_TYPE_XSKMAP, entries)
    }
}

impl<K, V> Map<K, V> {
    /// As a program names it.
    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Loads an XDP program and attaches it to a device, in the driver itself. It may be shown packets in several
/// pieces, of which it reaches the first, where the kernel (since Linux 5.18) and the driver know of that.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN and CAP_BPF; EBUSY where another program is attached; EOPNOTSUPP where the
/// driver knows no XDP; EINVAL and ERANGE where the device's MTU is too long for it.
pub(crate) fn attach(code: &[Instruction], device: u32) -> io::Result<Link> {
    let attach = |flags| {
        let program = Program::load_with(code, flags)?;
        let program = program.fd.as_raw_fd().cast_unsigned();
        let attach_type = ATTACH_TYPE_XDP;
        let request = LinkCreate { program, device, attach_type, flags: IN_DRIVER };
        Ok(Link { _fd: descriptor(LINK_CREATE, request)? })
    };
    attach(HAS_FRAGS).or_else(|_: io::Error| attach(0))
}

/// An XDP program that is attached to nothing.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
}

impl Program {
    /// # Errors
    /// EPERM without CAP_NET_ADMIN and CAP_BPF; EINVAL and EACCES for a program that the kernel finds unsafe.
    pub(crate) fn load(code: &[Instruction]) -> io::Result<Self> {
        Self::load_with(code, 0)
    }

    fn load_with(code: &[Instruction], flags: u32) -> io::Result<Self> {
        let request = ProgramLoad {
            kind: PROG_TYPE_XDP,
            count: code.len() as u32,
            code: code.as_ptr().expose_provenance() as u64,
            license: LICENSE.as_ptr().expose_provenance() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags,
            name: *b"mooring\0\0\0\0\0\0\0\0\0",
            device: 0,
            attach_type: ATTACH_TYPE_XDP,
        };
        Ok(Self { fd: descriptor(PROG_LOAD, request)? })
    }

    /// Runs the program `count` times over copies of `frame`, as if they had come in at `device`, and does with
    /// each what the program says (`BPF_F_TEST_XDP_LIVE_FRAMES`). The pages of frames are used again as
    /// whoever got them has left them.
    ///
    /// # Errors
    /// EINTR for a signal; ENODEV where there is no such device in the network namespace of the caller.
    pub(crate) fn run_live(&self, frame: &[u8], device: u32, count: u32) -> io::Result<()> {
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: [u32; 6] = [0, frame.len() as u32, 0, device, 0, 0];
        let request = TestRun {
            program: self.fd.as_raw_fd().cast_unsigned(),
            verdict: 0,
            data_size: frame.len() as u32,
            data_size_out: 0,
            data: frame.as_ptr().expose_provenance() as u64,
            data_out: 0,
            repeat: count,
            duration: 0,
            context_size: size_of_val(&context) as u32,
            context_size_out: 0,
            context: context.as_ptr().expose_provenance() as u64,
            context_out: 0,
            flags: LIVE_FRAMES,
            cpu: 0,
            batch_size: 0,
            padding: 0,
        };
        call(PROG_TEST_RUN, request)?;
        Ok(())
    }
}

/// A call that answers with a file descriptor.
fn descriptor<R: IntoBytes + Immutable>(command: libc::c_int, request: R) -> io::Result<OwnedFd> {
    let fd = call(command, request)?;
    // SAFETY: the kernel has made this descriptor for us just now; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<R: IntoBytes + Immutable>(command: libc::c_int, mut request: R) -> io::Result<RawFd> {
    let (attributes, len) = (ptr::from_mut(&mut request), size_of::<R>());
    // SAFETY: `request` is `len` bytes of ours, which the kernel reads (what is not said is zero to it) and in
    // which it may leave an answer that nobody looks at. The pointers in it are to a key and a value of the
    // lengths that the map was made with, to a program and its license, or to a frame and what it came with,
    // all borrowed by our caller; the kernel only reads them, but for the value of a look-up, which is
    // borrowed mutably.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, len) };
    RawFd::try_from(answer).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}

/// `union bpf_attr` (linux/bpf.h), as each command reads it.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct TestRun {
    program: u32,
    verdict: u32,
    data_size: u32,
    data_size_out: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size: u32,
    context_size_out: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
}

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const IN_DRIVER: u32 = 1 << 2;

/// `BPF_F_XDP_HAS_FRAGS` (linux/bpf.h).
const HAS_FRAGS: u32 = 1 << 5;

/// `BPF_F_TEST_XDP_LIVE_FRAMES` (linux/bpf.h).
const LIVE_FRAMES: u32 = 1 << 1;

/// That of this crate; the helpers that are called ask for none.
const LICENSE: &CStr = c"MIT OR Apache-2.0";
