//! What records are made of: integers, strings, keys, paths and values.
//!
//! Its truth is `realmserver/changeset/reader.py`: refused is exactly what is refused there. Why is not said here; who
//! wants to know asks the Python reader.

use std::collections::HashSet;

use crate::instructions::*;

const MAX_PATH: u64 = 256;
const MAX_STRING: u64 = 16_777_199;

// The most bytes an integer of each target type may take, the last one included.
const U8_BYTES: u32 = 2;
const U32_BYTES: u32 = 5;
const LONG_BYTES: u32 = 10;
const COEFFICIENT_BYTES: u32 = 17;

const NANOSECONDS: i64 = 1_000_000_000;

const COEFFICIENT_LIMIT: u128 = 10u128.pow(34);
const EXPONENT_MIN: i32 = -6176;
pub const EXPONENT_MAX: i32 = 6111;
const DECIMAL_INFINITY: i32 = 9184;
const DECIMAL_NAN: i32 = 9696;
const NAN_PAYLOAD_LIMIT: u128 = 1 << 113;
const NULL_DECIMAL: u128 = 0xAA;

const NAME_MARKER: u8 = 0x40;

/// So many strings are compared one by one; from then on a set knows them.
const FEW_STRINGS: usize = 16;

/// The input is refused.
#[derive(Debug)]
pub struct Bad;

pub type Read<T> = Result<T, Bad>;

/// A place in the bytes of a changeset, and what has been read so far.
pub struct Reader<'a> {
    pub data: &'a [u8],
    pub pos: usize,
    /// False from the first number on that is not written as the canonical encoding has it.
    pub canonical: bool,
    /// Bytes in the changeset's string buffer.
    buffered: u32,
    pub strings: Vec<Text>,
    known: HashSet<&'a [u8]>,
    /// What indices and sizes may be: more in bytes that the merge has made than in a client's.
    most: u64,
    most_bytes: u32,
}

impl<'a> Reader<'a> {
    /// `own`: the bytes were written here, after a merge, whose indices may have outgrown 32 bits.
    pub fn new(data: &'a [u8], own: bool) -> Reader<'a> {
        Reader {
            data,
            pos: 0,
            canonical: true,
            buffered: 0,
            strings: Vec::new(),
            known: HashSet::new(),
            most: if own {
                i64::MAX as u64
            } else {
                u32::MAX.into()
            },
            most_bytes: if own { LONG_BYTES } else { U32_BYTES },
        }
    }

    fn byte(&self) -> Read<u8> {
        self.data.get(self.pos).copied().ok_or(Bad)
    }

    /// A byte that is the integer itself, if it is one.
    #[inline(always)]
    fn small(&mut self) -> Read<Option<u8>> {
        let byte = self.byte()?;
        if byte < 64 {
            self.pos += 1;
            return Ok(Some(byte));
        }
        Ok(None)
    }

    /// Note an interned string; there must not be one like it.
    pub fn intern(&mut self, text: Text) -> Read<()> {
        let data = self.data;
        let bytes = |text: &Text| &data[text.start..text.start + text.size];
        let new = if self.strings.len() < FEW_STRINGS {
            !self
                .strings
                .iter()
                .any(|each| each.size == text.size && bytes(each) == bytes(&text))
        } else {
            if self.known.is_empty() {
                self.known.extend(self.strings.iter().map(bytes));
            }
            self.known.insert(bytes(&text))
        };
        self.strings.push(text);
        new.then_some(()).ok_or(Bad)
    }

    pub fn reference(&mut self) -> Read<Name> {
        let number = match self.small()? {
            Some(byte) => Name::from(byte),
            None => self.unsigned(U32_BYTES, u32::MAX.into())? as Name,
        };
        if (number as usize) < self.strings.len() {
            Ok(number)
        } else {
            Err(Bad)
        }
    }

    pub fn key(&mut self) -> Read<Key> {
        match self.type_number()? {
            TYPE_INT => Ok(Key::Int(self.i64()?)),
            TYPE_STRING => Ok(Key::String(self.reference()?)),
            TYPE_OBJECT_ID => Ok(Key::ObjectId(self.array()?)),
            TYPE_UUID => Ok(Key::Uuid(self.array()?)),
            TYPE_NULL => Ok(Key::Null),
            TYPE_GLOBAL_KEY => {
                let high = self.unsigned(LONG_BYTES, u64::MAX)?;
                Ok(Key::Global(high, self.unsigned(LONG_BYTES, u64::MAX)?))
            }
            _ => Err(Bad),
        }
    }

    /// A path, appended to `paths`; returns its length.
    pub fn path(&mut self, paths: &mut Vec<Element>) -> Read<u16> {
        let length = self.u32()?;
        if length > MAX_PATH {
            return Err(Bad);
        }
        for _ in 0..length {
            let byte = self.byte()?;
            let index = if byte < 64 {
                self.pos += 1;
                i64::from(byte)
            } else if byte == NAME_MARKER {
                self.pos += 1;
                -1
            } else {
                self.i64()?
            };
            paths.push(if index == -1 {
                Element::Name(self.reference()?)
            } else if index < 0 || index as u64 > self.most {
                return Err(Bad);
            } else {
                Element::Index(index)
            });
        }
        Ok(length as u16)
    }

    pub fn payload(&mut self) -> Read<Payload> {
        let number = self.type_number()?;
        Ok(match number {
            TYPE_STRING => Payload::String(self.string()?),
            TYPE_INT => Payload::Int(self.i64()?),
            TYPE_BOOL => Payload::Bool(self.flag()?),
            TYPE_DOUBLE => Payload::Double(self.array()?),
            TYPE_LINK => {
                let class = self.reference()?;
                let key = self.key()?;
                Payload::Link { class, key }
            }
            TYPE_TIMESTAMP => self.timestamp()?,
            TYPE_OBJECT_ID => Payload::ObjectId(self.array()?),
            TYPE_UUID => Payload::Uuid(self.array()?),
            TYPE_BINARY => {
                let size = self.unsigned(LONG_BYTES, u64::MAX)?;
                Payload::Binary(self.buffer(size)?)
            }
            TYPE_FLOAT => Payload::Float(self.array()?),
            TYPE_DECIMAL => self.decimal()?,
            TYPE_GLOBAL_KEY => return Err(Bad),
            _ => Payload::Bare(number),
        })
    }

    fn timestamp(&mut self) -> Read<Payload> {
        let seconds = self.i64()?;
        let nanoseconds = self.i64()?;
        if !(-NANOSECONDS < nanoseconds && nanoseconds < NANOSECONDS) {
            return Err(Bad);
        }
        if (seconds > 0 && nanoseconds < 0) || (seconds < 0 && nanoseconds > 0) {
            return Err(Bad);
        }
        Ok(Payload::Timestamp(seconds, nanoseconds))
    }

    fn decimal(&mut self) -> Read<Payload> {
        let coefficient = self.coefficient()?;
        let exponent = self.i32()?;
        let sign = self.i32()?;
        if sign != 0 && sign != 1 {
            self.canonical = false;
        }
        let negative = sign != 0;
        let valid = match exponent {
            EXPONENT_MIN..=EXPONENT_MAX => coefficient < COEFFICIENT_LIMIT,
            DECIMAL_INFINITY => coefficient == 0,
            // One NaN means null to clients; they write the type Null instead.
            DECIMAL_NAN => {
                coefficient < NAN_PAYLOAD_LIMIT && (negative || coefficient != NULL_DECIMAL)
            }
            _ => false,
        };
        if !valid {
            return Err(Bad);
        }
        Ok(Payload::Decimal {
            coefficient: coefficient.to_le_bytes(),
            exponent,
            negative,
        })
    }

    /// The last byte of a coefficient has seven value bits, though writers use only six.
    fn coefficient(&mut self) -> Read<u128> {
        let mut value: u128 = 0;
        let mut shift = 0;
        let mut previous = 0x40;
        let mut byte = self.byte()?;
        while byte >= 0x80 {
            value |= u128::from(byte & 0x7F) << shift;
            shift += 7;
            if shift >= 7 * COEFFICIENT_BYTES {
                return Err(Bad);
            }
            previous = byte;
            self.pos += 1;
            byte = self.byte()?;
        }
        if byte >= 64 || (byte == 0 && previous & 0x40 == 0) {
            self.canonical = false;
        }
        self.pos += 1;
        Ok(value | u128::from(byte) << shift)
    }

    /// A type number.
    pub fn type_number(&mut self) -> Read<i8> {
        let number = self.i64()?;
        if number < TYPE_SET.into() || number > TYPE_UUID.into() {
            return Err(Bad);
        }
        Ok(number as i8)
    }

    /// A plain string, which is also added to the string buffer.
    pub fn string(&mut self) -> Read<Span> {
        let size = match self.small()? {
            Some(byte) => u64::from(byte),
            None => self.unsigned(LONG_BYTES, u64::MAX)?,
        };
        if size > MAX_STRING {
            return Err(Bad);
        }
        self.buffer(size)
    }

    fn buffer(&mut self, size: u64) -> Read<Span> {
        if size > (self.data.len() - self.pos) as u64 {
            return Err(Bad);
        }
        // No input has 4 GiB, and what is buffered is a part of it.
        let span = Span {
            start: self.pos as u32,
            size: size as u32,
            offset: self.buffered,
        };
        self.pos += size as usize;
        self.buffered += span.size;
        Ok(span)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes = self.data.get(self.pos..self.pos + N).ok_or(Bad)?;
        self.pos += N;
        bytes.try_into().map_err(|_| Bad)
    }

    // Integers.

    /// An opcode; none is above 63.
    pub fn op(&mut self) -> Read<u8> {
        match self.small()? {
            Some(byte) => Ok(byte),
            None => u8::try_from(self.long_integer(LONG_BYTES)?).map_err(|_| Bad),
        }
    }

    /// A bool: any u8, zero is false.
    pub fn flag(&mut self) -> Read<bool> {
        let value = self.u8()?;
        if value > 1 {
            self.canonical = false;
        }
        Ok(value != 0)
    }

    pub fn u8(&mut self) -> Read<u8> {
        Ok(self.unsigned(U8_BYTES, u8::MAX.into())? as u8)
    }

    pub fn u32(&mut self) -> Read<u64> {
        self.unsigned(self.most_bytes, self.most)
    }

    /// An index or a size of a list.
    pub fn size(&mut self) -> Read<i64> {
        Ok(self.u32()? as i64)
    }

    #[inline]
    fn unsigned(&mut self, most_bytes: u32, maximum: u64) -> Read<u64> {
        if let Some(byte) = self.small()? {
            return Ok(byte.into());
        }
        match u64::try_from(self.long_integer(most_bytes)?) {
            Ok(value) if value <= maximum => Ok(value),
            _ => Err(Bad),
        }
    }

    fn i32(&mut self) -> Read<i32> {
        i32::try_from(self.long_integer(U32_BYTES)?).map_err(|_| Bad)
    }

    #[inline]
    pub fn i64(&mut self) -> Read<i64> {
        if let Some(byte) = self.small()? {
            return Ok(byte.into());
        }
        i64::try_from(self.long_integer(LONG_BYTES)?).map_err(|_| Bad)
    }

    /// An integer of any length up to `most_bytes`, and whether it is written in the shortest way.
    fn long_integer(&mut self, most_bytes: u32) -> Read<i128> {
        let mut value: i128 = 0;
        let mut shift = 0;
        let mut previous = 0x40;
        let mut byte = self.byte()?;
        while byte >= 0x80 {
            value |= i128::from(byte & 0x7F) << shift;
            shift += 7;
            if shift >= 7 * most_bytes {
                return Err(Bad);
            }
            previous = byte;
            self.pos += 1;
            byte = self.byte()?;
        }
        let group = byte & 0x3F;
        if group == 0 && previous & 0x40 == 0 {
            // The last byte adds nothing that the one before it could not have held.
            self.canonical = false;
        }
        self.pos += 1;
        value |= i128::from(group) << shift;
        Ok(if byte & 0x40 == 0 { value } else { !value })
    }
}
