//! A kernel that refuses options of packet sockets, to the calling thread and those that it starts: a filter of
//! system calls answers in its place.
#![allow(
    unsafe_code,
    reason = "there is no safe form of prctl for filters; this module is the only place"
)]

use std::io;

/// From now on these options (`PACKET_*`) cannot be set: EINVAL.
///
/// # Panics
/// When the kernel takes no filter.
pub(crate) fn refuse(options: &[libc::c_int]) {
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
    let equal = |value, otherwise| step(libc::BPF_JMP | libc::BPF_JEQ, value, otherwise);
    let answer = |action| step(libc::BPF_RET, action, 0);
    let mut program = Vec::new();
    for option in options {
        // The number of the call, and the low halves of its second and third argument (struct seccomp_data).
        program.extend([load(0), equal(libc::SYS_setsockopt as u32, 5)]);
        program.extend([load(24), equal(libc::SOL_PACKET as u32, 3)]);
        program.extend([load(32), equal(*option as u32, 1)]);
        program.push(answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let filter = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the kernel copies the program, which outlives the call, and writes nothing.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn step(code: u32, value: u32, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: otherwise, k: value }
}
