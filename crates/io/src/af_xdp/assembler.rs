//! A small assembler for BPF: the few instructions that the steering program is made of, and jumps to
//! labels instead of counted distances.
//!
//! Instructions are those of RFC 9669; nothing here knows what they are for, or talks to the kernel.

use std::collections::BTreeMap;

use zerocopy::{Immutable, IntoBytes};

/// One instruction as the kernel takes it (`struct bpf_insn`; RFC 9669 §3), in native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one (on a little-endian machine).
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register. Calls destroy 1 to 5 and answer in 0; 10 is the end of the stack.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R6 = 6,
    Stack = 10,
}

/// How many bytes are loaded or stored.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Size {
    Two = 0x08,
    Four = 0x00,
}

/// When a conditional jump is taken.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum When {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Jumps, each with the name of its label.
    jumps: Vec<(usize, &'static str)>,
    labels: BTreeMap<&'static str, usize>,
}

impl Assembler {
    /// `to = value`.
    pub(super) fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(MOVE_IMMEDIATE, registers(to, Register::R0), 0, value)
    }

    /// `to = from`.
    pub(super) fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(MOVE_REGISTER, registers(to, from), 0, 0)
    }

    /// `to += value`.
    pub(super) fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(ADD_IMMEDIATE, registers(to, Register::R0), 0, value)
    }

    /// `to = *(from + offset)`, the rest of the register zero.
    pub(super) fn load(
        &mut self,
        size: Size,
        to: Register,
        from: Register,
        offset: i16,
    ) -> &mut Self {
        self.push(LOAD | size as u8, registers(to, from), offset, 0)
    }

    /// `*(stack + offset) = from`.
    pub(super) fn store(&mut self, size: Size, offset: i16, from: Register) -> &mut Self {
        self.push(STORE | size as u8, registers(Register::Stack, from), offset, 0)
    }

    /// `*(stack + offset) = value`.
    pub(super) fn store_value(&mut self, size: Size, offset: i16, value: i32) -> &mut Self {
        self.push(
            STORE_IMMEDIATE | size as u8,
            registers(Register::Stack, Register::R0),
            offset,
            value,
        )
    }

    /// `to =` the map of this file descriptor, which takes two instructions.
    pub(super) fn map(&mut self, to: Register, fd: i32) -> &mut Self {
        let map = registers(to, Register::R0) | FILE_DESCRIPTOR;
        self.push(LOAD_64, map, 0, fd).push(0, 0, 0, 0)
    }

    /// Goes to `label` when the low 32 bits of `register` compare so with `value`.
    pub(super) fn jump_if(
        &mut self,
        when: When,
        register: Register,
        value: u32,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        let pair = registers(register, Register::R0);
        self.push(JUMP_32 | when as u8, pair, 0, value.cast_signed())
    }

    /// Goes to `label` when `register` compares so with `other`.
    pub(super) fn jump_if_other(
        &mut self,
        when: When,
        register: Register,
        other: Register,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP_REGISTER | when as u8, registers(register, other), 0, 0)
    }

    /// Goes to `label` when all of `register` is not zero: what a look-up found.
    pub(super) fn jump_if_any(&mut self, register: Register, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP | When::NotEqual as u8, registers(register, Register::R0), 0, 0)
    }

    /// Goes to `label`.
    pub(super) fn jump(&mut self, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP, 0, 0, 0)
    }

    /// Calls a helper of the kernel by its number.
    pub(super) fn call(&mut self, helper: i32) -> &mut Self {
        self.push(CALL, 0, 0, helper)
    }

    /// Ends with the verdict in register 0.
    pub(super) fn exit(&mut self) -> &mut Self {
        self.push(EXIT, 0, 0, 0)
    }

    /// The next instruction is called `name`.
    pub(super) fn label(&mut self, name: &'static str) -> &mut Self {
        self.labels.insert(name, self.code.len());
        self
    }

    /// The program, its jumps counted out.
    ///
    /// # Panics
    /// When a label is nowhere: the program is written in this crate.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, name) in self.jumps {
            let target = self.labels[name];
            // RFC 9669 §4.3: "the jump offset is relative to the instruction following the jump".
            let distance = i16::try_from(target as isize - at as isize - 1);
            self.code[at].offset = distance.expect("programs are short");
        }
        self.code
    }

    fn push(&mut self, code: u8, registers: u8, offset: i16, immediate: i32) -> &mut Self {
        self.code.push(Instruction { code, registers, offset, immediate });
        self
    }
}

const fn registers(to: Register, from: Register) -> u8 {
    let (to, from) = (to as u8, from as u8);
    if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from }
}

/// RFC 9669 §4 and §5: class, source and operation of each.
const LOAD_64: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_IMMEDIATE: u8 = 0x62;
const STORE: u8 = 0x63;
const ADD_IMMEDIATE: u8 = 0x07;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP: u8 = 0x05;
const JUMP_REGISTER: u8 = 0x0d;
const JUMP_32: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `BPF_PSEUDO_MAP_FD`: the 64-bit immediate is a map's file descriptor (RFC 9669 §5.4.1).
const FILE_DESCRIPTOR: u8 = if cfg!(target_endian = "little") { 1 << 4 } else { 1 };

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::{Assembler, Register, Size, When};

    /// The bytes that the kernel's own disassembler (`bpftool prog dump xlated opcodes`) shows for such
    /// instructions on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_the_kernels() {
        let mut program = Assembler::default();
        program
            .copy(Register::R6, Register::R1)
            .load(Size::Four, Register::R2, Register::R1, 4)
            .load(Size::Two, Register::R4, Register::R2, 12)
            .store(Size::Four, -4, Register::R4)
            .store_value(Size::Four, -8, -1)
            .add(Register::R2, 34)
            .map(Register::R1, 7)
            .set(Register::R3, 2)
            .call(51)
            .exit();
        let expected = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x12, 4, 0, 0, 0, 0, 0],
            [0x69, 0x24, 12, 0, 0, 0, 0, 0],
            [0x63, 0x4a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x62, 0x0a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0x07, 0x02, 0, 0, 34, 0, 0, 0],
            [0x18, 0x11, 0, 0, 7, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x03, 0, 0, 2, 0, 0, 0],
            [0x85, 0, 0, 0, 51, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish().as_bytes(), expected.as_flattened());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_count_from_the_instruction_after_them() {
        let mut program = Assembler::default();
        program
            .label("again")
            .jump_if(When::NotEqual, Register::R4, 0xffff_0008, "end")
            .jump_if(When::Equal, Register::R4, 8, "end")
            .jump_if_other(When::Greater, Register::R4, Register::R3, "end")
            .jump_if_any(Register::R0, "again")
            .jump("end")
            .label("end")
            .exit();
        let expected = [
            [0x56, 0x04, 4, 0, 8, 0, 0xff, 0xff],
            [0x16, 0x04, 3, 0, 8, 0, 0, 0],
            [0x2d, 0x34, 2, 0, 0, 0, 0, 0],
            [0x55, 0x00, 0xfc, 0xff, 0, 0, 0, 0],
            [0x05, 0, 0, 0, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish().as_bytes(), expected.as_flattened());
    }
}
