//! A kernel that refuses options of packet sockets, or memory of theirs, to the calling thread and those that it
//! starts: a filter of system calls answers in its place.
#![allow(
    unsafe_code,
    reason = "there is no safe form of prctl for filters; this module is the only place"
)]

use std::io;

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// To set an option (`PACKET_*`): EINVAL.
    Option(libc::c_int),
    /// To map memory that is shared with the kernel, as that of rings is: ENOMEM.
    Sharing,
}

/// From now on all of these are refused.
///
/// # Panics
/// When the kernel takes no filter.
pub(crate) fn refuse(refusals: &[Refusal]) {
    let mut program = Vec::new();
    for refusal in refusals {
        // The number of the call and the low halves of two of its arguments (struct seccomp_data), and the answer.
        let (call, [(first, one), (second, other)], error) = match *refusal {
            Refusal::Option(option) => {
                (libc::SYS_setsockopt, [(1, libc::SOL_PACKET), (2, option)], libc::EINVAL)
            }
            Refusal::Sharing => {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                (libc::SYS_mmap, [(2, protection), (3, libc::MAP_SHARED)], libc::ENOMEM)
            }
        };
        program.extend([load(0), equal(call as u32, 5)]);
        program.extend([load(16 + 8 * first), equal(one as u32, 3)]);
        program.extend([load(16 + 8 * second), equal(other as u32, 1)]);
        program.push(answer(libc::SECCOMP_RET_ERRNO | error as u32));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let filter = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the kernel copies the program, which outlives the call, and writes nothing.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn load(offset: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0)
}

fn equal(value: u32, otherwise: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ, value, otherwise)
}

fn answer(action: u32) -> libc::sock_filter {
    step(libc::BPF_RET, action, 0)
}

fn step(code: u32, value: u32, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: otherwise, k: value }
}
