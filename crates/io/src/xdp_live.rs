//! Frames that an XDP program makes in the kernel and sends at once (`BPF_PROG_TEST_RUN` with live frames): the
//! fastest sender that there is without a driver of our own, and one that can do nothing but send.
//!
//! A call makes many frames and takes some 20 ms before the first. The device must take frames of XDP: one
//! end of a veth pair does when the other has GRO, or a program. Whoever gets a frame may have written to its
//! page before the program sees that again: so a program writes all that anybody may change.

use std::io;

use crate::af_xdp::bpf::{Map, Program};

pub use crate::af_xdp::assembler::{Assembler, Instruction, Operation, Register, Size, When};

/// A program that makes frames, with a number that it counts them in.
#[derive(Debug)]
pub struct Maker {
    program: Program,
    count: Map<u32, u64>,
}

impl Maker {
    /// Loads the program that `code` makes of the file descriptor of an array map with one number of 64 bits
    /// ([`Assembler::map_value`]). Its verdict for a frame that is to leave is [`SEND`].
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN and CAP_BPF; EINVAL and EACCES for a program that the kernel finds unsafe.
    pub fn load(code: impl FnOnce(i32) -> Vec<Instruction>) -> io::Result<Self> {
        let count = Map::number()?;
        let program = Program::load(&code(count.raw()))?;
        Ok(Self { program, count })
    }

    /// Makes `count` frames out of `frame`, as the program says, and sends them out of the device of this number
    /// in the network namespace of the caller. Does not say whether the device took them.
    ///
    /// # Errors
    /// EINTR for a signal; ENODEV where there is no such device.
    pub fn send(&self, frame: &[u8], device: u32, count: u32) -> io::Result<()> {
        self.program.run_live(frame, device, count)
    }

    /// The number that the program counts in.
    ///
    /// # Errors
    /// The operating system's.
    pub fn count(&self) -> io::Result<u64> {
        let mut count = 0;
        self.count.read(&0, &mut count)?;
        Ok(count)
    }
}

/// `XDP_TX`: out of the device that the frame is said to have come in at.
pub const SEND: i32 = 3;

/// `XDP_ABORTED`
pub const ABORT: i32 = 0;
