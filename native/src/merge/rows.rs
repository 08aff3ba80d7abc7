//! Incoming instructions in their order, for the index of the walk.
//!
//! Their truth is `realmserver/merge/rows.py`.

use super::sides::Side;

/// The distance of two neighbours in the sequence of incoming instructions, so that new ones find places between them.
pub const GAP: i64 = 1 << 32;

/// Places before and behind all instructions.
pub const BEGINNING: i64 = -1;
pub const END: i64 = 1 << 62;

/// A live instruction of the incoming side: its changeset, where it stands there, and its place in the sequence of all.
#[derive(Clone, Copy)]
pub struct Entry {
    pub side: u32,
    pub at: u32,
    pub sequence: i64,
}

impl Entry {
    pub fn is_discarded(&self, incoming: &[Side]) -> bool {
        incoming[self.side as usize].at(self.at).discarded
    }
}

/// Incoming instructions in order of their sequence; the discarded ones do not count.
#[derive(Default)]
pub struct Row {
    entries: Vec<Entry>,
    /// All before it are discarded.
    start: usize,
}

impl Row {
    /// Put an instruction into its place, mostly the last one.
    pub fn add(&mut self, entry: Entry) {
        if self
            .entries
            .last()
            .is_some_and(|last| last.sequence > entry.sequence)
        {
            let place = self.behind(entry.sequence);
            self.entries.insert(place, entry);
        } else {
            self.entries.push(entry);
        }
    }

    fn behind(&self, sequence: i64) -> usize {
        let rest = &self.entries[self.start..];
        self.start + rest.partition_point(|each| each.sequence <= sequence)
    }

    /// The first live instruction behind the place `after`.
    pub fn first(&mut self, after: i64, incoming: &[Side]) -> Option<Entry> {
        while let Some(entry) = self.entries.get(self.start) {
            if !entry.is_discarded(incoming) {
                break;
            }
            self.start += 1;
        }
        let position = if after == BEGINNING {
            self.start
        } else {
            self.behind(after)
        };
        let mut rest = self.entries[position..].iter();
        rest.find(|entry| !entry.is_discarded(incoming)).copied()
    }

    /// The places of what stands behind the place `after`, for a sweep.
    pub fn from(&self, after: i64) -> usize {
        if after == BEGINNING {
            self.start
        } else {
            self.behind(after)
        }
    }

    pub fn get(&self, position: usize, before: i64) -> Option<Entry> {
        let entry = self.entries.get(position)?;
        (entry.sequence < before).then_some(*entry)
    }

    /// Forget what a sweep has discarded.
    pub fn swept(&mut self, first: usize, position: usize) {
        if first == self.start {
            self.start = position;
        } else {
            self.entries.drain(first..position);
        }
    }
}

/// The one that comes first in the sequence, if there is any.
pub fn earlier(one: Option<Entry>, other: Option<Entry>) -> Option<Entry> {
    match (one, other) {
        (Some(first), Some(second)) if second.sequence >= first.sequence => one,
        (_, None) => one,
        _ => other,
    }
}
