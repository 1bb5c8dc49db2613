//! A small assembler for BPF: the few instructions that our programs are made of, and jumps to
//! labels instead of counted distances.
//!
//! Instructions are those of RFC 9669; nothing here knows what they are for, or talks to the kernel.

use std::collections::BTreeMap;

use zerocopy::{Immutable, IntoBytes};

/// One instruction as the kernel takes it (`struct bpf_insn`; RFC 9669 §3), in native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one (on a little-endian machine).
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register. Calls destroy 1 to 5 and answer in 0; 10 is the end of the stack.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "their names say all there is")]
pub enum Register {
    /// What a call answers, and the verdict.
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    R6 = 6,
    R7 = 7,
    R8 = 8,
    R9 = 9,
    Stack = 10,
}

/// How many bytes are loaded or stored.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "their names say all there is")]
pub enum Size {
    Two = 0x08,
    Four = 0x00,
    Eight = 0x18,
}

/// When a conditional jump is taken.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "their names say all there is")]
pub enum When {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "their names say all there is")]
pub enum Operation {
    Add = 0x00,
    /// Without a sign.
    Divide = 0x30,
    And = 0x50,
    ShiftRight = 0x70,
    /// Without a sign.
    Modulo = 0x90,
    Xor = 0xa0,
}

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Jumps, each with the name of its label.
    jumps: Vec<(usize, &'static str)>,
    labels: BTreeMap<&'static str, usize>,
}

impl Assembler {
    /// `to = value`, with its sign.
    pub fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(MOVE_IMMEDIATE, registers(to, Register::R0), 0, value)
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(MOVE_REGISTER, registers(to, from), 0, 0)
    }

    /// `to += value`.
    pub fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(ADD_IMMEDIATE, registers(to, Register::R0), 0, value)
    }

    /// `to = value`, without a sign.
    pub fn set_unsigned(&mut self, to: Register, value: u32) -> &mut Self {
        self.push(MOVE_IMMEDIATE_32, registers(to, Register::R0), 0, value.cast_signed())
    }

    /// `to =` the low 32 bits of `from`.
    pub fn copy_low(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(MOVE_REGISTER_32, registers(to, from), 0, 0)
    }

    /// `to = to (operation) value`, all 64 bits; of the value the sign is kept.
    pub fn compute(&mut self, operation: Operation, to: Register, value: i32) -> &mut Self {
        self.push(COMPUTE_IMMEDIATE | operation as u8, registers(to, Register::R0), 0, value)
    }

    /// `to = to + from`.
    pub fn add_other(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(ADD_REGISTER, registers(to, from), 0, 0)
    }

    /// The low bytes of `register` in network byte order, the rest of it zero.
    pub fn network_order(&mut self, size: Size, register: Register) -> &mut Self {
        let bits = match size {
            Size::Two => 16,
            Size::Four => 32,
            Size::Eight => 64,
        };
        self.push(TO_BIG_ENDIAN, registers(register, Register::R0), 0, bits)
    }

    /// `*(to + offset) = from`.
    pub fn write(&mut self, size: Size, to: Register, offset: i16, from: Register) -> &mut Self {
        self.push(STORE | size as u8, registers(to, from), offset, 0)
    }

    /// `*(to + offset) = value`.
    pub fn write_value(&mut self, size: Size, to: Register, offset: i16, value: i32) -> &mut Self {
        self.push(STORE_IMMEDIATE | size as u8, registers(to, Register::R0), offset, value)
    }

    /// `to =` where the one value of the array map of this file descriptor lies; two instructions.
    pub fn map_value(&mut self, to: Register, fd: i32) -> &mut Self {
        let map = registers(to, Register::R0) | FIRST_VALUE;
        self.push(LOAD_64, map, 0, fd).push(0, 0, 0, 0)
    }

    /// `to = *(from + offset)`, the rest of the register zero.
    pub fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) -> &mut Self {
        self.push(LOAD | size as u8, registers(to, from), offset, 0)
    }

    /// `*(stack + offset) = from`.
    pub fn store(&mut self, size: Size, offset: i16, from: Register) -> &mut Self {
        self.push(STORE | size as u8, registers(Register::Stack, from), offset, 0)
    }

    /// `*(stack + offset) = value`.
    pub fn store_value(&mut self, size: Size, offset: i16, value: i32) -> &mut Self {
        self.push(
            STORE_IMMEDIATE | size as u8,
            registers(Register::Stack, Register::R0),
            offset,
            value,
        )
    }

    /// `to =` the map of this file descriptor, which takes two instructions.
    pub fn map(&mut self, to: Register, fd: i32) -> &mut Self {
        let map = registers(to, Register::R0) | FILE_DESCRIPTOR;
        self.push(LOAD_64, map, 0, fd).push(0, 0, 0, 0)
    }

    /// Goes to `label` when the low 32 bits of `register` compare so with `value`.
    pub fn jump_if(
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
    pub fn jump_if_other(
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
    pub fn jump_if_any(&mut self, register: Register, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP | When::NotEqual as u8, registers(register, Register::R0), 0, 0)
    }

    /// Goes to `label`.
    pub fn jump(&mut self, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP, 0, 0, 0)
    }

    /// Calls a helper of the kernel by its number.
    pub fn call(&mut self, helper: i32) -> &mut Self {
        self.push(CALL, 0, 0, helper)
    }

    /// Ends with the verdict in register 0.
    pub fn exit(&mut self) -> &mut Self {
        self.push(EXIT, 0, 0, 0)
    }

    /// The next instruction is called `name`.
    pub fn label(&mut self, name: &'static str) -> &mut Self {
        self.labels.insert(name, self.code.len());
        self
    }

    /// The program, its jumps counted out.
    ///
    /// # Panics
    /// When a label is nowhere: whoever writes a program knows its labels.
    pub fn finish(mut self) -> Vec<Instruction> {
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
const MOVE_IMMEDIATE_32: u8 = 0xb4;
const MOVE_REGISTER_32: u8 = 0xbc;
const COMPUTE_IMMEDIATE: u8 = 0x07;
const ADD_REGISTER: u8 = 0x0f;
const TO_BIG_ENDIAN: u8 = 0xdc;
const JUMP: u8 = 0x05;
const JUMP_REGISTER: u8 = 0x0d;
const JUMP_32: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `BPF_PSEUDO_MAP_FD`: the 64-bit immediate is a map's file descriptor (RFC 9669 §5.4.1).
const FILE_DESCRIPTOR: u8 = if cfg!(target_endian = "little") { 1 << 4 } else { 1 };

/// `BPF_PSEUDO_MAP_VALUE`: the same, and what follows is an offset in its first value.
const FIRST_VALUE: u8 = if cfg!(target_endian = "little") { 2 << 4 } else { 2 };

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::{Assembler, Operation, Register, Size, When};

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
    fn numbers_are_computed_by_these() {
        let mut program = Assembler::default();
        program
            .set_unsigned(Register::R1, 0xc633_6401)
            .copy_low(Register::R5, Register::R9)
            .compute(Operation::Modulo, Register::R7, 1_000)
            .compute(Operation::ShiftRight, Register::R8, 16)
            .add_other(Register::R8, Register::R4)
            .network_order(Size::Four, Register::R4)
            .write(Size::Eight, Register::R6, 52, Register::R9)
            .write_value(Size::Two, Register::R6, 12, 8)
            .map_value(Register::R1, 7);
        let expected = [
            [0xb4, 0x01, 0, 0, 0x01, 0x64, 0x33, 0xc6],
            [0xbc, 0x95, 0, 0, 0, 0, 0, 0],
            [0x97, 0x07, 0, 0, 0xe8, 3, 0, 0],
            [0x77, 0x08, 0, 0, 16, 0, 0, 0],
            [0x0f, 0x48, 0, 0, 0, 0, 0, 0],
            [0xdc, 0x04, 0, 0, 32, 0, 0, 0],
            [0x7b, 0x96, 52, 0, 0, 0, 0, 0],
            [0x6a, 0x06, 12, 0, 8, 0, 0, 0],
            [0x18, 0x21, 0, 0, 7, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
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
