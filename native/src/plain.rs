//! What a changeset that only creates objects and sets their properties says in short (`CompactChangeset.plain`).

use std::collections::HashMap;
use std::hash::Hash;

use crate::instructions::*;

/// So many distinct things are looked for one by one; from then on a table knows them.
const FEW: usize = 12;

/// Distinct things in order of first mention.
pub struct Distinct<T> {
    pub things: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T: Copy + Eq + Hash> Distinct<T> {
    pub fn new() -> Distinct<T> {
        Distinct {
            things: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// The place of a thing, and whether it is new.
    pub fn place(&mut self, thing: T) -> (usize, bool) {
        let next = self.things.len();
        if next <= FEW {
            if let Some(place) = self.things.iter().rposition(|each| *each == thing) {
                return (place, false);
            }
            if next == FEW {
                self.places = self.things.iter().copied().zip(0..).collect();
                self.places.insert(thing, next);
            }
        } else if let Some(place) = self.places.get(&thing) {
            return (*place, false);
        } else {
            self.places.insert(thing, next);
        }
        self.things.push(thing);
        (next, true)
    }
}

/// A class, its property, the payload's type, and of a link the class and the type of the key.
pub type Write = (Name, Name, i8, Option<(Name, i8)>);

pub struct Plain {
    /// Each with whether it was created before anything was set in it.
    pub objects: Vec<(Name, Key, bool)>,
    pub writes: Vec<Write>,
}

/// None if there is anything else in the changeset, or if an object is created after something was set in it.
pub fn plain(changeset: &Changeset) -> Option<Plain> {
    let mut objects = Distinct::new();
    let mut created = Vec::new();
    let mut writes = Distinct::new();
    let mut last = None;
    for instruction in changeset.live() {
        let creates = match instruction.op {
            CREATE_OBJECT => true,
            UPDATE if instruction.path_length == 0 => false,
            _ => return None,
        };
        let place = match last {
            Some((object, place)) if object == instruction.object => place,
            _ => {
                let key = changeset.key(instruction);
                let (place, new) = objects.place((instruction.table, key));
                if new {
                    created.push(creates);
                }
                last = Some((instruction.object, place));
                place
            }
        };
        if creates {
            if !created[place] {
                return None;
            }
            continue;
        }
        let payload = instruction.payload;
        let number = payload.type_number();
        if number < TYPE_NULL {
            return None;
        }
        let target = match payload {
            Payload::Link { class, key } => Some((class, key.type_number())),
            _ => None,
        };
        writes.place((instruction.table, instruction.field, number, target));
    }
    let objects = objects.things.into_iter().zip(created);
    Some(Plain {
        objects: objects
            .map(|((table, key), created)| (table, key, created))
            .collect(),
        writes: writes.things,
    })
}
