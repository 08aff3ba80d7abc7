//! Instructions to bytes: the canonical form.
//!
//! Its truth is `realmserver/changeset/encode.py`. What was read in canonical form and has not been changed is copied;
//! neighbours are copied together.

use crate::instructions::*;

/// The canonical bytes of a changeset; none if no live instruction is left.
pub fn encode(changeset: &Changeset) -> Vec<u8> {
    if changeset.live().next().is_none() {
        return Vec::new();
    }
    let mut writer = Writer {
        changeset,
        out: Vec::with_capacity(changeset.input.len() + changeset.added.len() + 16),
    };
    writer.strings();
    writer.instructions();
    writer.out
}

struct Writer<'a> {
    changeset: &'a Changeset,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn strings(&mut self) {
        for number in 0..self.changeset.strings.len() {
            let text = self.changeset.text(number as Name);
            self.out.push(INTERN_STRING);
            self.unsigned(number as u128);
            self.unsigned(text.len() as u128);
            self.out.extend_from_slice(text);
        }
    }

    fn instructions(&mut self) {
        let input = &self.changeset.input;
        let mut run = 0..0;
        for instruction in self.changeset.live() {
            if !instruction.as_read {
                self.out.extend_from_slice(&input[run]);
                run = 0..0;
                self.instruction(instruction);
                continue;
            }
            let start = instruction.start as usize;
            if start != run.end {
                self.out.extend_from_slice(&input[run]);
                run = start..start;
            }
            run.end = instruction.end as usize;
        }
        self.out.extend_from_slice(&input[run]);
    }

    fn instruction(&mut self, instruction: &Instruction) {
        self.out.push(instruction.op);
        self.reference(instruction.table);
        match instruction.op {
            ADD_TABLE => {
                self.out.push(instruction.kind);
                if instruction.kind != TABLE_EMBEDDED {
                    self.reference(instruction.field);
                    self.integer(instruction.column_type.into());
                    self.flag(instruction.flag);
                }
            }
            ERASE_TABLE => {}
            CREATE_OBJECT | ERASE_OBJECT => self.key(self.changeset.key(instruction)),
            ADD_COLUMN => self.add_column(instruction),
            ERASE_COLUMN => self.reference(instruction.field),
            _ => self.path_instruction(instruction),
        }
    }

    fn path_instruction(&mut self, instruction: &Instruction) {
        self.key(self.changeset.key(instruction));
        self.reference(instruction.field);
        let path = self.changeset.path(instruction);
        self.path(path);
        match instruction.op {
            UPDATE => {
                self.payload(instruction.payload);
                if matches!(path.last(), Some(Element::Index(_))) {
                    self.integer(instruction.prior_size);
                } else {
                    self.flag(instruction.flag);
                }
            }
            ARRAY_INSERT => {
                self.payload(instruction.payload);
                self.integer(instruction.prior_size);
            }
            ARRAY_MOVE => {
                self.integer(instruction.destination);
                self.integer(instruction.prior_size);
            }
            ARRAY_ERASE => self.integer(instruction.prior_size),
            CLEAR => self.out.push(instruction.kind),
            ADD_INTEGER => {
                if let Payload::Int(value) = instruction.payload {
                    self.integer(value);
                }
            }
            _ => self.payload(instruction.payload),
        }
    }

    fn add_column(&mut self, instruction: &Instruction) {
        self.reference(instruction.field);
        self.integer(instruction.column_type.into());
        self.flag(instruction.flag);
        self.out.push(instruction.kind);
        if instruction.column_type == TYPE_LINK {
            self.reference(instruction.target);
        }
        if instruction.kind == COLLECTION_DICTIONARY {
            self.integer(instruction.key_type.into());
        }
    }

    fn reference(&mut self, name: Name) {
        self.unsigned(name.into());
    }

    fn key(&mut self, key: Key) {
        self.integer(key.type_number().into());
        match key {
            Key::Null => {}
            Key::Int(value) => self.integer(value),
            Key::String(name) => self.reference(name),
            Key::Global(high, low) => {
                self.unsigned(high.into());
                self.unsigned(low.into());
            }
            Key::ObjectId(bytes) => self.out.extend_from_slice(&bytes),
            Key::Uuid(bytes) => self.out.extend_from_slice(&bytes),
        }
    }

    fn path(&mut self, path: &[Element]) {
        self.unsigned(path.len() as u128);
        for element in path {
            match *element {
                Element::Index(index) => self.integer(index),
                Element::Name(name) => {
                    self.out.push(0x40);
                    self.reference(name);
                }
            }
        }
    }

    fn payload(&mut self, payload: Payload) {
        self.integer(payload.type_number().into());
        match payload {
            Payload::Bare(_) => {}
            Payload::Int(value) => self.integer(value),
            Payload::Bool(value) => self.flag(value),
            Payload::String(span) | Payload::Binary(span) => {
                self.unsigned(span.size.into());
                let bytes = self.changeset.span(span);
                self.out.extend_from_slice(bytes);
            }
            Payload::Timestamp(seconds, nanoseconds) => {
                self.integer(seconds);
                self.integer(nanoseconds);
            }
            Payload::Float(bytes) => self.out.extend_from_slice(&bytes),
            Payload::Double(bytes) => self.out.extend_from_slice(&bytes),
            Payload::Decimal {
                coefficient,
                exponent,
                negative,
            } => {
                self.unsigned(u128::from_le_bytes(coefficient));
                self.integer(exponent.into());
                self.flag(negative);
            }
            Payload::Link { class, key } => {
                self.reference(class);
                self.key(key);
            }
            Payload::ObjectId(bytes) => self.out.extend_from_slice(&bytes),
            Payload::Uuid(bytes) => self.out.extend_from_slice(&bytes),
        }
    }

    fn flag(&mut self, value: bool) {
        self.out.push(value.into());
    }

    fn integer(&mut self, value: i64) {
        if value >= 0 {
            self.unsigned(value as u128);
        } else {
            self.shortest(!value as u128, 0x40);
        }
    }

    fn unsigned(&mut self, value: u128) {
        self.shortest(value, 0);
    }

    /// An integer in its shortest code; `sign` is what the last byte has besides.
    #[inline]
    fn shortest(&mut self, mut value: u128, sign: u8) {
        while value >= 64 {
            self.out.push(0x80 | (value & 0x7F) as u8);
            value >>= 7;
        }
        self.out.push(sign | value as u8);
    }
}
