//! What can meet on one object: a part of the index of the walk over the incoming instructions.
//!
//! Its truth is `realmserver/merge/objects.py`. Instead of many small lists there is one long list of links; those of
//! one property, and those of them with one name, are chained.

use std::collections::HashMap;

use super::rows::{Entry, Row, END};
use super::rules::{of_paths, Rule};
use super::sides::{Common, Side};
use crate::instructions::*;

const NONE: u32 = u32::MAX;

/// Room is made at first for so many instructions.
const FIRST_ROOM: usize = 16;

/// An incoming path instruction that a local one can meet.
#[derive(Clone, Copy)]
pub struct Meeting {
    pub entry: Entry,
    pub rule: Rule,
    /// Whether the incoming instruction is the rule's first operand.
    pub incoming_first: bool,
}

/// Incoming path instructions that local ones of one shape can meet, in order.
///
/// Discarded ones stay until as many of them have been stepped over as the line is long.
pub struct Line {
    meetings: Vec<Meeting>,
    wasted: usize,
}

impl Line {
    /// The meetings before a place in the sequence.
    pub fn until(&self, before: i64) -> &[Meeting] {
        if before == END {
            return &self.meetings;
        }
        let count = self
            .meetings
            .partition_point(|each| each.entry.sequence < before);
        &self.meetings[..count]
    }

    /// Count steps over discarded instructions, and remove these when it is worth it.
    pub fn waste(&mut self, steps: usize, incoming: &[Side]) {
        self.wasted += steps;
        if self.wasted > self.meetings.len() {
            self.meetings
                .retain(|meeting| !meeting.entry.is_discarded(incoming));
            self.wasted = 0;
        }
    }
}

/// Links that follow each other.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

const EMPTY: Chain = Chain {
    first: NONE,
    last: NONE,
};

struct Link {
    entry: Entry,
    /// The next one on the property, and the next one on it that begins with the same name, or with none.
    next: [u32; 2],
}

const OF_PROPERTY: usize = 0;
const OF_NAME: usize = 1;

/// The incoming instructions on one property of one object.
struct Property {
    everything: Chain,
    /// Path empty, or beginning with an index.
    unnamed: Chain,
}

/// The incoming instructions on one object, without those on its properties.
#[derive(Default)]
pub struct IncomingObject {
    pub erasures: Row,
    /// Everything on it, if an EraseObject can sweep it.
    pub everything: Row,
}

/// What a line is for: the property, the opcode and the length of the path of the local instruction, the name that its
/// path begins with, and whether it is about everything on the property.
type Shape = (u32, u8, u16, Option<Common>, bool);

/// What the incoming side has on the objects that the local side names.
#[derive(Default)]
pub struct Objects {
    numbers: HashMap<(Common, Key), u32>,
    objects: Vec<IncomingObject>,
    property_numbers: HashMap<(u32, Common), u32>,
    properties: Vec<Property>,
    links: Vec<Link>,
    named: HashMap<(u32, Common), Chain>,
    line_numbers: HashMap<Shape, u32>,
    pub lines: Vec<Line>,
}

impl Objects {
    /// The number of an object that the local side names. Only these have one: no other can be met.
    pub fn enter(&mut self, table: Common, key: Key) -> u32 {
        let next = self.objects.len() as u32;
        let number = *self.numbers.entry((table, key)).or_insert(next);
        if number == next {
            self.objects.push(IncomingObject::default());
        }
        number
    }

    pub fn find(&self, table: Common, key: Key) -> Option<u32> {
        self.numbers.get(&(table, key)).copied()
    }

    pub fn object(&mut self, number: u32) -> &mut IncomingObject {
        &mut self.objects[number as usize]
    }

    /// Add an instruction on a property; they must come in order.
    pub fn add(&mut self, object: u32, field: Common, name: Option<Common>, entry: Entry) {
        if self.links.is_empty() {
            self.links.reserve(FIRST_ROOM);
            self.properties.reserve(FIRST_ROOM);
            self.property_numbers.reserve(FIRST_ROOM);
            self.line_numbers.reserve(FIRST_ROOM);
            self.lines.reserve(FIRST_ROOM);
        }
        let next = self.properties.len() as u32;
        let number = *self.property_numbers.entry((object, field)).or_insert(next);
        if number == next {
            self.properties.push(Property {
                everything: EMPTY,
                unnamed: EMPTY,
            });
        }
        let link = self.links.len() as u32;
        self.links.push(Link {
            entry,
            next: [NONE; 2],
        });
        let property = &mut self.properties[number as usize];
        append(&mut self.links, &mut property.everything, OF_PROPERTY, link);
        let chain = match name {
            None => &mut property.unnamed,
            Some(name) => self.named.entry((number, name)).or_insert(EMPTY),
        };
        append(&mut self.links, chain, OF_NAME, link);
    }

    /// The lines that a local instruction walks, together if there are two.
    pub fn lines_for(
        &mut self,
        object: u32,
        field: Common,
        name: Option<Common>,
        local: &Instruction,
        incoming: &[Side],
    ) -> [Option<u32>; 2] {
        let Some(&number) = self.property_numbers.get(&(object, field)) else {
            return [None; 2];
        };
        let property = &self.properties[number as usize];
        let unnamed = property.unnamed;
        let Some(name) = name else {
            let everything = property.everything;
            let shape = (number, local.op, local.path_length, None, true);
            let line = self.line(shape, everything, OF_PROPERTY, local, incoming);
            return [Some(line), None];
        };
        // All names share one line of what has no name; else many names would make many long lines.
        let named = self.named.get(&(number, name)).copied();
        let named = named.map(|chain| {
            let shape = (number, local.op, local.path_length, Some(name), false);
            self.line(shape, chain, OF_NAME, local, incoming)
        });
        let unnamed = (unnamed.first != NONE).then(|| {
            let shape = (number, local.op, local.path_length, None, false);
            self.line(shape, unnamed, OF_NAME, local, incoming)
        });
        [named, unnamed]
    }

    /// The line of what is on a chain, for the shape of `local`.
    fn line(
        &mut self,
        shape: Shape,
        chain: Chain,
        way: usize,
        local: &Instruction,
        incoming: &[Side],
    ) -> u32 {
        if let Some(line) = self.line_numbers.get(&shape) {
            return *line;
        }
        let mut meetings = Vec::new();
        let mut next = chain.first;
        while let Some(link) = self.links.get(next as usize) {
            let entry = link.entry;
            next = link.next[way];
            let other = incoming[entry.side as usize].at(entry.at);
            if let Some((rule, incoming_first)) = of_paths(local, other) {
                meetings.push(Meeting {
                    entry,
                    rule,
                    incoming_first,
                });
            }
        }
        let number = self.lines.len() as u32;
        self.lines.push(Line {
            meetings,
            wasted: 0,
        });
        self.line_numbers.insert(shape, number);
        number
    }
}

fn append(links: &mut [Link], chain: &mut Chain, way: usize, link: u32) {
    if chain.first == NONE {
        chain.first = link;
    } else {
        links[chain.last as usize].next[way] = link;
    }
    chain.last = link;
}
