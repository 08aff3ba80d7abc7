//! The merge of two concurrent histories, at a cost that follows the pairs of instructions that can meet.
//!
//! Its truth is `realmserver/merge/walk.py`, where it is said why the index finds all that can meet. The same edits are
//! made in the same order, strings are interned in the same order, and the budget is spent on the same steps.

pub mod errors;
mod objects;
mod places;
mod rows;
mod rules;
mod rules_lists;
mod rules_schema;
mod rules_values;
mod sides;

use std::collections::HashMap;

use crate::instructions::*;
use errors::{Fault, MergeError, Place};
use objects::Objects;
use rows::{earlier, Entry, Row, BEGINNING, END, GAP};
use rules::{merge_pair, swapped};
use rules_schema::linked_class;
use sides::{common_numbers, Common, Side};

type Merged = Result<(), MergeError>;

/// Stands for the field of an instruction that has none.
const NO_FIELD: Common = Common::MAX;

/// Transform two concurrent runs of changesets against each other, in place. Returns what is left of the budget.
///
/// After an error both are half transformed and must be thrown away.
pub fn merge(
    incoming: &mut [&mut Changeset],
    local: &mut [&mut Changeset],
    meetings: i64,
) -> Result<i64, MergeError> {
    let mut numbers =
        common_numbers(incoming.iter().chain(local.iter()).map(|each| &**each)).collect::<Vec<_>>();
    let numbers_local = numbers.split_off(incoming.len());
    let mut walk = Walk {
        incoming: sides(incoming, numbers),
        local: sides(local, numbers_local),
        index: Index::default(),
        left: meetings,
    };
    walk.add_incoming();
    walk.walk()?;
    for side in walk.incoming.iter_mut().chain(&mut walk.local) {
        side.put_prepended();
    }
    Ok(walk.left)
}

fn sides<'a>(changesets: &'a mut [&mut Changeset], numbers: Vec<Vec<Common>>) -> Vec<Side<'a>> {
    let pairs = changesets.iter_mut().zip(numbers);
    pairs
        .map(|(changeset, numbers)| Side::new(changeset, numbers))
        .collect()
}

/// A local instruction: its changeset, and where it stands there.
#[derive(Clone, Copy)]
struct Local {
    side: usize,
    at: u32,
}

/// The incoming side, by what its instructions are about.
#[derive(Default)]
struct Index {
    objects: Objects,
    /// By opcode, class, and field where it has one.
    schema: HashMap<(u8, Common, Common), Row>,
    /// Whether there is an EraseTable or EraseColumn.
    erases: bool,
    /// Whether the local side erases a class or a column, so that whole classes and columns must be found.
    swept: bool,
    /// Whether the local side erases an object.
    objects_swept: bool,
    /// What a local EraseTable sweeps.
    classes: HashMap<Common, Row>,
    /// What a local EraseColumn sweeps.
    columns: HashMap<(Common, Common), Row>,
    prepended: i64,
}

impl Index {
    fn first(
        &mut self,
        op: u8,
        table: Common,
        field: Common,
        after: i64,
        incoming: &[Side],
    ) -> Option<Entry> {
        self.schema
            .get_mut(&(op, table, field))?
            .first(after, incoming)
    }

    fn add_schema(&mut self, entry: Entry, side: &Side) {
        let instruction = side.at(entry.at);
        let field = match instruction.op {
            ADD_COLUMN | ERASE_COLUMN => side.common(instruction.field),
            _ => NO_FIELD,
        };
        let place = (instruction.op, side.common(instruction.table), field);
        self.schema.entry(place).or_default().add(entry);
        if matches!(instruction.op, ERASE_TABLE | ERASE_COLUMN) {
            self.erases = true;
        }
    }

    fn add_on_object(&mut self, entry: Entry, object: u32, side: &Side) {
        let instruction = side.at(entry.at);
        if self.objects_swept {
            self.objects.object(object).everything.add(entry);
        }
        if instruction.is_on_path() {
            let name = first_name(side, instruction);
            let field = side.common(instruction.field);
            self.objects.add(object, field, name, entry);
        } else if instruction.op == ERASE_OBJECT {
            self.objects.object(object).erasures.add(entry);
        }
    }

    fn add_swept(&mut self, entry: Entry, side: &Side) {
        let instruction = side.at(entry.at);
        let table = side.common(instruction.table);
        self.classes.entry(table).or_default().add(entry);
        if matches!(instruction.op, UPDATE | ADD_COLUMN | ERASE_COLUMN) {
            let column = (table, side.common(instruction.field));
            self.columns.entry(column).or_default().add(entry);
        }
        if instruction.op == ADD_COLUMN {
            if let Some(linked) = linked_class(instruction) {
                let linked = side.common(linked);
                if linked != table {
                    self.classes.entry(linked).or_default().add(entry);
                }
            }
        }
    }
}

/// Which rows a sweep goes over.
#[derive(Clone, Copy)]
enum Swept {
    Class(Common),
    Column(Common, Common),
    Object(u32),
}

struct Walk<'a> {
    incoming: Vec<Side<'a>>,
    local: Vec<Side<'a>>,
    index: Index,
    left: i64,
}

impl Walk<'_> {
    fn add_incoming(&mut self) {
        for side in &mut self.local {
            for each in side.changeset.live() {
                match each.op {
                    ERASE_TABLE | ERASE_COLUMN => self.index.swept = true,
                    ERASE_OBJECT => self.index.objects_swept = true,
                    _ => {}
                }
            }
            let objects = &mut self.index.objects;
            side.number_objects(|table, key| Some(objects.enter(table, key)));
        }
        let mut sequence = 0;
        for (number, side) in self.incoming.iter_mut().enumerate() {
            let objects = &mut self.index.objects;
            side.number_objects(|table, key| objects.find(table, key));
            for (at, instruction) in side.changeset.instructions.iter().enumerate() {
                if instruction.discarded {
                    continue;
                }
                sequence += GAP;
                let entry = Entry {
                    side: number as u32,
                    at: at as u32,
                    sequence,
                };
                if !instruction.is_on_object() {
                    self.index.add_schema(entry, side);
                } else if let Some(object) = side.objects[instruction.object as usize] {
                    self.index.add_on_object(entry, object, side);
                }
                if self.index.swept {
                    self.index.add_swept(entry, side);
                }
            }
        }
    }

    /// Let each local instruction meet what it can meet.
    fn walk(&mut self) -> Merged {
        for side in 0..self.local.len() {
            for at in 0..self.local[side].changeset.instructions.len() as u32 {
                let instruction = *self.local[side].at(at);
                if instruction.discarded {
                    continue;
                }
                let local = Local { side, at };
                let table = self.local[side].common(instruction.table);
                match instruction.op {
                    ERASE_TABLE => {
                        self.sweep(Swept::Class(table), local, BEGINNING, END)?;
                    }
                    ERASE_COLUMN => self.erase_column(local, BEGINNING)?,
                    ADD_TABLE | ADD_COLUMN => {
                        let end = self.end_of_addition(local, &instruction);
                        self.meet_at(end, local)?;
                    }
                    _ => {
                        let object = self.local[side].objects[instruction.object as usize];
                        self.meet_on_object(local, &instruction, object)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn meet_on_object(
        &mut self,
        local: Local,
        instruction: &Instruction,
        object: Option<u32>,
    ) -> Merged {
        let mut end = if self.index.erases {
            self.end_by_schema(local, instruction)
        } else {
            None
        };
        if let Some(object) = object {
            if instruction.op == ERASE_OBJECT {
                let before = end.map_or(END, |end| end.sequence);
                self.sweep(Swept::Object(object), local, BEGINNING, before)?;
            } else {
                let erasures = &mut self.index.objects.object(object).erasures;
                end = earlier(end, erasures.first(BEGINNING, &self.incoming));
                if instruction.op != CREATE_OBJECT {
                    let before = end.map_or(END, |end| end.sequence);
                    self.walk_property(local, instruction, object, before)?;
                }
            }
        }
        self.meet_at(end, local)
    }

    /// The first erasure of the class that an instruction is about, or of the column that it writes.
    fn end_by_schema(&mut self, local: Local, instruction: &Instruction) -> Option<Entry> {
        let side = &self.local[local.side];
        let table = side.common(instruction.table);
        let field = side.common(instruction.field);
        let end = self.first(ERASE_TABLE, table, NO_FIELD, BEGINNING);
        if instruction.op == UPDATE {
            return earlier(end, self.first(ERASE_COLUMN, table, field, BEGINNING));
        }
        end
    }

    /// The first instruction that an AddTable or AddColumn can meet: it discards the addition.
    fn end_of_addition(&mut self, local: Local, instruction: &Instruction) -> Option<Entry> {
        let side = &self.local[local.side];
        let table = side.common(instruction.table);
        let end = if instruction.op == ADD_TABLE {
            self.first(ADD_TABLE, table, NO_FIELD, BEGINNING)
        } else {
            let field = side.common(instruction.field);
            let linked = linked_class(instruction).map(|name| side.common(name));
            let mut end = self.first(ADD_COLUMN, table, field, BEGINNING);
            end = earlier(end, self.first(ERASE_COLUMN, table, field, BEGINNING));
            if let Some(linked) = linked {
                end = earlier(end, self.first(ERASE_TABLE, linked, NO_FIELD, BEGINNING));
            }
            end
        };
        earlier(end, self.first(ERASE_TABLE, table, NO_FIELD, BEGINNING))
    }

    fn first(&mut self, op: u8, table: Common, field: Common, after: i64) -> Option<Entry> {
        self.index.first(op, table, field, after, &self.incoming)
    }

    fn erase_column(&mut self, local: Local, after: i64) -> Merged {
        let side = &self.local[local.side];
        let instruction = side.at(local.at);
        let table = side.common(instruction.table);
        let field = side.common(instruction.field);
        let end = self.first(ERASE_TABLE, table, NO_FIELD, after);
        let before = end.map_or(END, |end| end.sequence);
        self.sweep(Swept::Column(table, field), local, after, before)?;
        self.meet_at(end, local)
    }

    /// Let a local erasure meet each live instruction of a row between two places, in order, until it ends itself.
    /// All others are discarded by it.
    fn sweep(&mut self, swept: Swept, local: Local, after: i64, before: i64) -> Merged {
        // Taken out for the while: what is met meanwhile may sweep other rows, but not this one.
        let Some(row) = self.row(swept) else {
            return Ok(());
        };
        let mut row = std::mem::take(row);
        let first = row.from(after);
        let mut position = first;
        while let Some(entry) = row.get(position, before) {
            if !entry.is_discarded(&self.incoming) {
                self.meet_at(Some(entry), local)?;
                if self.is_discarded(local) {
                    break;
                }
            }
            position += 1;
        }
        row.swept(first, position);
        if let Some(place) = self.row(swept) {
            *place = row;
        }
        Ok(())
    }

    fn row(&mut self, swept: Swept) -> Option<&mut Row> {
        match swept {
            Swept::Class(table) => self.index.classes.get_mut(&table),
            Swept::Column(table, field) => self.index.columns.get_mut(&(table, field)),
            Swept::Object(object) => Some(&mut self.index.objects.object(object).everything),
        }
    }

    fn is_discarded(&self, local: Local) -> bool {
        self.local[local.side].at(local.at).discarded
    }

    /// Let a local instruction, if it is still there, meet an incoming one that it has a rule with.
    fn meet_at(&mut self, entry: Option<Entry>, local: Local) -> Merged {
        let Some(entry) = entry else {
            return Ok(());
        };
        let local_side = &mut self.local[local.side];
        let incoming_side = &mut self.incoming[entry.side as usize];
        let present = local_side.at(local.at);
        let incoming = incoming_side.at(entry.at);
        if present.discarded {
            return Ok(());
        }
        // S4 is about links from other classes: a column of the erased class itself falls with all else of it.
        let is_apart = || local_side.common(present.table) != incoming_side.common(incoming.table);
        match (present.op, incoming.op) {
            (ADD_COLUMN, ERASE_TABLE) if is_apart() => {
                let new = erase_linking_column(local_side, local.at, incoming_side, entry.at);
                self.index.prepended += 1;
                let new = Entry {
                    side: entry.side,
                    at: new,
                    sequence: entry.sequence - GAP + self.index.prepended,
                };
                self.index.add_schema(new, incoming_side);
                if self.index.swept {
                    self.index.add_swept(new, incoming_side);
                }
                Ok(())
            }
            (ERASE_TABLE, ADD_COLUMN) if is_apart() => {
                let at = erase_linking_column(incoming_side, entry.at, local_side, local.at);
                let side = local.side;
                self.erase_column(Local { side, at }, entry.sequence)
            }
            _ => {
                let mut one = local_side.operand(local.at);
                let mut other = incoming_side.operand(entry.at);
                merge_pair(&mut one, &mut other).map_err(|fault| error(fault, local, entry))
            }
        }
    }

    /// Let a local path instruction meet what stands on its property before a place in the sequence, in order, until it
    /// is discarded.
    fn walk_property(
        &mut self,
        local: Local,
        instruction: &Instruction,
        object: u32,
        before: i64,
    ) -> Merged {
        let side = &mut self.local[local.side];
        let field = side.common(instruction.field);
        let name = first_name(side, instruction);
        let objects = &mut self.index.objects;
        let lines = objects.lines_for(object, field, name, instruction, &self.incoming);
        let until = |line: Option<u32>| {
            line.map_or(&[][..], |line| objects.lines[line as usize].until(before))
        };
        let [mut line, mut other_line] = lines.map(until);
        if lines == [None; 2] {
            return Ok(());
        }
        let mut wasted = 0;
        let mut steps = 0;
        loop {
            // The two lines as one, in order.
            let is_other = match (line.first(), other_line.first()) {
                (None, None) => break,
                (Some(one), Some(other)) => other.entry.sequence < one.entry.sequence,
                (one, _) => one.is_none(),
            };
            let from = if is_other { &mut other_line } else { &mut line };
            let Some((meeting, rest)) = from.split_first() else {
                break;
            };
            *from = rest;
            steps += 1;
            let entry = meeting.entry;
            let mut incoming = self.incoming[entry.side as usize].operand(entry.at);
            if incoming.it.discarded {
                wasted += 1;
                continue;
            }
            let mut operand = side.operand(local.at);
            let judged = if meeting.incoming_first {
                swapped(meeting.rule, &mut incoming, &mut operand)
            } else {
                (meeting.rule)(&mut operand, &mut incoming)
            };
            judged.map_err(|fault| error(fault, local, entry))?;
            if operand.it.discarded {
                break;
            }
        }
        self.spend(steps)?;
        if wasted > 0 {
            for line in lines.into_iter().flatten() {
                self.index.objects.lines[line as usize].waste(wasted, &self.incoming);
            }
        }
        Ok(())
    }

    fn spend(&mut self, meetings: i64) -> Merged {
        self.left = self.left.saturating_sub(meetings);
        if self.left < 0 {
            return Err(MergeError::TooLarge);
        }
        Ok(())
    }
}

/// The name that an instruction's path begins with: a dictionary's key.
fn first_name(side: &Side, instruction: &Instruction) -> Option<Common> {
    match side.changeset.path(instruction).first() {
        Some(Element::Name(name)) => Some(side.common(*name)),
        _ => None,
    }
}

/// S4: discard the AddColumn at `column` and put an EraseColumn before the EraseTable at `present` of the other side.
/// Returns where that stands until all is done.
fn erase_linking_column(side: &mut Side, column: u32, other: &mut Side, present: u32) -> u32 {
    let instruction = *side.at(column);
    let mut intern = |name| other.intern(side.common(name), side.changeset.text(name));
    let mut new = Instruction::new(ERASE_COLUMN, intern(instruction.table));
    new.field = intern(instruction.field);
    side.operand(column).discard();
    other.prepend(new, present)
}

/// `fault` is that of a rule with the local instruction as its first operand.
fn error(fault: Fault, local: Local, entry: Entry) -> MergeError {
    let place = if fault.first {
        Place {
            incoming: false,
            side: local.side,
            at: local.at,
        }
    } else {
        Place {
            incoming: true,
            side: entry.side as usize,
            at: entry.at,
        }
    };
    MergeError::Transform {
        what: fault.what,
        place,
    }
}
