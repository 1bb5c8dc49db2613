//! A kernel that refuses single things: what it has not, or does not know, on other machines.
//!
//! A filter of system calls in front of the appliance answers in the kernel's place. What is behind a pointer it
//! cannot read, so only the number of an option or of a request is told apart.

/// What is refused, and with which word.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// An option of packet sockets (`PACKET_*`) may not be set.
    PacketOption(u32, Errno),
    /// A request to a device (`ioctl`) is not known.
    Request(u32, Errno),
    /// The process gets no huge pages (`PR_SET_THP_DISABLE`).
    HugePages,
}

/// A number of `errno.h`.
pub type Errno = u32;

impl Refusal {
    /// The command in front of a program that is refused all of these, for
    /// [`crate::Appliance::start_limited`].
    #[must_use]
    pub fn wrapper(all: &[Self]) -> Vec<String> {
        let rules: Vec<_> = all.iter().map(|refusal| refusal.rule()).collect();
        ["python3", "-c", WRAPPER, &rules.join(" ")].map(str::to_owned).into()
    }

    /// For [`WRAPPER`]: the number of a call, the second argument, the third or -1, the answer.
    fn rule(self) -> String {
        match self {
            Self::PacketOption(option, errno) => {
                format!("{SETSOCKOPT}:{SOL_PACKET}:{option}:{errno}")
            }
            Self::Request(request, errno) => format!("{IOCTL}:{request}:-1:{errno}"),
            Self::HugePages => "thp".to_owned(),
        }
    }
}

/// `EINVAL`, which most kernels answer to what they do not know.
pub const INVALID: Errno = 22;
/// `ENOMEM`
pub const NO_MEMORY: Errno = 12;

const SETSOCKOPT: u32 = if cfg!(target_arch = "x86_64") { 54 } else { 208 };
const IOCTL: u32 = if cfg!(target_arch = "x86_64") { 16 } else { 29 };
const SOL_PACKET: u32 = 263;

/// Classic BPF over `struct seccomp_data`: the number of the call at 0, the low half of argument N at 16 + 8 N.
/// Then `PR_SET_SECCOMP` (22), or `PR_SET_THP_DISABLE` (41), and the program itself.
const WRAPPER: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def prctl(*arguments):
    if libc.prctl(*arguments):
        sys.exit(os.strerror(ctypes.get_errno()))
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = []
for rule in sys.argv[1].split():
    if rule == "thp":
        prctl(41, 1, 0, 0, 0)
        continue
    call, *arguments, errno = map(int, rule.split(":"))
    wanted = [(0, call)] + [(16 + 8 * at, value) for at, value in enumerate(arguments, 1) if value >= 0]
    for left, (offset, value) in zip(range(len(wanted), 0, -1), wanted):
        program += [(LOAD, 0, 0, offset), (EQUAL, 0, 2 * left - 1, value)]
    program.append((RETURN, 0, 0, 0x50000 | errno))
program.append((RETURN, 0, 0, 0x7fff0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
if len(program) > 1:
    prctl(22, 2, ctypes.byref(Program(len(program), ctypes.addressof(code))), 0, 0)
os.execvp(sys.argv[2], sys.argv[2:])
"#;
