//! The instructions of a changeset, held small: names are numbers into its table of interned strings, keys and paths
//! stand in tables of their own, strings and blobs are places in the input.
//!
//! Their truth is `realmserver/changeset/instructions.py`. A number is never changed: the merge only appends to the
//! table of strings, so what was read in canonical form can be written by copying it.

use pyo3::pybacked::PyBackedBytes;

// Opcodes.
pub const ADD_TABLE: u8 = 0;
pub const ERASE_TABLE: u8 = 1;
pub const CREATE_OBJECT: u8 = 2;
pub const ERASE_OBJECT: u8 = 3;
pub const UPDATE: u8 = 4;
pub const ADD_INTEGER: u8 = 5;
pub const ADD_COLUMN: u8 = 6;
pub const ERASE_COLUMN: u8 = 7;
pub const ARRAY_INSERT: u8 = 8;
pub const ARRAY_MOVE: u8 = 9;
pub const ARRAY_ERASE: u8 = 10;
pub const CLEAR: u8 = 11;
pub const SET_INSERT: u8 = 12;
pub const SET_ERASE: u8 = 13;
pub const INTERN_STRING: u8 = 0x3F;

// Payload, key and column types.
pub const TYPE_SET: i8 = -6;
pub const TYPE_LIST: i8 = -5;
pub const TYPE_DICTIONARY: i8 = -3;
pub const TYPE_OBJECT_VALUE: i8 = -2;
pub const TYPE_GLOBAL_KEY: i8 = -1;
pub const TYPE_NULL: i8 = 0;
pub const TYPE_INT: i8 = 1;
pub const TYPE_BOOL: i8 = 2;
pub const TYPE_STRING: i8 = 3;
pub const TYPE_BINARY: i8 = 4;
pub const TYPE_TIMESTAMP: i8 = 5;
pub const TYPE_FLOAT: i8 = 6;
pub const TYPE_DOUBLE: i8 = 7;
pub const TYPE_DECIMAL: i8 = 8;
pub const TYPE_LINK: i8 = 9;
pub const TYPE_OBJECT_ID: i8 = 10;
pub const TYPE_UUID: i8 = 11;

// Kinds of classes and of collections.
pub const TABLE_EMBEDDED: u8 = 1;
pub const TABLE_ASYMMETRIC: u8 = 2;
pub const COLLECTION_SINGLE: u8 = 0;
pub const COLLECTION_LIST: u8 = 1;
pub const COLLECTION_DICTIONARY: u8 = 2;
pub const COLLECTION_SET: u8 = 3;

/// The number of an interned string.
pub type Name = u32;

/// A primary key. The string of one is a number, so keys of two changesets are compared only after [`Key::map`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    Null,
    Int(i64),
    String(Name),
    Global(u64, u64),
    ObjectId([u8; 12]),
    Uuid([u8; 16]),
}

impl Key {
    pub fn type_number(self) -> i8 {
        match self {
            Key::Null => TYPE_NULL,
            Key::Int(_) => TYPE_INT,
            Key::String(_) => TYPE_STRING,
            Key::Global(..) => TYPE_GLOBAL_KEY,
            Key::ObjectId(_) => TYPE_OBJECT_ID,
            Key::Uuid(_) => TYPE_UUID,
        }
    }

    /// The key with the numbers of another table of strings.
    pub fn map(self, numbers: &[Name]) -> Key {
        match self {
            Key::String(name) => Key::String(numbers[name as usize]),
            other => other,
        }
    }
}

/// Where a string or blob stands: in the input, and in the changeset's string buffer (`spec/changeset.md` 3).
#[derive(Clone, Copy)]
pub struct Span {
    pub start: u32,
    pub size: u32,
    pub offset: u32,
}

/// A value in an instruction.
#[derive(Clone, Copy)]
pub enum Payload {
    /// Null, ObjectValue, Dictionary, Erased, List or Set: the type is all.
    Bare(i8),
    Int(i64),
    Bool(bool),
    String(Span),
    Binary(Span),
    Timestamp(i64, i64),
    Float([u8; 4]),
    Double([u8; 8]),
    Decimal {
        coefficient: [u8; 16],
        exponent: i32,
        negative: bool,
    },
    Link {
        class: Name,
        key: Key,
    },
    ObjectId([u8; 12]),
    Uuid([u8; 16]),
}

impl Payload {
    pub fn type_number(self) -> i8 {
        match self {
            Payload::Bare(number) => number,
            Payload::Int(_) => TYPE_INT,
            Payload::Bool(_) => TYPE_BOOL,
            Payload::String(_) => TYPE_STRING,
            Payload::Binary(_) => TYPE_BINARY,
            Payload::Timestamp(..) => TYPE_TIMESTAMP,
            Payload::Float(_) => TYPE_FLOAT,
            Payload::Double(_) => TYPE_DOUBLE,
            Payload::Decimal { .. } => TYPE_DECIMAL,
            Payload::Link { .. } => TYPE_LINK,
            Payload::ObjectId(_) => TYPE_OBJECT_ID,
            Payload::Uuid(_) => TYPE_UUID,
        }
    }
}

/// A step of a path: an index, or the name of a property or a dictionary's key.
#[derive(Clone, Copy)]
pub enum Element {
    Index(i64),
    Name(Name),
}

/// An instruction of any kind; what a kind does not have is zero.
#[derive(Clone, Copy)]
pub struct Instruction {
    pub op: u8,
    pub discarded: bool,
    /// The bytes from `start` to `end` of the input are its canonical form.
    pub as_read: bool,
    /// Update: is_default. AddColumn: nullable. AddTable: pk_nullable.
    pub flag: bool,
    /// AddTable: the kind of class. AddColumn, Clear: the kind of collection.
    pub kind: u8,
    /// AddColumn: the column's type. AddTable: pk_type.
    pub column_type: i8,
    /// AddColumn: key_type.
    pub key_type: i8,
    pub path_length: u16,
    pub table: Name,
    /// AddTable: pk_field.
    pub field: Name,
    /// AddColumn: the linked class, if it is of type Link.
    pub target: Name,
    /// Where its key stands in [`Changeset::objects`].
    pub object: u32,
    pub path_start: u32,
    pub start: u32,
    pub end: u32,
    /// AddInteger: the value.
    pub payload: Payload,
    pub prior_size: i64,
    /// ArrayMove: the index of the element afterwards.
    pub destination: i64,
}

impl Instruction {
    pub fn new(op: u8, table: Name) -> Instruction {
        Instruction {
            op,
            discarded: false,
            as_read: false,
            flag: false,
            kind: 0,
            column_type: 0,
            key_type: 0,
            path_length: 0,
            table,
            field: 0,
            target: 0,
            object: 0,
            path_start: 0,
            start: 0,
            end: 0,
            payload: Payload::Bare(TYPE_NULL),
            prior_size: 0,
            destination: 0,
        }
    }

    /// Whether it is about an object or a place in one.
    pub fn is_on_object(&self) -> bool {
        matches!(self.op, CREATE_OBJECT | ERASE_OBJECT) || self.is_on_path()
    }

    /// Whether it is about a place inside an object.
    pub fn is_on_path(&self) -> bool {
        matches!(self.op, UPDATE | ADD_INTEGER | ARRAY_INSERT..=SET_ERASE)
    }

    /// Its path's place in [`Changeset::paths`].
    pub fn path(&self) -> std::ops::Range<usize> {
        let start = self.path_start as usize;
        start..start + usize::from(self.path_length)
    }
}

/// An object that instructions which follow each other are about.
#[derive(Clone, Copy, PartialEq)]
pub struct Object {
    pub table: Name,
    pub key: Key,
}

/// Where an interned string stands: in the input, or behind it in what the merge has added.
#[derive(Clone, Copy)]
pub struct Text {
    pub start: usize,
    pub size: usize,
}

/// A changeset in memory.
pub struct Changeset {
    pub input: PyBackedBytes,
    /// The bytes of the strings that the merge has interned.
    pub added: Vec<u8>,
    pub strings: Vec<Text>,
    pub instructions: Vec<Instruction>,
    pub objects: Vec<Object>,
    pub paths: Vec<Element>,
    pub timestamp: u64,
    pub origin: u64,
    pub dirty: bool,
    /// The input is the canonical encoding of what was read from it.
    pub canonical: bool,
}

impl Changeset {
    pub fn text(&self, name: Name) -> &[u8] {
        let Text { start, size } = self.strings[name as usize];
        match start.checked_sub(self.input.len()) {
            Some(start) => &self.added[start..start + size],
            None => &self.input[start..start + size],
        }
    }

    /// Append a string to the table.
    pub fn add_text(&mut self, text: &[u8]) -> Name {
        let number = self.strings.len() as Name;
        self.strings.push(Text {
            start: self.input.len() + self.added.len(),
            size: text.len(),
        });
        self.added.extend_from_slice(text);
        number
    }

    pub fn span(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        &self.input[start..start + span.size as usize]
    }

    pub fn key(&self, instruction: &Instruction) -> Key {
        self.objects[instruction.object as usize].key
    }

    pub fn path(&self, instruction: &Instruction) -> &[Element] {
        &self.paths[instruction.path()]
    }

    pub fn live(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions.iter().filter(|each| !each.discarded)
    }
}
