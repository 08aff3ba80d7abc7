//! The changesets of a merge, and the instructions in them as the rules see them.
//!
//! Their truth is `realmserver/merge/sides.py`. Each changeset numbers its strings by itself; for the time of a merge
//! all strings have common numbers, so that equal numbers are equal strings.

use std::collections::HashMap;

use crate::instructions::*;

/// The number that a string has in all changesets of a merge.
pub type Common = u32;

/// For each changeset the common numbers of its strings.
pub fn common_numbers<'a>(
    changesets: impl Iterator<Item = &'a Changeset> + Clone,
) -> impl Iterator<Item = Vec<Common>> {
    let room = changesets.clone().map(|each| each.strings.len()).sum();
    let mut known: HashMap<&[u8], Common> = HashMap::with_capacity(room);
    let mut numbers = Vec::new();
    for changeset in changesets {
        let of_one = (0..changeset.strings.len() as Name).map(|name| {
            let next = known.len() as Common;
            *known.entry(changeset.text(name)).or_insert(next)
        });
        numbers.push(of_one.collect());
    }
    numbers.into_iter()
}

/// A changeset in a merge.
pub struct Side<'a> {
    pub changeset: &'a mut Changeset,
    /// The common numbers of its strings.
    pub numbers: Vec<Common>,
    /// The numbers in the index of `changeset.objects`; None where the other side has nothing on one.
    pub objects: Vec<Option<u32>>,
    /// The way back, made when it is needed first.
    names: HashMap<Common, Name>,
    /// What rule S4 has made: before which instruction it belongs, and where it stands until all is done.
    prepended: Vec<(u32, u32)>,
}

impl<'a> Side<'a> {
    pub fn new(changeset: &'a mut Changeset, numbers: Vec<Common>) -> Side<'a> {
        Side {
            changeset,
            numbers,
            objects: Vec::new(),
            names: HashMap::new(),
            prepended: Vec::new(),
        }
    }

    pub fn at(&self, place: u32) -> &Instruction {
        &self.changeset.instructions[place as usize]
    }

    pub fn common(&self, name: Name) -> Common {
        self.numbers[name as usize]
    }

    pub fn number_objects(&mut self, mut number: impl FnMut(Common, Key) -> Option<u32>) {
        let objects = self.changeset.objects.iter();
        let numbers = objects.map(|each| {
            let table = self.numbers[each.table as usize];
            number(table, each.key.map(&self.numbers))
        });
        self.objects = numbers.collect();
    }

    pub fn operand(&mut self, place: u32) -> Operand<'_> {
        let Changeset {
            input,
            instructions,
            objects,
            paths,
            timestamp,
            origin,
            dirty,
            ..
        } = &mut *self.changeset;
        let it = &mut instructions[place as usize];
        Operand {
            path: &mut paths[it.path()],
            it,
            input,
            objects,
            numbers: &self.numbers,
            age: (*timestamp, *origin),
            dirty,
        }
    }

    /// The number of a string in the changeset's own table; appended at the end if it is new.
    pub fn intern(&mut self, common: Common, text: &[u8]) -> Name {
        if self.names.is_empty() {
            self.names = self.numbers.iter().copied().zip(0..).collect();
        }
        *self.names.entry(common).or_insert_with(|| {
            self.numbers.push(common);
            self.changeset.add_text(text)
        })
    }

    /// Note a new instruction that belongs directly before `present`; returns where it stands until then.
    pub fn prepend(&mut self, new: Instruction, present: u32) -> u32 {
        let place = self.changeset.instructions.len() as u32;
        self.changeset.instructions.push(new);
        self.changeset.dirty = true;
        self.prepended.push((present, place));
        place
    }

    /// Put what rule S4 has made to where it belongs. No place holds afterwards.
    pub fn put_prepended(&mut self) {
        if self.prepended.is_empty() {
            return;
        }
        self.prepended.sort_by_key(|(present, _)| *present);
        let old = std::mem::take(&mut self.changeset.instructions);
        let mut new = Vec::with_capacity(old.len());
        let mut prepended = self.prepended.drain(..).peekable();
        for (place, instruction) in old[..old.len() - prepended.len()].iter().enumerate() {
            while let Some((_, made)) = prepended.next_if(|(present, _)| *present as usize == place)
            {
                new.push(old[made as usize]);
            }
            new.push(*instruction);
        }
        self.changeset.instructions = new;
    }
}

/// An instruction that a rule is called with, and what the rule may know of its changeset.
pub struct Operand<'a> {
    pub it: &'a mut Instruction,
    pub path: &'a mut [Element],
    pub input: &'a [u8],
    pub numbers: &'a [Common],
    objects: &'a [Object],
    /// Timestamp and origin.
    age: (u64, u64),
    dirty: &'a mut bool,
}

impl Operand<'_> {
    /// Whether its changeset was made before the other's; in a tie none is older.
    pub fn is_older(&self, other: &Operand) -> bool {
        self.age < other.age
    }

    /// Remove the instruction. Its place stays.
    pub fn discard(&mut self) {
        self.it.discarded = true;
        *self.dirty = true;
    }

    /// The instruction is not any more what was read.
    pub fn changed(&mut self) {
        self.it.as_read = false;
        *self.dirty = true;
    }

    pub fn common(&self, name: Name) -> Common {
        self.numbers[name as usize]
    }

    pub fn table(&self) -> Common {
        self.common(self.it.table)
    }

    pub fn field(&self) -> Common {
        self.common(self.it.field)
    }

    /// The key with common numbers.
    pub fn key(&self) -> Key {
        self.objects[self.it.object as usize].key.map(self.numbers)
    }

    /// The path's last element, if that is an index.
    pub fn index(&self) -> Option<i64> {
        match self.path.last() {
            Some(Element::Index(index)) => Some(*index),
            _ => None,
        }
    }

    /// Change the path's last element.
    pub fn set_index(&mut self, index: i64) {
        if let Some(last) = self.path.last_mut() {
            *last = Element::Index(index);
        }
        self.changed();
    }
}

/// Keep the newer of the two; the left one in a tie.
pub fn discard_older(left: &mut Operand, right: &mut Operand) {
    if left.is_older(right) {
        left.discard();
    } else {
        right.discard();
    }
}
