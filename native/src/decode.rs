//! Bytes to instructions.
//!
//! Its truth is `realmserver/changeset/decode.py`, all limits included. Work and memory are linear in the input, and
//! nothing is allocated on the word of a declared size.

use pyo3::pybacked::PyBackedBytes;

use crate::instructions::*;
use crate::reader::{Bad, Read, Reader};

const MAX_INSTRUCTIONS: usize = 4_000_000;
const MAX_INTERNED_STRINGS: u64 = 2_000_000;
const MAX_CLASS_NAME: usize = 57;
const MAX_COLUMN_NAME: usize = 63;

/// Room is made at first for so many instructions at most, of which real ones take this many bytes.
const FIRST_ROOM: usize = 64;
const USUAL_BYTES: usize = 12;

/// The changeset that `input` holds; None if it is refused. The input must be shorter than 4 GiB.
///
/// `own`: the bytes come from [`crate::encode::encode`], not from a client, and may exceed what a client may say.
pub fn decode(
    input: PyBackedBytes,
    timestamp: u64,
    origin: u64,
    clear_types: bool,
    own: bool,
) -> Option<Changeset> {
    let mut decoder = Decoder {
        reader: Reader::new(&input, own),
        instructions: Vec::with_capacity((input.len() / USUAL_BYTES + 1).min(FIRST_ROOM)),
        objects: Vec::new(),
        paths: Vec::new(),
        clear_types,
        own,
    };
    let canonical = decoder.read_records().ok()?;
    let Decoder {
        reader,
        mut instructions,
        mut objects,
        mut paths,
        ..
    } = decoder;
    let mut strings = reader.strings;
    if instructions.len() > FIRST_ROOM {
        instructions.shrink_to_fit();
        objects.shrink_to_fit();
        paths.shrink_to_fit();
        strings.shrink_to_fit();
    }
    Some(Changeset {
        added: Vec::new(),
        strings,
        instructions,
        objects,
        paths,
        timestamp,
        origin,
        dirty: false,
        canonical,
        input,
    })
}

struct Decoder<'a> {
    reader: Reader<'a>,
    instructions: Vec<Instruction>,
    objects: Vec<Object>,
    paths: Vec<Element>,
    clear_types: bool,
    own: bool,
}

impl Decoder<'_> {
    /// Read to the end; whether the bytes are the canonical encoding.
    fn read_records(&mut self) -> Read<bool> {
        let mut all_canonical = true;
        while self.reader.pos < self.reader.data.len() {
            let start = self.reader.pos;
            self.reader.canonical = true;
            let op = self.reader.op()?;
            if op == INTERN_STRING {
                self.intern_string()?;
                // All of them stand first in the canonical encoding.
                all_canonical &= self.reader.canonical && self.instructions.is_empty();
                continue;
            }
            let mut instruction = if self.is_on_path(op) {
                self.path_instruction(op)?
            } else {
                self.other_instruction(op)?
            };
            instruction.start = start as u32;
            instruction.end = self.reader.pos as u32;
            instruction.as_read = self.reader.canonical;
            all_canonical &= self.reader.canonical;
            self.instructions.push(instruction);
            if self.instructions.len() > MAX_INSTRUCTIONS && !self.own {
                return Err(Bad);
            }
        }
        Ok(all_canonical)
    }

    fn is_on_path(&self, op: u8) -> bool {
        matches!(op, UPDATE | ADD_INTEGER | ARRAY_INSERT..=SET_ERASE)
    }

    fn intern_string(&mut self) -> Read<()> {
        let index = self.reader.u32()?;
        if index != self.reader.strings.len() as u64 {
            return Err(Bad);
        }
        if index >= MAX_INTERNED_STRINGS && !self.own {
            return Err(Bad);
        }
        let span = self.reader.string()?;
        self.reader.intern(Text {
            start: span.start as usize,
            size: span.size as usize,
        })
    }

    /// The place of an object among the objects; instructions on one mostly follow each other.
    fn object(&mut self, table: Name) -> Read<u32> {
        let key = self.reader.key()?;
        let object = Object { table, key };
        if self.objects.last() != Some(&object) {
            self.objects.push(object);
        }
        Ok(self.objects.len() as u32 - 1)
    }

    /// An instruction on a place inside an object, after its opcode.
    fn path_instruction(&mut self, op: u8) -> Read<Instruction> {
        let mut made = Instruction::new(op, self.reader.reference()?);
        made.object = self.object(made.table)?;
        made.field = self.reader.reference()?;
        made.path_start = self.paths.len() as u32;
        made.path_length = self.reader.path(&mut self.paths)?;
        let has_index =
            made.path_length > 0 && matches!(self.paths.last(), Some(Element::Index(_)));
        let reader = &mut self.reader;
        match op {
            UPDATE => {
                made.payload = reader.payload()?;
                if has_index {
                    made.prior_size = reader.size()?;
                } else {
                    made.flag = reader.flag()?;
                }
            }
            SET_INSERT | SET_ERASE => made.payload = reader.payload()?,
            ADD_INTEGER => made.payload = Payload::Int(reader.i64()?),
            CLEAR => made.kind = self.cleared_collection()?,
            _ if !has_index => return Err(Bad),
            ARRAY_INSERT => {
                made.payload = reader.payload()?;
                made.prior_size = reader.size()?;
            }
            ARRAY_MOVE => {
                made.destination = reader.size()?;
                made.prior_size = reader.size()?;
            }
            _ => made.prior_size = reader.size()?,
        }
        Ok(made)
    }

    /// An instruction on a table, a column or a whole object, after its opcode.
    fn other_instruction(&mut self, op: u8) -> Read<Instruction> {
        if op > ERASE_COLUMN {
            return Err(Bad);
        }
        let mut made = Instruction::new(op, self.reader.reference()?);
        match op {
            CREATE_OBJECT | ERASE_OBJECT => made.object = self.object(made.table)?,
            ADD_COLUMN => self.add_column(&mut made)?,
            ADD_TABLE => self.add_table(&mut made)?,
            ERASE_COLUMN => made.field = self.reader.reference()?,
            _ => {}
        }
        Ok(made)
    }

    fn add_table(&mut self, made: &mut Instruction) -> Read<()> {
        self.check_name(made.table, MAX_CLASS_NAME)?;
        made.kind = self.reader.u8()?;
        if made.kind > TABLE_ASYMMETRIC {
            return Err(Bad);
        }
        if made.kind == TABLE_EMBEDDED {
            return Ok(());
        }
        made.field = self.reader.reference()?;
        self.check_name(made.field, MAX_COLUMN_NAME)?;
        made.column_type = self.reader.type_number()?;
        if !matches!(
            made.column_type,
            TYPE_GLOBAL_KEY | TYPE_INT | TYPE_STRING | TYPE_OBJECT_ID | TYPE_UUID
        ) {
            return Err(Bad);
        }
        made.flag = self.reader.flag()?;
        Ok(())
    }

    fn add_column(&mut self, made: &mut Instruction) -> Read<()> {
        made.field = self.reader.reference()?;
        self.check_name(made.field, MAX_COLUMN_NAME)?;
        made.column_type = self.reader.type_number()?;
        if made.column_type < TYPE_NULL {
            return Err(Bad);
        }
        made.flag = self.reader.flag()?;
        made.kind = self.collection()?;
        if made.column_type == TYPE_LINK {
            made.target = self.reader.reference()?;
            let is_typed = self.reader.strings[made.target as usize].size == 0;
            if is_typed && matches!(made.kind, COLLECTION_SET | COLLECTION_DICTIONARY) {
                return Err(Bad);
            }
        } else if made.column_type == TYPE_NULL && !made.flag && made.kind != COLLECTION_DICTIONARY
        {
            return Err(Bad);
        }
        if made.kind == COLLECTION_DICTIONARY {
            made.key_type = self.reader.type_number()?;
            if made.key_type < TYPE_NULL {
                return Err(Bad);
            }
        }
        Ok(())
    }

    fn check_name(&self, name: Name, most: usize) -> Read<()> {
        (self.reader.strings[name as usize].size <= most)
            .then_some(())
            .ok_or(Bad)
    }

    fn cleared_collection(&mut self) -> Read<u8> {
        if self.clear_types {
            return self.collection();
        }
        if self.reader.u32()? != 0 {
            self.reader.canonical = false;
        }
        Ok(COLLECTION_SINGLE)
    }

    fn collection(&mut self) -> Read<u8> {
        let collection = self.reader.u8()?;
        if collection > COLLECTION_SET {
            return Err(Bad);
        }
        Ok(collection)
    }
}
